//! Containers.

use std::collections::BTreeSet;

use super::{
    Answer, Call, Container, ImageState, Known, Model, PodState, Program, Reply, State, Subject, Verdict, World,
    breach, content, must_fail, must_work, pods::not_found, seen,
};
use crate::random::call::{SAID, pod_of};

impl Known {
    /// It was asked to end, by itself or with its pod.
    pub(super) fn end(&mut self) {
        self.disturbed = true;
        if self.states.remove(&State::Running) {
            self.states.insert(State::Exited);
        }
        if self.states.contains(&State::Created) {
            self.states.insert(State::Exited);
        }
    }

    fn is(&self, state: State) -> bool {
        self.states == BTreeSet::from([state])
    }

    /// It may be running, and then may end by itself.
    fn run(&mut self) {
        self.states.insert(State::Running);
        if self.program != Program::Pause {
            self.states.insert(State::Exited);
        }
    }
}

impl Model {
    pub(super) fn take_container(&mut self, world: &World, call: &Call, answer: &Answer) -> Verdict {
        match call {
            Call::CreateContainer { container, image, program } => {
                self.create(call, *container, (*image, *program), answer)
            }
            Call::CreateContainerIn(_) => must_fail(call, "it works in a pod that there never was", answer),
            Call::StartContainer(container) => self.start(call, *container, answer),
            Call::StopContainer(container, _) => self.stop_container(call, *container, answer),
            Call::RemoveContainer(container) => self.remove_container(call, *container, answer),
            Call::ContainerStatus(container) => self.container_status(world, call, *container, answer),
            Call::UpdateContainerResources(container)
            | Call::ReopenContainerLog(container)
            | Call::ExecSync(container, _)
            | Call::Exec(container)
            | Call::Attach(container)
            | Call::ContainerStats(container) => self.use_container(call, *container, answer),
            _ => Ok(()),
        }
    }

    fn create(&mut self, call: &Call, place: usize, from: (usize, Program), answer: &Answer) -> Verdict {
        let (image, program) = from;
        let pod = &mut self.pods[pod_of(place)];
        let known = &mut self.containers[place];
        let Ok(Reply::Id(id)) = answer else {
            let can_be = *pod == [PodState::Ready].into() && known.is(State::Gone);
            if can_be && self.images[image] == [ImageState::Tagged].into() {
                return must_work(call, "a new container cannot be created", answer);
            }
            return Ok(());
        };
        if id.is_empty() {
            return Err(breach(call, "the id is empty", "an id", "none"));
        }
        if self.ids.containers[place].as_ref() == Some(id) && !known.is(State::Gone) {
            known.states.remove(&State::Gone);
            return Ok(());
        }
        let wrong = match () {
            () if !known.states.contains(&State::Gone) => Some("there are two containers of one name"),
            () if *pod == [PodState::Gone].into() => Some("it works in a removed pod"),
            () if !pod.contains(&PodState::Ready) => Some("it works in a pod that is not ready"),
            () if self.images[image] == [ImageState::Absent].into() => Some("it works with an image that is not there"),
            () => None,
        };
        if let Some(about) = wrong {
            return Err(breach(call, about, "an error", seen(answer)));
        }
        *pod = [PodState::Ready].into();
        self.images[image].remove(&ImageState::Absent);
        // A log of the same name is gone on with.
        let log_changed = self.ids.containers[place].is_some();
        self.ids.containers[place] = Some(id.clone());
        self.containers[place] =
            Known { states: [State::Created].into(), program, image, started: false, disturbed: false, log_changed };
        Ok(())
    }

    fn start(&mut self, call: &Call, container: Container, answer: &Answer) -> Verdict {
        let Subject::Place(place) = self.container_subject(container) else {
            return must_fail(call, "it works for a container that there never was", answer);
        };
        let ready = self.pod_states(place).contains(&PodState::Ready);
        let only_ready = *self.pod_states(place) == [PodState::Ready].into();
        let known = &mut self.containers[place];
        if answer.is_err() {
            if known.is(State::Created) && only_ready {
                return must_work(call, "a created container cannot be started", answer);
            }
            // In a pod that is not ready it may be ended, now that it cannot be started any more.
            if known.states.contains(&State::Created) && !only_ready {
                known.states.insert(State::Exited);
            }
            return Ok(());
        }
        if known.is(State::Gone) {
            return must_fail(call, "it works for a removed container", answer);
        }
        known.states.remove(&State::Gone);
        if known.states.remove(&State::Created) {
            if !ready && known.states.is_empty() {
                return must_fail(call, "it works in a pod that is not ready", answer);
            }
            known.started = true;
            known.run();
        }
        Ok(())
    }

