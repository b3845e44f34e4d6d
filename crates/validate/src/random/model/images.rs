//! Images.

use super::{
    Answer, Call, ImageState, Model, Reply, State, Verdict, World, breach, content, must_fail, must_work, seen,
};
use crate::random::call::By;

impl Model {
    pub(super) fn take_image(&mut self, world: &World, call: &Call, answer: &Answer) -> Verdict {
        match call {
            Call::PullImage(image) => {
                must_work(call, "it cannot be pulled", answer)?;
                if matches!(answer, Ok(Reply::Id(reference)) if reference.is_empty()) {
                    return Err(breach(call, "the reference is empty", "a reference", "none"));
                }
                self.images[*image] = [ImageState::Tagged].into();
                Ok(())
            }
            Call::PullNothing => must_fail(call, "what there is not is pulled", answer),
            Call::RemoveImage(image, by) => self.remove_image(call, *image, *by, answer),
            Call::ImageStatus(image, by) => self.image_status(world, call, *image, *by, answer),
            _ => Ok(()),
        }
    }

    fn remove_image(&mut self, call: &Call, image: usize, by: By, answer: &Answer) -> Verdict {
        let used = |known: &super::Known| known.image == image && known.states != [State::Gone].into();
        if answer.is_err() && self.containers.iter().any(used) {
            return Ok(());
        }
        let absent = self.images[image] == [ImageState::Absent].into();
        must_work(call, if absent { "it is removed already" } else { "it cannot be removed" }, answer)?;
        let states = &mut self.images[image];
        // By a name: whether the names it has beside go too is left open.
        let was_there = *states != [ImageState::Absent].into();
        *states = [ImageState::Absent].into();
        if was_there && by != By::Id {
            states.insert(ImageState::Untagged);
            if by == By::Digest {
                states.insert(ImageState::Tagged);
            }
        }
        Ok(())
    }

    fn image_status(&mut self, world: &World, call: &Call, image: usize, by: By, answer: &Answer) -> Verdict {
        must_work(call, "it cannot be asked", answer)?;
        let Ok(Reply::Image(found)) = answer else { return Ok(()) };
        let states = &mut self.images[image];
        let before = states.clone();
        match found {
            Some(_) if by == By::Tag => states.retain(|state| *state == ImageState::Tagged),
            Some(_) => states.retain(|state| *state != ImageState::Absent),
            None if by == By::Id => states.retain(|state| *state == ImageState::Absent),
            // What has lost one name may have lost another.
            None => states.retain(|state| *state != ImageState::Tagged),
        }
        if states.is_empty() {
            let about =
                if found.is_some() { "a removed image is still there" } else { "an image is not there any more" };
            return Err(breach(call, about, format!("image {image} is {before:?}"), seen(answer)));
        }
        match found {
            Some(found) => content::image(world, call, image, by, found),
            None => Ok(()),
        }
    }

    /// Narrows an image's states down by whether a list has it.
    pub(super) fn see_image(&mut self, call: &Call, image: usize, listed: bool, answer: &Answer) -> Verdict {
        let states = &mut self.images[image];
        let before = states.clone();
        states.retain(|state| *state == ImageState::Untagged || listed == (*state == ImageState::Tagged));
        if states.is_empty() {
            let about = if listed { "a removed image is still there" } else { "an image is not there any more" };
            return Err(breach(call, about, format!("image {image} is {before:?}"), seen(answer)));
        }
        Ok(())
    }
}
