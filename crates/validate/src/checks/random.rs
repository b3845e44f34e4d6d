//! Calls in any order.

use std::sync::{Arc, PoisonError};

use crate::{
    check::checks,
    context::Ctx,
    random::{self, Plan, RPCS, Target},
    registry::TestRegistry,
    verdict::{Checked, Stop},
};

/// How many calls a sequence has.
const CALLS: usize = 40;

checks! {
    "random/sequences",
        "The order of calls is the client's: each call does what it is documented to do whatever came before it", [], sequences;
}

async fn sequences(ctx: Ctx) -> Checked {
    let run = ctx.run();
    let nonce = ctx.unique("r");
    // Images of its own: other checks must not find theirs removed.
    let registry = TestRegistry::serve(&nonce).await.map_err(|error| Stop::node("serve the test images", error))?;
    run.hosts.lock().unwrap_or_else(PoisonError::into_inner).insert(registry.host());
    ctx.own().calls.lock().unwrap_or_else(PoisonError::into_inner).extend(RPCS);
    let target = Target {
        runtime: run.runtime.clone(),
        images: run.images.clone(),
        registry: Arc::new(registry),
        directory: ctx.directory()?.to_owned(),
        handler: ctx.handler().to_owned(),
        nonce: run.id.clone(),
        labels: ctx.labels(),
    };
    let plan = Plan {
        seed: ctx.seed(),
        sequences: run.sequences,
        calls: CALLS,
        // What is left is for the last sequence, and for cleaning up.
        budget: run.limit.mul_f64(0.6),
        crowds: true,
    };
    let report = random::run(&target, &plan).await;
    let Some(first) = report.findings.first() else { return Ok(()) };
    let all: String = report.findings.iter().map(ToString::to_string).collect();
    Err(Stop::failed(first.subject(), first.expected(), format!("{}\n{all}", first.seen())))
}
