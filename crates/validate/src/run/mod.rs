//! Running checks: several at once, each with a time limit, and everything removed afterwards.

mod options;

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use corten_cri::{
    ApiVersion,
    client::{self, Connection},
    history::{History, Release},
    survey::survey,
    v1::{PullImageRequest, StatusRequest, VersionRequest},
};
use tokio::{
    sync::{RwLock, Semaphore},
    task::{Id, JoinError, JoinSet},
    time::timeout,
};

pub use self::options::{Error, Options};
use crate::{
    check::Check,
    context::{Ctx, Run},
    image::names,
    knowledge::{self, Knowledge},
    make::spec,
    registry::TestRegistry,
    report::{Finished, Outcome, Report},
    rpc::limited,
    sweep,
    verdict::{Checked, Stop},
};

/// The checks whose names match one of the patterns; all when there is none.
///
/// # Errors
/// [`Error::NoSuchCheck`] for a pattern that nothing matches.
pub fn selected(only: &[String]) -> Result<Vec<Check>, Error> {
    let all = crate::checks::all();
    for pattern in only {
        if !all.iter().any(|check| matches(pattern, check.name)) {
            return Err(Error::NoSuchCheck(pattern.clone()));
        }
    }
    let wanted = |check: &Check| only.is_empty() || only.iter().any(|pattern| matches(pattern, check.name));
    Ok(all.into_iter().filter(wanted).collect())
}

/// Whether a name matches a pattern in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(tail) = name.strip_prefix(head) else { return false };
    let ends = tail.char_indices().map(|(index, _)| index).chain([tail.len()]);
    ends.into_iter().any(|end| tail.get(end..).is_some_and(|tail| matches(rest, tail)))
}

/// Runs the checks that `options` select. `each` is told every result as it comes; when `interrupted` resolves, the run
/// ends early, and also then everything made is removed.
///
/// # Errors
/// [`Error`] when nothing can be checked. A check that fails is no error: it is in the report.
pub async fn run(
    options: &Options,
    each: impl FnMut(&Finished),
    interrupted: impl Future<Output = ()>,
) -> Result<Report, Error> {
    run_these(options, selected(&options.only)?, each, interrupted).await
}

/// The same with checks of the caller's choice, which may be its own.
///
/// # Errors
/// As [`run`].
pub async fn run_these(
    options: &Options,
    checks: Vec<Check>,
    mut each: impl FnMut(&Finished),
    interrupted: impl Future<Output = ()>,
) -> Result<Report, Error> {
    let begun = Instant::now();
    let directory = tempfile::Builder::new().prefix("corten-validate-").tempdir();
    let mut directory = directory.map_err(|source| Error::Node { what: "make a directory", source })?;
    let run = Arc::new(begin(options, directory.path()).await?);
    let (finished, was_interrupted) = all(&run, options, checks, &mut each, interrupted).await;
    let kept: BTreeSet<&'static str> = finished.iter().filter(|one| one.is_kept(options)).map(|one| one.name).collect();
    let leftover = sweep::run(&run, &kept).await.err();
    directory.disable_cleanup(!kept.is_empty());
    Ok(Report {
        runtime: format!("{} {}", run.version.runtime_name, run.version.runtime_version),
        release: run.knowledge.release(),
        seed: options.seed,
        checks: finished,
        duration: begun.elapsed(),
        interrupted: was_interrupted,
        kept: (!kept.is_empty()).then(|| directory.path().to_owned()),
        leftover: leftover.map(|stop| stop_text(&stop)),
    })
}

fn stop_text(stop: &Stop) -> String {
    match stop {
        Stop::Failed(failure) => failure.to_string(),
        Stop::NotSupported(why) => why.clone(),
    }
}

