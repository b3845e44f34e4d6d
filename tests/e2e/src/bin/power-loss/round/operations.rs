//! What the guest is told to do to its images.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Known, Lane, Phase, name};
use crate::guest::{Answer, Guest, Stop};

/// A command that goes on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Pull(usize),
    Remove(usize),
    Repair,
}

impl Lane {
    /// Tags with the ids of their images, as the daemon lists them.
    pub(super) fn list(&self, guest: &mut Guest) -> Result<BTreeMap<String, String>, Stop> {
        loop {
            guest.begin("corten images --output json")?;
            let answer = guest.wait()?;
            match answer.status {
                0 => return listed(&answer.output),
                _ if too_slow(&answer) => {}
                status => return Err(Stop::Fault(format!("corten images: status {status}: {}", answer.output))),
            }
        }
    }

    pub(super) fn pull(&mut self, guest: &mut Guest, images: &[usize]) -> Result<(), Stop> {
        self.enter(guest, Phase::Pull);
        images.iter().try_for_each(|image| self.begin(guest, Operation::Pull(*image)))?;
        self.wait(guest)
    }

    pub(super) fn remove(&mut self, guest: &mut Guest, images: &[usize]) -> Result<(), Stop> {
        self.enter(guest, Phase::Remove);
        images.iter().try_for_each(|image| self.begin(guest, Operation::Remove(*image)))?;
        self.wait(guest)
    }

    pub(super) fn both(&mut self, guest: &mut Guest, removed: &[usize], pulled: &[usize]) -> Result<(), Stop> {
        self.enter(guest, Phase::Both);
        pulled.iter().try_for_each(|image| self.begin(guest, Operation::Pull(*image)))?;
        removed.iter().try_for_each(|image| self.begin(guest, Operation::Remove(*image)))?;
        self.wait(guest)
    }

    pub(super) fn repair(&mut self, guest: &mut Guest) -> Result<(), Stop> {
        self.damaged = true;
        let file = 1 + self.chance.below(400);
        guest.run(&format!(
            "file=$(find /disk/corten/images/l/*/ -type f -size +0 | head -n {file} | tail -n 1) && echo broken >$file"
        ))?;
        self.enter(guest, Phase::Repair);
        self.mend(guest)
    }

    pub(super) fn mend(&mut self, guest: &mut Guest) -> Result<(), Stop> {
        self.begin(guest, Operation::Repair)?;
        self.wait(guest)
    }

    fn begin(&mut self, guest: &mut Guest, operation: Operation) -> Result<(), Stop> {
        let command = match operation {
            Operation::Pull(image) => {
                self.known[image] = Known::Open;
                format!("corten pull {}", name(&self.images.all[image].name))
            }
            Operation::Remove(image) => {
                self.known[image] = Known::Open;
                format!("corten image rm {}", name(&self.images.all[image].name))
            }
            Operation::Repair => "corten check --repair".to_owned(),
        };
        let number = guest.begin(&command)?;
        self.running.insert(number, operation);
        Ok(())
    }

    /// Waits for all that was begun.
    fn wait(&mut self, guest: &mut Guest) -> Result<(), Stop> {
        while !self.running.is_empty() {
            let answer = guest.wait()?;
            if too_slow(&answer) {
                if let Some(operation) = self.running.remove(&answer.number) {
                    self.begin(guest, operation)?;
                }
                continue;
            }
            self.hear(&answer)?;
        }
        self.leave();
        Ok(())
    }

    pub(super) fn hear(&mut self, answer: &Answer) -> Result<(), Stop> {
        let Some(operation) = self.running.remove(&answer.number) else { return Ok(()) };
        if answer.status != 0 {
            return Err(Stop::Fault(format!("{operation:?}: status {}: {}", answer.status, answer.output)));
        }
        self.answered += 1;
        match operation {
            Operation::Pull(image) => self.known[image] = Known::Present,
            Operation::Remove(image) => self.known[image] = Known::Absent,
            Operation::Repair => self.damaged = false,
        }
        Ok(())
    }
}

/// Whether the command gave up before it asked for anything: on a busy machine the guest may stand still for seconds.
fn too_slow(answer: &Answer) -> bool {
    answer.status != 0 && answer.output.contains("connect to /run/corten.sock: ")
}

/// Tags with the ids of their images.
fn listed(answer: &str) -> Result<BTreeMap<String, String>, Stop> {
    let bad = |why: &dyn std::fmt::Display| Stop::Fault(format!("bad list of images: {why}: {answer}"));
    let answer: Value = serde_json::from_str(answer).map_err(|error| bad(&error))?;
    let mut listed = BTreeMap::new();
    for image in answer["images"].as_array().into_iter().flatten() {
        let id = image["id"].as_str().ok_or_else(|| bad(&"an image without an id"))?;
        let tags = image["repoTags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        listed.extend(tags.map(|tag| (tag.to_owned(), id.to_owned())));
    }
    Ok(listed)
}
