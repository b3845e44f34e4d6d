//! Making a sequence with a breach short: calls are taken out for as long as the breach remains.

use std::time::{Duration, Instant};

use super::{
    Target,
    call::Call,
    model::Breach,
    sequence::{self, Trouble},
    world::World,
};

/// The most runs.
const RUNS: usize = 150;

/// How long it may take, even when there is no time left.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a breach that takes two calls at once is looked for before it is taken to be gone.
const TRIES: usize = 4;

/// Runs parts of a sequence.
struct Shrink<'a> {
    target: &'a Target,
    seed: u64,
    known: &'a [Breach],
    runs: usize,
    deadline: Instant,
}

/// A part of the calls, as short as it can be made, that shows the same breach.
pub async fn shrink(
    target: &Target,
    seed: u64,
    calls: &[Call],
    found: Trouble,
    known: &[Breach],
    deadline: Instant,
) -> Trouble {
    let deadline = deadline.max(Instant::now() + PATIENCE);
    let mut shrink = Shrink { target, seed, known, runs: 0, deadline };
    // What comes after the breach does not matter.
    let mut calls: Vec<Call> = calls.iter().take(found.steps.len()).cloned().collect();
    let mut best = found;
    let mut part = (calls.len() / 2).max(1);
    loop {
        let mut from = 0;
        while from < calls.len() && calls.len() > 1 {
            let kept: Vec<Call> = calls
                .iter()
                .enumerate()
                .filter(|(index, _)| !(from..from + part).contains(index))
                .map(|(_, call)| call.clone())
                .collect();
            match shrink.shows(&kept, &best.breach).await {
                Some(trouble) => {
                    calls = kept;
                    calls.truncate(trouble.steps.len());
                    best = trouble;
                }
                None => from += part,
            }
        }
        if part == 1 || shrink.is_over() {
            return best;
        }
        part = (part / 2).max(1);
    }
}

impl Shrink<'_> {
    fn is_over(&self) -> bool {
        self.runs >= RUNS || Instant::now() >= self.deadline
    }

    /// Whether these calls show the breach too.
    async fn shows(&mut self, calls: &[Call], breach: &Breach) -> Option<Trouble> {
        let chance = calls.iter().any(|call| matches!(call, Call::Together(..)));
        for _ in 0..if chance { TRIES } else { 1 } {
            if self.is_over() {
                return None;
            }
            self.runs += 1;
            let name = format!("{}-{}-{}", self.target.nonce, self.seed, self.runs);
            let world = World::new(name, self.target, 0);
            let (_, trouble) = sequence::run(self.target, &world, calls, self.known).await;
            let same = |trouble: &Trouble| trouble.breach.rpc == breach.rpc && trouble.breach.about == breach.about;
            if let Some(trouble) = trouble.filter(same) {
                return Some(trouble);
            }
        }
        None
    }
}
