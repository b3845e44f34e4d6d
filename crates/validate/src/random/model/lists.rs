//! Lists.

use tonic::Code;

use super::{
    Answer, Call, Container, Model, Pod, PodState, Reply, State, Subject, Verdict, World, breach, code, content,
    must_work, seen,
};
use crate::random::call::{CONTAINERS, ContainerFilter, IMAGES, Odd, PODS, PodFilter, pod_of};

impl Model {
    fn selects_pod(&self, filter: PodFilter, place: usize, state: PodState) -> bool {
        let by_filter = match filter {
            PodFilter::All | PodFilter::Id(Pod::Odd(Odd::Empty)) => true,
            PodFilter::Id(pod) => self.pod_subject(pod) == Subject::Place(place),
            PodFilter::Ready(ready) => ready == (state == PodState::Ready),
            PodFilter::Label(label) => label == place,
        };
        by_filter && state != PodState::Gone && self.ids.pods[place].is_some()
    }

    pub(super) fn take_pods(&mut self, world: &World, call: &Call, filter: PodFilter, answer: &Answer) -> Verdict {
        if answer.is_err() && matches!(filter, PodFilter::Id(Pod::Odd(Odd::Path | Odd::Long))) {
            return Ok(());
        }
        must_work(call, "it cannot be asked", answer)?;
        let Ok(Reply::Pods(rows)) = answer else { return Ok(()) };
        let ours: Vec<_> = rows.iter().filter(|row| world.owns(&row.labels)).collect();
        for place in 0..PODS {
            let rows: Vec<_> = ours.iter().filter(|row| self.ids.pods[place].as_ref() == Some(&row.id)).collect();
            let [row] = rows[..] else {
                if rows.len() > 1 {
                    return Err(breach(call, "one pod is listed twice", "each pod once", seen(answer)));
                }
                let unseen = |state: &PodState| !self.selects_pod(filter, place, *state);
                let left = self.pods[place].iter().copied().filter(unseen).collect();
                self.narrow_pod(call, place, left, answer)?;
                continue;
            };
            let Some(state) = content::pod_state(row.state) else {
                return Err(breach(call, "a pod has no state", "a state", seen(answer)));
            };
            self.see_pod(call, place, state, answer)?;
            if !self.selects_pod(filter, place, state) {
                return Err(breach(
                    call,
                    "the filter is not followed",
                    format!("pods {filter}"),
                    format!("pod {place}"),
                ));
            }
            content::pod_row(world, call, place, row)?;
        }
        let known = |id: &String| self.ids.pods.iter().flatten().any(|known| known == id);
        match ours.iter().find(|row| !known(&row.id)) {
            Some(row) => Err(breach(call, "a pod is there that no call made", "the pods that were run", &row.id)),
            None => Ok(()),
        }
    }

    fn narrow_pod(
        &mut self,
        call: &Call,
        place: usize,
        left: std::collections::BTreeSet<PodState>,
        answer: &Answer,
    ) -> Verdict {
        if left.is_empty() {
            let expected = format!("pod {place}, which is {:?}", self.pods[place]);
            return Err(breach(call, "a pod is not listed", expected, seen(answer)));
        }
        self.pods[place] = left;
        Ok(())
    }

    fn selects_container(&self, filter: ContainerFilter, place: usize, state: State) -> bool {
        let by_filter = match filter {
            ContainerFilter::All
            | ContainerFilter::Id(Container::Odd(Odd::Empty))
            | ContainerFilter::Pod(Pod::Odd(Odd::Empty)) => true,
            ContainerFilter::Id(container) => self.container_subject(container) == Subject::Place(place),
            ContainerFilter::Pod(pod) => self.pod_subject(pod) == Subject::Place(pod_of(place)),
            ContainerFilter::State(wanted) => wanted == state,
            ContainerFilter::Label(label) => label == place,
        };
        by_filter && state != State::Gone && self.ids.containers[place].is_some()
    }

