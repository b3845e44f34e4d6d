//! Pods.

use tonic::Code;

use super::{
    Answer, Call, Model, Pod, PodState, Reply, State, Subject, Verdict, World, breach, code, content, must_fail,
    must_work, seen,
};
use crate::random::call::pod_of;

impl Model {
    pub(super) fn take_pod(&mut self, world: &World, call: &Call, answer: &Answer) -> Verdict {
        match call {
            Call::RunPodSandbox(place) => self.run(call, *place, answer),
            Call::StopPodSandbox(pod) => self.stop(call, *pod, answer),
            Call::RemovePodSandbox(pod) => self.remove(call, *pod, answer),
            Call::PodSandboxStatus(pod) => self.status(world, call, *pod, answer),
            Call::PodSandboxStats(pod) | Call::UpdatePodSandboxResources(pod) | Call::PortForward(pod) => {
                self.use_pod(call, *pod, answer)
            }
            _ => Ok(()),
        }
    }

    fn run(&mut self, call: &Call, place: usize, answer: &Answer) -> Verdict {
        let states = &mut self.pods[place];
        let id = match answer {
            Ok(Reply::Id(id)) if id.is_empty() => return Err(breach(call, "the id is empty", "an id", "none")),
            Ok(Reply::Id(id)) => id,
            _ if *states == [PodState::Gone].into() => return must_work(call, "a new pod cannot be run", answer),
            _ => return Ok(()),
        };
        let same = self.ids.pods[place].as_ref() == Some(id);
        if same && states.contains(&PodState::Ready) {
            *states = [PodState::Ready].into();
            return Ok(());
        }
        if same {
            return Err(breach(
                call,
                "a pod that is not ready is given back",
                "an error, or a ready pod",
                seen(answer),
            ));
        }
        if !states.contains(&PodState::Gone) {
            return Err(breach(
                call,
                "there are two pods of one name",
                "an error, or the pod that there is",
                seen(answer),
            ));
        }
        *states = [PodState::Ready].into();
        self.ids.pods[place] = Some(id.clone());
        self.remove_containers(place);
        Ok(())
    }

    fn remove_containers(&mut self, pod: usize) {
        for container in self.containers.iter_mut().skip(2 * pod).take(2) {
            container.states = [State::Gone].into();
        }
    }

    fn stop(&mut self, call: &Call, pod: Pod, answer: &Answer) -> Verdict {
        let Subject::Place(place) = self.pod_subject(pod) else { return Ok(()) };
        let gone = self.pods[place].contains(&PodState::Gone);
        must_work(call, if gone { "it is removed already" } else { "it cannot be stopped" }, answer)?;
        self.pods[place] = self.pods[place].iter().map(|state| (*state).max(PodState::NotReady)).collect();
        for container in self.containers.iter_mut().skip(2 * place).take(2) {
            container.end();
        }
        Ok(())
    }

    fn remove(&mut self, call: &Call, pod: Pod, answer: &Answer) -> Verdict {
        let Subject::Place(place) = self.pod_subject(pod) else { return Ok(()) };
        let gone = self.pods[place].contains(&PodState::Gone);
        must_work(call, if gone { "it is removed already" } else { "it cannot be removed" }, answer)?;
        self.pods[place] = [PodState::Gone].into();
        self.remove_containers(place);
        Ok(())
    }

    fn status(&mut self, world: &World, call: &Call, pod: Pod, answer: &Answer) -> Verdict {
        let place = match self.pod_subject(pod) {
            Subject::Place(place) => place,
            Subject::Nobody => return not_found(call, answer),
            Subject::NoId => return must_fail(call, "it is found by what is no id", answer),
        };
        let Ok(Reply::Pod(status)) = answer else {
            self.see_pod(call, place, PodState::Gone, answer)?;
            return not_found(call, answer);
        };
        let Some(state) = content::pod_state(status.state) else {
            return Err(breach(call, "a pod has no state", "a state", seen(answer)));
        };
        self.see_pod(call, place, state, answer)?;
        content::pod(world, call, place, self.ids.pods[place].as_deref(), status)
    }

    /// Narrows a pod's states down to one.
    pub(super) fn see_pod(&mut self, call: &Call, place: usize, state: PodState, answer: &Answer) -> Verdict {
        let states = &mut self.pods[place];
        if !states.contains(&state) {
            let about = match state {
                PodState::Gone => "a pod is not there any more",
                _ if *states == [PodState::Gone].into() => "a removed pod is still there",
                _ => "a pod has the wrong state",
            };
            return Err(breach(
                call,
                about,
                format!("pod {place} is {states:?}"),
                format!("{state:?} by {}", seen(answer)),
            ));
        }
        *states = [state].into();
        if state == PodState::Gone {
            self.remove_containers(place);
        }
        Ok(())
    }

    /// What needs a pod that is ready, and changes nothing. Some of it need not be there at all.
    fn use_pod(&mut self, call: &Call, pod: Pod, answer: &Answer) -> Verdict {
        let optional = !matches!(call, Call::PortForward(_));
        if optional && code(answer) == Code::Unimplemented {
            return Ok(());
        }
        let Subject::Place(place) = self.pod_subject(pod) else {
            return must_fail(call, "it works for a pod that there never was", answer);
        };
        let states = &self.pods[place];
        if *states == [PodState::Gone].into() {
            return must_fail(call, "it works for a removed pod", answer);
        }
        if *states != [PodState::Ready].into() {
            return Ok(());
        }
        must_work(call, "it does not work for a ready pod", answer)?;
        match answer {
            Ok(Reply::Url(url)) if url.is_empty() => Err(breach(call, "the URL is empty", "a URL", "none")),
            Ok(Reply::PodStats(ids)) if ids.first() != self.ids.pods[place].as_ref() => {
                Err(breach(call, "the stats are another's", format!("stats of pod {place}"), seen(answer)))
            }
            _ => Ok(()),
        }
    }

    /// The states of the pod that a container's place belongs to.
    pub(super) fn pod_states(&self, container: usize) -> &std::collections::BTreeSet<PodState> {
        &self.pods[pod_of(container)]
    }
}

/// That an object is not found.
pub(super) fn not_found(call: &Call, answer: &Answer) -> Verdict {
    if code(answer) == Code::NotFound {
        return Ok(());
    }
    Err(breach(call, "what is not there is not NotFound", "NotFound", seen(answer)))
}