/// Everything that the checks share.
async fn begin(options: &Options, directory: &std::path::Path) -> Result<Run, Error> {
    let history = History::embedded().map_err(Error::History)?;
    if let Some(release) = options.as_release {
        history.v1.in_release(release).map_err(Error::Release)?;
    }
    let channel = connect(&options.endpoint, options.api).await?;
    let api = channel.version();
    let release = match options.as_release {
        Some(release) => Some(release),
        None => asked(&channel).await,
    };
    let images = match &options.image_endpoint {
        Some(endpoint) => client::images(connect(endpoint, options.api).await?),
        None => client::images(channel.clone()),
    };
    let mut runtime = client::runtime(channel.clone());
    let failed = |rpc| move |status| Error::Call { rpc, status: Box::new(status) };
    let version = limited(options.limit, runtime.version(VersionRequest::default()))
        .await
        .map_err(failed("Version"))?
        .into_inner();
    let status = limited(options.limit, runtime.status(StatusRequest { verbose: false }))
        .await
        .map_err(failed("Status"))?
        .into_inner();
    let id = format!("{:016x}", RandomState::new().build_hasher().finish());
    let run = Run {
        connection: channel,
        runtime,
        images,
        directory: directory.to_owned(),
        handler: options.runtime_handler.clone(),
        knowledge: Knowledge::of(history, api, release),
        version,
        status,
        registry: serve(&id).await?,
        hosts: std::sync::Mutex::default(),
        registries: std::sync::Mutex::default(),
        id,
        patience: options.patience,
        seed: options.seed,
        sequences: options.sequences,
        limit: options.limit,
        making: Arc::new(RwLock::new(())),
    };
    pull(&run).await?;
    Ok(run)
}

async fn connect(endpoint: &str, api: Option<ApiVersion>) -> Result<Connection, client::Error> {
    match api {
        Some(api) => client::connect_as(endpoint, api).await,
        None => client::connect(endpoint).await,
    }
}

/// The oldest release that a runtime may be of, by what it knows: no less can be expected of it. None if it does not say.
async fn asked(connection: &Connection) -> Option<Release> {
    let survey = survey(connection).await.ok()?;
    survey.release().ok().map(|fit| fit.oldest)
}

/// A registry with images that no other has.
pub(crate) async fn serve(nonce: &str) -> Result<TestRegistry, Error> {
    TestRegistry::serve(nonce).await.map_err(|source| Error::Node { what: "serve the test images", source })
}

async fn pull(run: &Run) -> Result<(), Error> {
    let reference = run.registry.reference(names::PLAIN);
    run.hosts.lock().unwrap_or_else(PoisonError::into_inner).insert(run.registry.host());
    let request = PullImageRequest { image: Some(spec(&reference)), ..Default::default() };
    let mut images = run.images.clone();
    let answer = limited(run.limit, images.pull_image(request)).await;
    answer.map(drop).map_err(|status| Error::Pull { reference, status: Box::new(status) })
}

async fn all(
    run: &Arc<Run>,
    options: &Options,
    checks: Vec<Check>,
    each: &mut impl FnMut(&Finished),
    interrupted: impl Future<Output = ()>,
) -> (Vec<Finished>, bool) {
    let places = Arc::new(Semaphore::new(options.jobs.max(1)));
    let mut going = JoinSet::new();
    let mut under_way = HashMap::new();
    for check in checks {
        let since = knowledge::since(check.needs, run.knowledge.schema());
        let (run, places, options) = (run.clone(), places.clone(), options.clone());
        let task = going.spawn(async move {
            // It is never closed.
            let _place = places.acquire().await;
            one(run, check, &options).await
        });
        under_way.insert(task.id(), (check, since));
    }
    let mut finished = Vec::new();
    let mut interrupted = std::pin::pin!(interrupted);
    let stopped = loop {
        tokio::select! {
            next = going.join_next_with_id() => {
                let Some(next) = next else { break false };
                let Some(one) = ended(&under_way, next) else { continue };
                each(&one);
                let failed = matches!(one.outcome, Outcome::Failed(_));
                finished.push(one);
                if failed && options.fail_fast {
                    break false;
                }
            },
            () = &mut interrupted => break true,
        }
    };
    // What is under way is abandoned; what it has made is removed by its label.
    going.shutdown().await;
    finished.sort_by_key(|one| one.name);
    (finished, stopped)
}

