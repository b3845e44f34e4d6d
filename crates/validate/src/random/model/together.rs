//! Two calls at once.

use super::{Answer, Call, Container, Model, Pod, PodState, State, Verdict, World, breach, seen};

impl Model {
    /// Takes the answers of two calls at once: they fit if they do in one order or the other, or if one came while the other was
    /// half done, or was refused because of it.
    ///
    /// # Errors
    /// What does not fit. Then the model is as it was.
    pub fn judge_both(&mut self, world: &World, calls: [&Call; 2], answers: [&Answer; 2]) -> Verdict {
        let ([first, second], [one, two]) = (calls, answers);
        let orders = [[(first, one), (second, two)], [(second, two), (first, one)]];
        let refused = [vec![(first, one)], vec![(second, two)]];
        let is_refused = [two.is_err(), one.is_err()];
        let mut outcomes = Vec::new();
        let mut why = None;
        for order in &orders {
            match self.follow(world, order) {
                Ok(model) => outcomes.push(model),
                Err(found) => why = why.or(Some(found)),
            }
        }
        if outcomes.is_empty() {
            let halfway = orders.iter().filter_map(|order| self.meanwhile(world, order).ok());
            outcomes.extend(halfway);
        }
        if outcomes.is_empty() {
            let alone = refused.iter().zip(is_refused).filter(|(_, refused)| *refused);
            outcomes.extend(alone.filter_map(|(alone, _)| self.follow(world, alone).ok()));
        }
        let mut outcomes = outcomes.into_iter();
        let Some(mut model) = outcomes.next() else {
            let found = why.unwrap_or_else(|| breach(first, "no order explains the answers", "", ""));
            let seen = format!("at once, {first}: {}; {second}: {}", seen(one), seen(two));
            return Err(super::Breach { seen, ..found });
        };
        for other in outcomes {
            model.join(other);
        }
        *self = model;
        Ok(())
    }

    fn follow(&self, world: &World, order: &[(&Call, &Answer)]) -> Result<Self, super::Breach> {
        let mut model = self.clone();
        for (call, answer) in order {
            model.judge(world, call, answer)?;
        }
        Ok(model)
    }

    /// The second while the first, which ends things one after the other, was half done.
    fn meanwhile(&self, world: &World, order: &[(&Call, &Answer); 2]) -> Result<Self, super::Breach> {
        let [(first, one), (second, two)] = order;
        let mut model = self.clone();
        model.loosen(first);
        model.judge(world, second, two)?;
        model.judge(world, first, one)?;
        Ok(model)
    }

    /// Adds the states that a call goes through.
    fn loosen(&mut self, call: &Call) {
        let (containers, removes) = match call {
            Call::StopPodSandbox(Pod::At(pod)) | Call::RemovePodSandbox(Pod::At(pod)) => {
                let removes = matches!(call, Call::RemovePodSandbox(_));
                let there = self.pods[*pod] != [PodState::Gone].into();
                if there {
                    self.pods[*pod].insert(PodState::NotReady);
                }
                if removes {
                    self.pods[*pod].insert(PodState::Gone);
                }
                (2 * pod..2 * pod + 2, removes)
            }
            Call::RemoveContainer(Container::At(place)) => (*place..place + 1, true),
            _ => return,
        };
        for known in self.containers.iter_mut().skip(containers.start).take(containers.len()) {
            if known.states != [State::Gone].into() {
                known.states.insert(State::Exited);
            }
            known.disturbed = true;
            if removes {
                known.states.insert(State::Gone);
            }
        }
    }

    /// What may be if it is this model or the other.
    fn join(&mut self, other: Self) {
        let ids = self.ids.pods.iter_mut().zip(other.ids.pods);
        ids.for_each(|(id, other)| *id = id.take().or(other));
        let ids = self.ids.containers.iter_mut().zip(other.ids.containers);
        ids.for_each(|(id, other)| *id = id.take().or(other));
        self.pods.iter_mut().zip(other.pods).for_each(|(states, other)| states.extend(other));
        self.images.iter_mut().zip(other.images).for_each(|(states, other)| states.extend(other));
        for (known, other) in self.containers.iter_mut().zip(other.containers) {
            known.states.extend(other.states);
            known.started |= other.started;
            known.disturbed |= other.disturbed;
            known.log_changed |= other.log_changed;
        }
    }
}
