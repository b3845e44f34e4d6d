//! Errors and delays where somebody wants them.

mod parse;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tonic::{Code, Status};

pub use self::parse::Error;
use crate::proxy::{
    call::{Call, Callee},
    stage::{Answer, Begin, Exchange, Next, Stage},
};

/// What is to go wrong with some calls. Written as one reads it with [`str::parse`]:
///
/// ```text
/// RPC: WHAT[, WHAT]...
///
/// RPC   RuntimeService/StopContainer, RuntimeService/* or *; either version of the API
/// WHAT  error=CODE ["TEXT"]  the call is answered so, by the code's gRPC name (Unavailable)
///       delay=TIME           before it goes on or is answered (500ms, 2s, 1m)
///       rate=SHARE           only this share of the calls, 0 to 1
///       count=NUMBER         at most so many calls
///       skip=NUMBER          not the first so many calls
///       at=request|answer    before the runtime has seen the call (as it is without), or after it has answered: the
///                            work is done, and the client does not hear of it
/// ```
///
/// At least an error or a delay. In a text, `\"` is a quote and `\\` a backslash.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    target: Target,
    error: Option<(Code, String)>,
    delay: Option<Duration>,
    rate: f64,
    count: u64,
    skip: u64,
    at: At,
}

/// Which calls.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    All,
    Service(String),
    Rpc(String),
}

/// When it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Request,
    Answer,
}

/// Faults of a proxy. Each call meets those that concern it, in their order, up to the first error.
pub struct Faults {
    faults: Vec<(Fault, Mutex<Progress>)>,
}

/// How far a fault has come.
struct Progress {
    skipped: u64,
    hit: u64,
    random: u64,
}

impl Faults {
    /// These faults. Of the same seed and the same calls in the same order come the same faults.
    pub fn new(faults: impl IntoIterator<Item = Fault>, seed: u64) -> Self {
        let progress = |index: u64| Mutex::new(Progress { skipped: 0, hit: 0, random: seed.wrapping_add(index) });
        Self { faults: faults.into_iter().zip((0..).map(progress)).collect() }
    }
}

impl Target {
    fn matches(&self, service: &str, rpc: &str) -> bool {
        match self {
            Self::All => true,
            Self::Service(name) => name == service,
            Self::Rpc(name) => name == rpc,
        }
    }
}

impl Progress {
    /// Whether a call is one that the fault is for.
    fn hits(&mut self, fault: &Fault) -> bool {
        if self.skipped < fault.skip {
            self.skipped += 1;
            return false;
        }
        if self.hit >= fault.count || self.random() >= fault.rate {
            return false;
        }
        self.hit += 1;
        true
    }

    /// The next of a row of numbers from 0 up to 1 (splitmix64, by Vigna).
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The upper half is as many bits as a number of this type has.
        let upper = u32::try_from(mixed >> 32).unwrap_or_default();
        f64::from(upper) / (f64::from(u32::MAX) + 1.0)
    }
}

impl Stage for Faults {
    fn begin(&self, call: &mut Call) -> Begin {
        let (Callee::Cri(_, service), Some(rpc)) = (&call.callee, call.rpc()) else { return Begin::Pass };
        let mut wrong = Wrong { request: Effect::default(), answer: Effect::default() };
        for (fault, progress) in &self.faults {
            let hits = fault.target.matches(service.name(), &rpc)
                && progress.lock().unwrap_or_else(PoisonError::into_inner).hits(fault);
            if !hits {
                continue;
            }
            let effect = match fault.at {
                At::Request => &mut wrong.request,
                At::Answer => &mut wrong.answer,
            };
            if effect.error.is_none() {
                effect.delay += fault.delay.unwrap_or_default();
                effect.error = fault.error.clone();
            }
        }
        if wrong.request.is_none() && wrong.answer.is_none() { Begin::Pass } else { Begin::Follow(Box::new(wrong)) }
    }
}

/// What goes wrong with one call.
struct Wrong {
    request: Effect,
    answer: Effect,
}

#[derive(Default)]
struct Effect {
    delay: Duration,
    error: Option<(Code, String)>,
}

impl Effect {
    fn is_none(&self) -> bool {
        self.delay.is_zero() && self.error.is_none()
    }

    fn status(&self) -> Option<Status> {
        self.error.as_ref().map(|(code, text)| Status::new(*code, text.clone()))
    }

    /// The first message is late, the others come as they come.
    fn on(&mut self, message: Bytes) -> Next {
        let next = match self.status() {
            Some(status) => Next::Answer(Answer::status(status)),
            None => Next::Forward(message),
        };
        let delay = std::mem::take(&mut self.delay);
        if delay.is_zero() { next } else { Next::After(delay, Box::new(next)) }
    }
}

impl Exchange for Wrong {
    fn request(&mut self, message: Bytes) -> Next {
        self.request.on(message)
    }

    fn response(&mut self, message: Bytes) -> Next {
        self.answer.on(message)
    }

    fn end(&mut self, status: Status) -> Answer {
        // An answer without a message, as an error is.
        Answer::status(self.answer.status().unwrap_or(status))
    }
}

#[cfg(test)]
mod tests;