    fn stop_container(&mut self, call: &Call, container: Container, answer: &Answer) -> Verdict {
        let Subject::Place(place) = self.container_subject(container) else { return Ok(()) };
        let known = &mut self.containers[place];
        if answer.is_err() {
            // Of one that is removed or does not run the documents say nothing.
            return match known.states.contains(&State::Gone) || known.states.contains(&State::Created) {
                true => Ok(()),
                false => must_work(call, "it cannot be stopped", answer),
            };
        }
        known.end();
        Ok(())
    }

    fn remove_container(&mut self, call: &Call, container: Container, answer: &Answer) -> Verdict {
        let Subject::Place(place) = self.container_subject(container) else { return Ok(()) };
        let known = &mut self.containers[place];
        let gone = known.states.contains(&State::Gone);
        must_work(call, if gone { "it is removed already" } else { "it cannot be removed" }, answer)?;
        known.states = [State::Gone].into();
        Ok(())
    }

    fn container_status(&mut self, world: &World, call: &Call, container: Container, answer: &Answer) -> Verdict {
        let place = match self.container_subject(container) {
            Subject::Place(place) => place,
            Subject::Nobody => return not_found(call, answer),
            Subject::NoId => return must_fail(call, "it is found by what is no id", answer),
        };
        let Ok(Reply::Container(status)) = answer else {
            self.see_container(call, place, State::Gone, answer)?;
            return not_found(call, answer);
        };
        let Some(state) = content::state(status.state) else {
            return Err(breach(call, "a container has no state", "a state", seen(answer)));
        };
        self.see_container(call, place, state, answer)?;
        let known = &self.containers[place];
        content::container(world, call, place, self.ids.containers[place].as_deref(), status)?;
        if state == State::Exited && known.started {
            exited(world, call, place, known, status.exit_code)?;
        }
        Ok(())
    }

    /// Narrows a container's states down to one, and then to what may become of that.
    pub(super) fn see_container(&mut self, call: &Call, place: usize, state: State, answer: &Answer) -> Verdict {
        let known = &mut self.containers[place];
        if !known.states.contains(&state) {
            let about = match state {
                State::Gone => "a container is not there any more",
                _ if known.is(State::Gone) => "a removed container is still there",
                _ => "a container has the wrong state",
            };
            let expected = format!("container {place} is {:?}", known.states);
            return Err(breach(call, about, expected, format!("{state:?} by {}", seen(answer))));
        }
        known.states = [state].into();
        match state {
            State::Running => known.run(),
            State::Exited | State::Created | State::Gone => {}
        }
        Ok(())
    }

    /// What needs a running container, and does not change its state.
    fn use_container(&mut self, call: &Call, container: Container, answer: &Answer) -> Verdict {
        let Subject::Place(place) = self.container_subject(container) else {
            return must_fail(call, "it works for a container that there never was", answer);
        };
        if matches!(call, Call::ReopenContainerLog(_)) {
            self.containers[place].log_changed = true;
        }
        let known = &self.containers[place];
        if known.is(State::Gone) {
            return must_fail(call, "it works for a removed container", answer);
        }
        if matches!(call, Call::ExecSync(..)) && !known.states.contains(&State::Running) {
            return must_fail(call, "it works in a container that does not run", answer);
        }
        if !known.is(State::Running) {
            return Ok(());
        }
        must_work(call, "it does not work for a running container", answer)?;
        match answer {
            Ok(Reply::Url(url)) if url.is_empty() => Err(breach(call, "the URL is empty", "a URL", "none")),
            Ok(Reply::Stats(ids)) if ids.first() != self.ids.containers[place].as_ref() => {
                Err(breach(call, "the stats are another's", format!("stats of container {place}"), seen(answer)))
            }
            Ok(Reply::Log { created: false }) => {
                Err(breach(call, "no log is made", "a new log", "none is where it should be"))
            }
            Ok(Reply::Output { stdout, code }) => match call {
                Call::ExecSync(_, asked) if stdout.as_slice() == b"executed\n" && *code == i32::from(*asked) => Ok(()),
                Call::ExecSync(_, asked) => {
                    Err(breach(call, "the result is wrong", format!("`executed` and code {asked}"), seen(answer)))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// That what has ended has the right exit code and said what it had to say.
fn exited(world: &World, call: &Call, place: usize, known: &Known, code: i32) -> Verdict {
    let fits = match known.program {
        Program::Pause => code != 0,
        Program::Exit(own) => code == i32::from(own) || known.disturbed && code != 0,
        Program::Say => code == 0 || known.disturbed,
    };
    if !fits {
        let expected = format!("that of a program that was to {}", known.program);
        return Err(breach(call, "the exit code is wrong", expected, code.to_string()));
    }
    if known.program == Program::Say && !known.disturbed && !known.log_changed {
        let log = std::fs::read_to_string(world.log(place)).unwrap_or_default();
        let said = log.lines().any(|line| line.ends_with(&format!(" stdout F {SAID}")));
        if !said {
            return Err(breach(
                call,
                "the log lacks what was said",
                format!("a line with {SAID:?}"),
                format!("{log:?}"),
            ));
        }
    }
    Ok(())
}