/// The checks there are, by their tasks, with the releases that introduced what they need.
type UnderWay = HashMap<Id, (Check, Option<Release>)>;

/// How a check ended. One whose task did not come to an end (a panic while it was cleaned up after, say) has failed.
fn ended(under_way: &UnderWay, task: Result<(Id, Finished), JoinError>) -> Option<Finished> {
    let error = match task {
        Ok((_, one)) => return Some(one),
        Err(error) => error,
    };
    let (check, since) = under_way.get(&error.id())?;
    let outcome = Stop::failed("the check itself", "no mistake of its own", error).into();
    let (duration, calls) = (Duration::ZERO, BTreeSet::new());
    Some(Finished { name: check.name, says: check.says, since: *since, outcome, duration, calls })
}

async fn one(run: Arc<Run>, check: Check, options: &Options) -> Finished {
    let begun = Instant::now();
    let since = knowledge::since(check.needs, run.knowledge.schema());
    let ctx = Ctx::new(run, check.name);
    let outcome = match check.needs.iter().find_map(|need| ctx.knowledge().lacks(need)) {
        Some(why) => Outcome::NotSupported(why),
        None => outcome(&ctx, check, options.limit).await,
    };
    let duration = begun.elapsed();
    let calls = ctx.own().calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut finished = Finished { name: check.name, says: check.says, since, outcome, duration, calls };
    if !finished.is_kept(options)
        && let (Err(stop), Outcome::Passed) = (sweep::check(&ctx).await, &finished.outcome)
    {
        finished.outcome = stop.into();
    }
    finished
}

async fn outcome(ctx: &Ctx, check: Check, limit: Duration) -> Outcome {
    // A task of its own, so that a panic is noticed; it ends with this one.
    let mut task = JoinSet::new();
    task.spawn(timeout(limit, (check.run)(ctx.clone())));
    let result: Checked = match task.join_next().await {
        Some(Ok(Ok(result))) => result,
        Some(Ok(Err(_))) => Err(Stop::failed(
            "the check",
            format!("an end within {limit:?}"),
            format!("none; calls so far: {:?}", ctx.own().calls.lock().unwrap_or_else(PoisonError::into_inner)),
        )),
        Some(Err(error)) => Err(Stop::failed("the check itself", "no mistake of its own", error)),
        None => Ok(()),
    };
    match result {
        Ok(()) => Outcome::Passed,
        Err(stop) => stop.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn patterns_select_by_name() {
        for (pattern, name, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/bc", false),
            ("a/*", "a/b", true),
            ("*stop*", "containers/stop-is", true),
            ("*", "", true),
            ("a*c", "abcbc", true),
            ("a*d", "abc", false),
            ("*b", "abä", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[tokio::test]
    async fn a_check_whose_task_panics_has_failed() {
        let check = crate::checks::all()[0];
        let mut going: JoinSet<Finished> = JoinSet::new();
        let id = going.spawn(async { panic!("while cleaning up") }).id();
        let under_way = HashMap::from([(id, (check, None))]);
        let one = ended(&under_way, going.join_next_with_id().await.unwrap()).unwrap();
        assert_eq!(one.name, check.name);
        assert!(matches!(one.outcome, Outcome::Failed(failure) if failure.seen.contains("while cleaning up")));
    }

    #[test]
    fn a_pattern_that_nothing_matches_is_an_error() {
        assert!(selected(&["version/*".to_owned()]).is_ok());
        assert!(selected(&["nothing/*".to_owned()]).is_err());
    }

    #[test]
    fn names_are_unique_and_every_need_is_in_the_history() {
        let schema = &History::embedded().unwrap().v1;
        let checks = crate::checks::all();
        let names: BTreeSet<_> = checks.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), checks.len());
        for check in checks {
            assert!(check.name.contains('/') && !check.says.is_empty(), "{}", check.name);
            for need in check.needs {
                assert!(knowledge::Need(need).since(schema).is_some(), "{}: {need}", check.name);
            }
        }
    }
}
