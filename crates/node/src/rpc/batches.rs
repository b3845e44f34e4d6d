//! Lists as streams of batches, each well below the largest message, so that no list is too long.

use futures::Stream;
use prost::Message;
use tonic::Status;

/// A batch is closed when it has this many bytes.
const ENOUGH: usize = 1 << 20;

/// What it costs to say, in front of an item, that it is one: a tag of a byte and its length.
const FRAMING: usize = 6;

/// Cuts a list into batches, each wrapped in its response, in order. An empty list is an empty stream.
pub fn batches<T, R>(items: Vec<T>, wrap: fn(Vec<T>) -> R) -> impl Stream<Item = Result<R, Status>> + Send + 'static
where
    T: Message + Send + 'static,
    R: Send + 'static,
{
    futures::stream::iter(cut(items).map(move |batch| Ok(wrap(batch))))
}

fn cut<T: Message>(items: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter().peekable();
    std::iter::from_fn(move || {
        let (mut batch, mut size) = (Vec::new(), 0);
        while size < ENOUGH
            && let Some(item) = items.next_if(|item| batch.is_empty() || size + item.encoded_len() <= ENOUGH)
        {
            size += item.encoded_len() + FRAMING;
            batch.push(item);
        }
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use corten_cri::v1::Container;
    use proptest::prelude::*;

    fn container(number: usize, size: usize) -> Container {
        Container { id: number.to_string(), image_ref: "x".repeat(size), ..Container::default() }
    }

    #[test]
    fn nothing_is_no_batch() {
        assert_eq!(cut(Vec::<Container>::new()).count(), 0);
    }

    #[test]
    fn what_is_too_large_for_a_batch_has_one_of_its_own() {
        let sizes = [10, 3 * ENOUGH, 10];
        let items = sizes.iter().enumerate().map(|(number, size)| container(number, *size)).collect();
        assert_eq!(cut(items).map(|batch| batch.len()).collect::<Vec<_>>(), [1, 1, 1]);
    }

    proptest! {
        #[test]
        fn every_item_is_in_one_batch_in_order(sizes in prop::collection::vec(0usize..400_000, 0..40)) {
            let items: Vec<_> = sizes.iter().enumerate().map(|(number, size)| container(number, *size)).collect();
            let batches: Vec<_> = cut(items.clone()).collect();
            prop_assert!(batches.iter().all(|batch| !batch.is_empty()));
            for batch in &batches {
                let size: usize = batch.iter().map(|item| item.encoded_len() + FRAMING).sum();
                prop_assert!(size <= ENOUGH + FRAMING);
            }
            prop_assert_eq!(batches.concat(), items);
        }
    }
}
