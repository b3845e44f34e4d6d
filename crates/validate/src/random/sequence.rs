//! One run of a sequence.

use std::fmt;

use super::{
    Target,
    call::Call,
    clean, is_known,
    model::{Breach, Model, Verdict, seen},
    perform::Performer,
    world::World,
};

/// A call and what it was answered with.
#[derive(Debug, Clone)]
pub struct Step {
    /// The call.
    pub call: Call,
    /// The answer, in a few words.
    pub seen: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.seen)
    }
}

/// A breach and the calls up to it.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// The breach.
    pub breach: Breach,
    /// The calls, with the one that showed it last.
    pub steps: Vec<Step>,
}

/// Runs a sequence to its end, or to a breach that is not known, and removes what it made. How many calls it made, and the
/// breach.
pub async fn run(target: &Target, world: &World, calls: &[Call], known: &[Breach]) -> (u64, Option<Trouble>) {
    let mut steps = Vec::new();
    let breach = follow(target, world, calls, known, &mut steps).await.err();
    let made = steps.len() as u64;
    let cleaned = clean::clean(target, world).await;
    let breach = breach.or(cleaned.err().filter(|breach| !is_known(breach, known)));
    (made, breach.map(|breach| Trouble { breach, steps }))
}

async fn follow(target: &Target, world: &World, calls: &[Call], known: &[Breach], steps: &mut Vec<Step>) -> Verdict {
    let performer = Performer { target, world };
    let mut model = Model::new();
    for call in calls {
        let (verdict, seen) = make(&performer, &mut model, call).await;
        steps.push(Step { call: call.clone(), seen });
        match verdict {
            Err(breach) if is_known(&breach, known) => model.forget(),
            other => other?,
        }
    }
    Ok(())
}

/// Makes a call, or two at once, and has the answer judged.
pub async fn make(performer: &Performer<'_>, model: &mut Model, call: &Call) -> (Verdict, String) {
    let ids = model.ids().clone();
    let Call::Together(first, second) = call else {
        let answer = performer.perform(&ids, call).await;
        return (model.judge(performer.world, call, &answer), seen(&answer));
    };
    let (one, two) = tokio::join!(performer.perform(&ids, first), performer.perform(&ids, second));
    let verdict = model.judge_both(performer.world, [first, second], [&one, &two]);
    (verdict, format!("{}; {}", seen(&one), seen(&two)))
}
