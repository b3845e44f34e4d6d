//! Several clients at once.
//!
//! Each has pods of its own and is held to the model as one alone is: others must make no difference. On every other run they
//! have the same pods: then nobody knows what an answer must be, and only what holds always is looked at.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use tonic::Code;

use super::{
    Finding, Target,
    call::{Call, Container, Pod},
    clean,
    draw::Draw,
    generate, is_known,
    model::{Breach, seen},
    perform::{Answer, Performer, Reply},
    sequence::{self, Step},
    world::{Ids, World},
};

/// How many images the registry has for each client.
const IMAGES_EACH: usize = super::call::IMAGES;

/// Runs two to four clients. How many calls they made, and what was found.
pub async fn run(target: &Target, seed: u64, mut draw: Draw, calls: usize, known: &[Breach]) -> (u64, Option<Finding>) {
    let clients = 2 + draw.below(3);
    let sequences: Vec<Vec<Call>> = (0..clients).map(|_| generate::sequence(&mut draw, calls)).collect();
    if draw.once_in(2) {
        shared(target, seed, &sequences, known).await
    } else {
        apart(target, seed, &sequences, known).await
    }
}

async fn apart(target: &Target, seed: u64, sequences: &[Vec<Call>], known: &[Breach]) -> (u64, Option<Finding>) {
    let worlds: Vec<World> = (0..sequences.len())
        .map(|client| World::new(format!("{}-{seed}-{client}", target.nonce), target, client * IMAGES_EACH))
        .collect();
    let runs = worlds.iter().zip(sequences).map(|(world, calls)| sequence::run(target, world, calls, known));
    let mut made = 0;
    let mut finding = None;
    for (count, trouble) in futures::future::join_all(runs).await {
        made += count;
        if let Some(trouble) = trouble {
            let length = trouble.steps.len();
            finding = finding.or(Some(Finding { seed, breach: trouble.breach, steps: trouble.steps, length }));
        }
    }
    (made, finding)
}

/// What clients know of the objects that they share.
#[derive(Debug, Default)]
struct Shared {
    ids: Ids,
    /// The ids that a removal has been answered for with success.
    removed: BTreeSet<String>,
    /// The containers that have been seen to have ended.
    exited: BTreeSet<String>,
}

async fn shared(target: &Target, seed: u64, sequences: &[Vec<Call>], known: &[Breach]) -> (u64, Option<Finding>) {
    let world = World::new(format!("{}-{seed}", target.nonce), target, 0);
    let facts = Mutex::new(Shared::default());
    let runs = sequences.iter().map(|calls| client(target, &world, calls, &facts));
    let mut made = 0;
    let mut found = None;
    for (steps, breach) in futures::future::join_all(runs).await {
        made += steps.len() as u64;
        found = found.or(breach.filter(|breach| !is_known(breach, known)).map(|breach| (breach, steps)));
    }
    let cleaned = clean::clean(target, &world).await.err().filter(|breach| !is_known(breach, known));
    let found = found.or(cleaned.map(|breach| (breach, Vec::new())));
    let finding = found.map(|(breach, steps)| Finding { seed, breach, length: steps.len(), steps });
    (made, finding)
}

async fn client(target: &Target, world: &World, calls: &[Call], facts: &Mutex<Shared>) -> (Vec<Step>, Option<Breach>) {
    let performer = Performer { target, world };
    let mut steps = Vec::new();
    let single = calls.iter().flat_map(|call| match call {
        Call::Together(first, second) => vec![first.as_ref(), second.as_ref()],
        other => vec![other],
    });
    for call in single {
        let (ids, removed, exited) = {
            let facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
            (facts.ids.clone(), facts.removed.clone(), facts.exited.clone())
        };
        let answer = performer.perform(&ids, call).await;
        steps.push(Step { call: call.clone(), seen: seen(&answer) });
        if let Some(breach) = always(call, &ids, &answer, &removed, &exited) {
            return (steps, Some(breach));
        }
        note(&mut facts.lock().unwrap_or_else(PoisonError::into_inner), &ids, call, &answer);
    }
    (steps, None)
}

/// What an answer teaches.
fn note(facts: &mut Shared, ids: &Ids, call: &Call, answer: &Answer) {
    match (call, answer) {
        (Call::RunPodSandbox(place), Ok(Reply::Id(id))) => facts.ids.pods[*place] = Some(id.clone()),
        (Call::CreateContainer { container, .. }, Ok(Reply::Id(id))) => {
            facts.ids.containers[*container] = Some(id.clone());
        }
        (Call::RemovePodSandbox(Pod::At(place)), Ok(_)) => facts.removed.extend(ids.pods[*place].clone()),
        (Call::RemoveContainer(Container::At(place)), Ok(_)) => facts.removed.extend(ids.containers[*place].clone()),
        (_, Ok(Reply::Container(status))) if status.finished_at > 0 => {
            facts.exited.insert(status.id.clone());
        }
        _ => {}
    }
}

/// What holds however many clients there are: every answer is a proper one, what was removed before the call was made is not
/// there, and what has ended does not run.
fn always(
    call: &Call,
    ids: &Ids,
    answer: &Answer,
    removed: &BTreeSet<String>,
    exited: &BTreeSet<String>,
) -> Option<Breach> {
    let breach = |about, expected: &str| {
        Some(Breach { rpc: call.rpc(), about, expected: expected.to_owned(), seen: seen(answer) })
    };
    if let Err(status) = answer {
        return match status.code() {
            Code::DeadlineExceeded | Code::DataLoss | Code::Cancelled => {
                breach("there is no proper answer", "an answer")
            }
            _ => None,
        };
    }
    if let Ok(Reply::Lacks(what)) = answer {
        return breach("the answer is incomplete", what);
    }
    let gone = |id: &String| removed.contains(id);
    let there = match answer {
        Ok(Reply::Pod(status)) => gone(&status.id),
        Ok(Reply::Container(status)) => gone(&status.id),
        Ok(Reply::Pods(rows)) => rows.iter().any(|row| gone(&row.id)),
        Ok(Reply::Containers(rows)) => rows.iter().any(|row| gone(&row.id)),
        Ok(Reply::Stats(ids)) => ids.iter().any(gone),
        _ => works_on(call, ids).is_some_and(gone),
    };
    if there {
        return breach("what was removed is still there", "nothing of what was removed before the call was made");
    }
    match answer {
        Ok(Reply::Container(status)) if exited.contains(&status.id) && status.finished_at == 0 => {
            breach("what has ended runs again", "a container that has ended")
        }
        _ => None,
    }
}

/// The object that a call that has worked must have found.
fn works_on<'a>(call: &Call, ids: &'a Ids) -> Option<&'a String> {
    match call {
        Call::StartContainer(Container::At(place))
        | Call::ExecSync(Container::At(place), _)
        | Call::Exec(Container::At(place))
        | Call::Attach(Container::At(place))
        | Call::UpdateContainerResources(Container::At(place))
        | Call::ReopenContainerLog(Container::At(place)) => ids.containers.get(*place)?.as_ref(),
        Call::PortForward(Pod::At(place)) => ids.pods.get(*place)?.as_ref(),
        _ => None,
    }
}
