//! What is known of an image's layers while it is pulled.

use corten_cri::node::LayerProgress;

/// More than any image has: the runtime's word is not taken for how much memory to use.
const MOST: u32 = 10_000;

/// The layers, lowest first.
#[derive(Debug, Default)]
pub(super) struct Layers {
    all: Vec<LayerProgress>,
}

impl Layers {
    /// Follows a message. Returns those whose phase is another than before.
    pub(super) fn update(&mut self, news: Vec<LayerProgress>) -> Vec<LayerProgress> {
        let mut changed = Vec::new();
        for layer in news.into_iter().filter(|layer| layer.number < MOST) {
            let number = usize::try_from(layer.number).unwrap_or(usize::MAX);
            let known = self.all.len() > number;
            if !known {
                self.all.resize_with(number + 1, LayerProgress::default);
            }
            let Some(place) = self.all.get_mut(number) else { continue };
            if !known || place.phase != layer.phase || place.done != layer.done {
                changed.push(layer.clone());
            }
            *place = layer;
        }
        changed
    }

    pub(super) fn all(&self) -> &[LayerProgress] {
        &self.all
    }
}

/// A digest as people tell digests apart: its first twelve digits.
pub(super) fn short(digest: &str) -> String {
    let digits = digest.rsplit(':').next().unwrap_or_default();
    crate::table::printable(&digits.chars().take(12).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(number: u32, done: u64) -> LayerProgress {
        LayerProgress { number, done, total: 9, ..LayerProgress::default() }
    }

    #[test]
    fn messages_add_up_and_news_are_told_once() {
        let mut layers = Layers::default();
        assert_eq!(layers.update(vec![layer(0, 1), layer(1, 0)]).len(), 2);
        assert_eq!(layers.update(vec![layer(1, 5), layer(0, 1)]), [layer(1, 5)]);
        assert_eq!(layers.all(), [layer(0, 1), layer(1, 5)]);
    }

    #[test]
    fn no_number_takes_all_memory() {
        let mut layers = Layers::default();
        layers.update(vec![layer(u32::MAX, 1)]);
        assert_eq!(layers.all(), []);
    }

    #[test]
    fn digests_are_cut_to_12() {
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short("odd"), "odd");
    }
}
