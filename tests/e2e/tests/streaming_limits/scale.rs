//! Many sessions at once.

use std::sync::Arc;

use bytes::Bytes;
use corten_e2e::{
    cri::{Cri, until},
    streaming::{PIPES, TERMINAL, TRANSPORTS, read_until, to_end},
};
use corten_streaming::remote_command::Outcome;
use tokio::{
    sync::Barrier,
    task::{JoinSet, LocalSet},
};

use crate::world::{World, test};

/// How many there are at once.
const SESSIONS: usize = 200;

/// How many times.
const ROUNDS: usize = 5;

/// What a process may grow by in the round in which it grows least: what leaks, leaks in every one. Less than 3 KiB a session.
const LEAK: u64 = 512 << 10;

/// What a process may grow by in all rounds: the allocator cannot give back what is between what is in use.
const GROWTH: u64 = 8 << 20;

#[test]
fn two_hundred_sessions_at_once_leave_nothing_behind() {
    test(async |world| {
        // What is allocated for so many at once and kept.
        round(world).await;
        let mut memory = Vec::new();
        for number in 0..ROUNDS {
            round(world).await;
            world.is_well(&format!("round {number}")).await;
            memory.push(settled(world).await);
        }
        eprintln!("{:?} KiB", memory.iter().map(|(ours, theirs)| (ours >> 10, theirs >> 10)).collect::<Vec<_>>());
        assert_bounded("cortend", memory.iter().map(|(cortend, _)| *cortend).collect());
        assert_bounded("the monitor", memory.iter().map(|(_, monitor)| *monitor).collect());
    });
}

fn assert_bounded(what: &str, memory: Vec<u64>) {
    let least = memory.windows(2).map(|round| round[1].saturating_sub(round[0])).min();
    assert!(least < Some(LEAK), "{what} grows in every round: {memory:?}");
    assert!(memory[ROUNDS - 1] < memory[0] + GROWTH, "{what}: {memory:?}");
}

/// The memory of cortend and of the monitor once it becomes no less: it is given back a moment after the last session.
async fn settled(world: &World<'_>) -> (u64, u64) {
    let (mut least, mut times) = (u64::MAX, 0);
    until("memory to be given back", async || {
        let now = world.cortend.memory();
        times = if now < least { 0 } else { times + 1 };
        least = least.min(now);
        (times > 20).then_some((least, world.monitor.memory()))
    })
    .await
}

/// All sessions, each with its process, are there before the first of them ends.
async fn round(world: &World<'_>) {
    let everybody = Arc::new(Barrier::new(SESSIONS));
    let mut sessions = JoinSet::new();
    let tasks = LocalSet::new();
    for number in 0..SESSIONS {
        let (cri, container, everybody) = (world.cri.clone(), world.container.clone(), everybody.clone());
        sessions.spawn_local_on(async move { session(&cri, &container, number, &everybody).await }, &tasks);
    }
    tasks
        .run_until(async { while sessions.join_next().await.is_some_and(|joined| joined.map(|()| true).unwrap()) {} })
        .await;
}

/// One session: it says that it is there, is told something, says it and ends with a code of its own.
async fn session(cri: &Cri, container: &str, number: usize, everybody: &Barrier) {
    let wanted = if number % 4 < 2 { PIPES } else { TERMINAL };
    let transport = TRANSPORTS[number % 2];
    let script = format!("echo ready {number}; read line; echo \"$line was told\"; exit {}", number % 100);
    let mut session = cri.exec_session(container, &["sh", "-c", &script], wanted, transport).await;
    read_until(session.stdout.as_mut().unwrap(), &format!("ready {number}")).await;
    everybody.wait().await;
    let stdin = session.stdin.take().unwrap();
    stdin.send(Bytes::from(format!("this to {number}\n"))).await.unwrap();
    let said = to_end(session).await;
    let text = said.text();
    assert!(text.trim_end().ends_with(&format!("this to {number} was told")), "{number}: {said:?}");
    assert_eq!(said.outcome, Outcome::Exited((number % 100) as i32));
    drop(stdin);
}