    pub(super) fn take_containers(
        &mut self,
        world: &World,
        call: &Call,
        filter: ContainerFilter,
        answer: &Answer,
    ) -> Verdict {
        if answer.is_err() && is_odd(filter) {
            return Ok(());
        }
        must_work(call, "it cannot be asked", answer)?;
        let Ok(Reply::Containers(rows)) = answer else { return Ok(()) };
        let ours: Vec<_> = rows.iter().filter(|row| world.owns(&row.labels)).collect();
        for place in 0..CONTAINERS {
            let rows: Vec<_> = ours.iter().filter(|row| self.ids.containers[place].as_ref() == Some(&row.id)).collect();
            let [row] = rows[..] else {
                if rows.len() > 1 {
                    return Err(breach(call, "one container is listed twice", "each container once", seen(answer)));
                }
                self.unlisted(call, filter, place, answer)?;
                continue;
            };
            let Some(state) = content::state(row.state) else {
                return Err(breach(call, "a container has no state", "a state", seen(answer)));
            };
            self.see_container(call, place, state, answer)?;
            if !self.selects_container(filter, place, state) {
                let listed = format!("container {place}");
                return Err(breach(call, "the filter is not followed", format!("containers {filter}"), listed));
            }
            let pod = self.ids.pods[pod_of(place)].as_deref();
            content::container_row(world, call, place, pod, row)?;
        }
        let known = |id: &String| self.ids.containers.iter().flatten().any(|known| known == id);
        match ours.iter().find(|row| !known(&row.id)) {
            Some(row) => Err(breach(call, "a container is there that no call made", "those created", &row.id)),
            None => Ok(()),
        }
    }

    fn unlisted(&mut self, call: &Call, filter: ContainerFilter, place: usize, answer: &Answer) -> Verdict {
        let states = &self.containers[place].states;
        let left: std::collections::BTreeSet<State> =
            states.iter().copied().filter(|state| !self.selects_container(filter, place, *state)).collect();
        if left.is_empty() {
            let expected = format!("container {place}, which is {states:?}");
            return Err(breach(call, "a container is not listed", expected, seen(answer)));
        }
        self.containers[place].states = left;
        Ok(())
    }

    pub(super) fn take_container_stats(&mut self, call: &Call, filter: ContainerFilter, answer: &Answer) -> Verdict {
        if answer.is_err() && is_odd(filter) {
            return Ok(());
        }
        must_work(call, "it cannot be asked", answer)?;
        let Ok(Reply::Stats(ids)) = answer else { return Ok(()) };
        for place in 0..CONTAINERS {
            let Some(id) = &self.ids.containers[place] else { continue };
            let (states, listed) = (&self.containers[place].states, ids.contains(id));
            if !listed && *states == [State::Running].into() && self.selects_container(filter, place, State::Running) {
                return Err(breach(
                    call,
                    "a running container has no stats",
                    format!("container {place}"),
                    seen(answer),
                ));
            }
            if listed && *states == [State::Gone].into() {
                return Err(breach(call, "a removed container is still there", "no stats of it", seen(answer)));
            }
            if listed && !states.iter().any(|state| self.selects_container(filter, place, *state)) {
                let listed = format!("container {place}");
                return Err(breach(call, "the filter is not followed", format!("containers {filter}"), listed));
            }
        }
        Ok(())
    }

    pub(super) fn take_pod_stats(&mut self, call: &Call, filter: PodFilter, answer: &Answer) -> Verdict {
        if code(answer) == Code::Unimplemented {
            return Ok(());
        }
        must_work(call, "it cannot be asked", answer)?;
        let Ok(Reply::PodStats(ids)) = answer else { return Ok(()) };
        for place in 0..PODS {
            let Some(id) = &self.ids.pods[place] else { continue };
            let (states, listed) = (&self.pods[place], ids.contains(id));
            if !listed && *states == [PodState::Ready].into() && self.selects_pod(filter, place, PodState::Ready) {
                return Err(breach(call, "a ready pod has no stats", format!("pod {place}"), seen(answer)));
            }
            if listed && *states == [PodState::Gone].into() {
                return Err(breach(call, "a removed pod is still there", "no stats of it", seen(answer)));
            }
        }
        Ok(())
    }

    pub(super) fn take_images(
        &mut self,
        world: &World,
        call: &Call,
        filter: Option<usize>,
        answer: &Answer,
    ) -> Verdict {
        must_work(call, "it cannot be asked", answer)?;
        let Ok(Reply::Images(rows)) = answer else { return Ok(()) };
        for image in 0..IMAGES {
            let listed = rows.iter().filter(|row| content::is_image(world, image, row)).count();
            if listed > 1 {
                return Err(breach(call, "one image is listed twice", "each image once", seen(answer)));
            }
            if filter.is_none_or(|wanted| wanted == image) {
                self.see_image(call, image, listed > 0, answer)?;
            } else if listed > 0 {
                let listed = format!("image {image}");
                return Err(breach(call, "the filter is not followed", "only the image asked for", listed));
            }
        }
        Ok(())
    }
}

fn is_odd(filter: ContainerFilter) -> bool {
    matches!(
        filter,
        ContainerFilter::Id(Container::Odd(Odd::Path | Odd::Long))
            | ContainerFilter::Pod(Pod::Odd(Odd::Path | Odd::Long))
    )
}
