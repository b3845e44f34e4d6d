//! Downloads from registries that break off, stall, trickle, throttle, and do ranges wrongly or not at all. Needs root.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use corten_images::{Config, Digest, Downloads, Error, Fault, Store};
use support::{
    Registry,
    build::{Built, BuiltLayer, Form, Packing, archive},
    liar::{Answer, Liar, Seen},
};
use tokio::sync::watch;

const RANGE: usize = 16 << 10;
const WINDOW: usize = 4 * RANGE;

/// Many small ranges, few retries, and patience with a machine that is busy.
fn hurried() -> Downloads {
    Downloads {
        connections: 4,
        parallel_bytes: 1,
        range_bytes: RANGE as u64,
        window_bytes: WINDOW as u64,
        retries: 3,
        retry_milliseconds: 1,
        retry_after_seconds: 1,
        stall_bytes_per_second: 1,
        stall_seconds: 30,
    }
}

fn alone() -> Downloads {
    Downloads { connections: 1, ..hurried() }
}

fn strict(bytes_per_second: u64, settings: Downloads) -> Downloads {
    Downloads { stall_bytes_per_second: bytes_per_second, stall_seconds: 1, ..settings }
}

async fn open(root: &Path, download: Downloads) -> Store {
    Store::open(root, Config { download, ..Config::default() }).await.unwrap()
}

/// What is answered to a request for the bytes from here to there.
type Lie = fn(&[u8], usize, usize) -> Answer;

/// Numbers without order, the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// An image of one layer that is not compressed, and the layer's blob: somewhat more than `size` bytes.
fn image(size: usize, seed: u64) -> (Built, Vec<u8>) {
    let mut random = Random(seed);
    let content: Vec<_> = (0..size).map(|_| random.below(256) as u8).collect();
    let image = Built::new(vec![BuiltLayer::new(&archive(&[("f", &content)]), Packing::Plain)]);
    let blob = image.layers[0].blob.clone();
    (image, blob)
}

fn path(blob: &[u8]) -> String {
    format!("/blobs/{}", Digest::of(blob))
}

/// A server of the image that answers as `lie` says when it is asked for the layer.
async fn liar(image: &Built, lie: impl Fn(&[u8], &Seen) -> Answer + Send + Sync + 'static) -> Liar {
    let blob = image.layers[0].blob.clone();
    let path = path(&blob);
    Liar::of(image, move |seen| seen.path.contains(&path).then(|| lie(&blob, seen))).await
}

async fn pull(registry: &Liar, download: Downloads) -> Result<String, Error> {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), download).await;
    let pulled = store.pull(&format!("{}/a:1", registry.address), None).await;
    if pulled.is_err() {
        assert_eq!(std::fs::read_dir(root.path().join("l")).unwrap().count(), 0);
    }
    pulled.map(|image| image.id.clone())
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_comes_in_ranges_and_a_small_one_whole() {
    let (image, blob) = image(10 * RANGE, 1);
    let registry = liar(&image, Answer::of).await;
    assert_eq!(pull(&registry, hurried()).await.unwrap(), image.id());
    let mut ranges: Vec<_> = registry.asked(&path(&blob)).iter().map(|seen| seen.range().unwrap()).collect();
    ranges.sort_unstable();
    let want: Vec<_> = (0..blob.len()).step_by(RANGE).map(|at| (at, (at + RANGE).min(blob.len()) - 1)).collect();
    assert_eq!(ranges, want);
    let registry = liar(&image, Answer::of).await;
    let settings = Downloads { parallel_bytes: blob.len() as u64 + 1, ..hurried() };
    assert_eq!(pull(&registry, settings).await.unwrap(), image.id());
    let asked = registry.asked(&path(&blob));
    assert!(asked.len() == 1 && asked[0].range().is_none(), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_registry_serves_ranges() {
    let (image, _) = image(50 * RANGE, 1);
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    registry.push("a", "1", &image, Form::Oci).await;
    let store = open(root.path(), hurried()).await;
    assert_eq!(store.pull(&registry.reference("a:1"), None).await.unwrap().id, image.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_that_throttles_for_good_is_asked_by_one() {
    let (image, _) = image(10 * RANGE, 1);
    let tokens = Liar::start(|_| Answer::status(429)).await;
    let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.address);
    let registry = liar(&image, move |blob, seen| match seen.range() {
        Some((0, _)) => Answer::of(blob, seen),
        _ => Answer::status(401).header("www-authenticate", &challenge),
    })
    .await;
    let error = pull(&registry, hurried()).await.unwrap_err();
    assert!(error.to_string().contains("token service") && error.to_string().contains("429"), "{error}");
    assert_eq!(tokens.seen().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_anywhere_it_is_the_same_blob() {
    let mut asked = 0;
    for seed in 0..30 {
        let (image, blob) = image(10 * RANGE, seed);
        let random = Mutex::new(Random(seed));
        let registry = liar(&image, move |blob, seen| {
            let (answer, mut random) = (Answer::of(blob, seen), random.lock().unwrap());
            // A little comes each time, so that nobody gives up.
            let cut = 100 + random.below(answer.body.len());
            if random.below(3) > 0 { answer.cut(cut) } else { answer }
        })
        .await;
        let settings = if seed % 2 == 0 { hurried() } else { alone() };
        assert_eq!(pull(&registry, settings).await.unwrap(), image.id(), "{seed}");
        asked += registry.count(&path(&blob));
    }
    assert!(asked > 300, "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_ranges_is_asked_once() {
    let (image, blob) = image(10 * RANGE, 1);
    for settings in [hurried(), alone()] {
        let registry = liar(&image, |blob, _| Answer::ok(blob)).await;
        assert_eq!(pull(&registry, settings).await.unwrap(), image.id());
        assert_eq!(registry.count(&path(&blob)), 1);
    }
    // It starts over when it broke off.
    let cuts = Mutex::new(vec![9 * RANGE, 3 * RANGE, RANGE / 2]);
    let registry = liar(&image, move |blob, _| match cuts.lock().unwrap().pop() {
        Some(cut) => Answer::ok(blob).cut(cut),
        None => Answer::ok(blob),
    })
    .await;
    assert_eq!(pull(&registry, hurried()).await.unwrap(), image.id());
    assert_eq!(registry.count(&path(&blob)), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_ranges_are_not_used() {
    let (image, blob) = image(10 * RANGE, 1);
    let end = blob.len();
    let wrong: [Lie; 6] = [
        |blob, first, last| {
            Answer { status: 206, ..Answer::ok(&blob[first..=last]) }
                .header("content-range", &format!("bytes {}-{last}/{}", first + 1, blob.len()))
        },
        |blob, first, last| {
            Answer { status: 206, ..Answer::ok(&blob[first..=last]) }
                .header("content-range", &format!("bytes {first}-{last}/{}", blob.len() + 1))
        },
        |blob, first, last| Answer { status: 206, ..Answer::ok(&blob[first..=last]) },
        |blob, _, _| {
            Answer { status: 206, ..Answer::ok(blob) }
                .header("content-range", &format!("bytes 0-{}/{}", blob.len() - 1, blob.len()))
        },
        |_, _, _| Answer::status(416),
        |blob, _, _| Answer::ok(blob),
    ];
    for (number, wrong) in wrong.into_iter().enumerate() {
        for from in [0, 2 * RANGE] {
            let registry = liar(&image, move |blob, seen| match seen.range() {
                Some((first, last)) if first >= from => wrong(blob, first, last),
                _ => Answer::of(blob, seen),
            })
            .await;
            assert_eq!(pull(&registry, hurried()).await.unwrap(), image.id(), "{number} from {from} of {end}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_fewer_bytes_are_followed_by_the_rest() {
    let (image, _) = image(10 * RANGE, 1);
    let registry = liar(&image, |blob, seen| {
        let (first, last) = seen.range().unwrap();
        let last = last.min(first + RANGE / 3).min(blob.len() - 1);
        Answer { status: 206, ..Answer::ok(&blob[first..=last]) }
            .header("content-range", &format!("bytes {first}-{last}/*"))
    })
    .await;
    assert_eq!(pull(&registry, hurried()).await.unwrap(), image.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_wrong_bytes_are_a_wrong_digest() {
    let (image, _) = image(10 * RANGE, 1);
    let registry = liar(&image, |blob, seen| {
        let mut lie = blob.to_vec();
        lie[5 * RANGE] ^= 1;
        Answer::of(&lie, seen)
    })
    .await;
    let error = pull(&registry, hurried()).await.unwrap_err();
    assert!(error.to_string().contains("digest"), "{error}");
    assert_eq!(error.fault(), Fault::Outside);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_throttles_is_asked_again_when_it_says() {
    let (image, blob) = image(3 * RANGE, 1);
    let tokens = throttled(|_| Answer::ok(r#"{"token": "t"}"#)).await;
    let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.address);
    let (manifest, blobs) = (image.manifest(Form::Oci), image.blobs());
    let registry = throttled(move |seen| {
        if seen.headers.get("authorization").map(String::as_str) != Some("Bearer t") {
            return Answer::status(401).header("www-authenticate", &challenge);
        }
        match blobs.iter().find(|blob| seen.path.contains(&path(blob))) {
            Some(blob) => Answer::of(blob, seen),
            None => Answer::ok(manifest.clone()).header("content-type", Form::Oci.manifest()),
        }
    })
    .await;
    let start = Instant::now();
    assert_eq!(pull(&registry, alone()).await.unwrap(), image.id());
    // Of four demands one is for an hour, of which a second is granted, and one for a moment in the past.
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert_eq!(tokens.seen().len(), 2);
    assert_eq!(registry.count(&path(&blob)), 2);
}

/// Refuses what it is asked for the first time, in many ways.
async fn throttled(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Liar {
    let seen_before = Mutex::new(HashMap::<_, usize>::new());
    Liar::start(move |seen| {
        let mut before = seen_before.lock().unwrap();
        let times = before.entry(seen.path.clone()).or_default();
        *times += 1;
        match (*times, before.len()) {
            (1, 1) => Answer::status(429).header("retry-after", "1"),
            (1, 2) => Answer::status(503).header("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1, _) => Answer::status(429).header("retry-after", "3600"),
            _ => answer(seen),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_end() {
    let (image, blob) = image(3 * RANGE, 1);
    for status in [408, 429, 500, 503] {
        let registry = liar(&image, move |_, _| Answer::status(status)).await;
        let error = pull(&registry, alone()).await.unwrap_err();
        assert!(error.to_string().starts_with("RegistryUnavailable: "), "{error}");
        assert_eq!(registry.count(&path(&blob)), 4);
    }
    // What is not there is not asked for twice.
    let registry = liar(&image, |_, _| Answer::status(404)).await;
    assert_eq!(pull(&registry, alone()).await.unwrap_err().fault(), Fault::NotFound);
    assert_eq!(registry.count(&path(&blob)), 1);
    // A byte each time is not enough to be forgiven.
    let registry = liar(&image, |blob, seen| Answer::of(blob, seen).cut(1)).await;
    let error = pull(&registry, strict(1000, alone())).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Unavailable, "{error}");
    assert_eq!(registry.count(&path(&blob)), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stalls_is_resumed_where_it_stopped() {
    let (image, blob) = image(3 * RANGE, 1);
    for settings in [alone(), hurried()] {
        let (hold, held) = watch::channel(false);
        let stalls = AtomicUsize::new(0);
        let registry = liar(&image, move |blob, seen| {
            let answer = Answer::of(blob, seen);
            if stalls.fetch_add(1, SeqCst) == 0 { answer.hang(1000, held.clone()) } else { answer }
        })
        .await;
        assert_eq!(pull(&registry, strict(1, settings)).await.unwrap(), image.id());
        let asked = registry.asked(&path(&blob));
        assert!(asked.iter().filter_map(Seen::range).any(|(first, _)| first == 1000), "{asked:?}");
        drop(hold);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_steady_goes_on_and_a_trickle_does_not() {
    let image = Built::simple("f", b"slow");
    let size = image.layers[0].blob.len();
    let pause = Duration::from_millis(90);
    // Four and a half seconds, more than twice the time over which throughput is measured.
    let trickle =
        move |blob: &[u8], seen: &Seen| Answer { trickle: Some((size.div_ceil(50), pause)), ..Answer::of(blob, seen) };
    let registry = liar(&image, trickle).await;
    assert_eq!(pull(&registry, Downloads { stall_seconds: 2, ..alone() }).await.unwrap(), image.id());
    assert_eq!(registry.count(&path(&image.layers[0].blob)), 1);
    let registry = liar(&image, trickle).await;
    let error = pull(&registry, strict(100_000, Downloads { retries: 1, ..alone() })).await.unwrap_err();
    assert!(error.to_string().contains("stalled: fewer than 100000 bytes in 1 seconds"), "{error}");
    assert_eq!(registry.count(&path(&image.layers[0].blob)), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_mirror_dies_the_next_host_goes_on() {
    let (image, blob) = image(10 * RANGE, 1);
    for settings in [alone(), hurried()] {
        let served = AtomicUsize::new(0);
        let mirror = liar(&image, move |blob, seen| match served.fetch_add(1, SeqCst) {
            0 => Answer::of(blob, seen).cut(5000),
            _ => Answer::status(500),
        })
        .await;
        let registry = liar(&image, Answer::of).await;
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("certs/origin.invalid");
        std::fs::create_dir_all(&directory).unwrap();
        let text = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", registry.address, mirror.address);
        std::fs::write(directory.join("hosts.toml"), text).unwrap();
        let config = Config { config_path: vec![root.path().join("certs")], download: settings, ..Config::default() };
        let store = Store::open(&root.path().join("images"), config).await.unwrap();
        assert_eq!(store.pull("origin.invalid/a:1", None).await.unwrap().id, image.id());
        let asked = registry.asked(&path(&blob));
        assert!(asked.iter().all(|seen| seen.range().unwrap().0 >= 5000), "{asked:?}");
        assert!(registry.count("/manifests/") == 0 && mirror.count(&path(&blob)) >= 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_beyond_the_window_is_asked_for() {
    let (image, blob) = image(20 * RANGE, 1);
    let (release, held) = watch::channel(false);
    let (released, beyond) = (held.clone(), Arc::new(AtomicUsize::new(0)));
    let count = beyond.clone();
    let registry = liar(&image, move |blob, seen| {
        let (first, last) = seen.range().unwrap();
        if !*released.borrow() && last >= WINDOW {
            count.fetch_add(1, SeqCst);
        }
        let answer = Answer::of(blob, seen);
        // The first bytes are the last to come.
        if first == 0 { answer.hang(0, held.clone()) } else { answer }
    })
    .await;
    let settings = Downloads { connections: 8, stall_seconds: 60, ..hurried() };
    let (pulling, asked) = (pull(&registry, settings), path(&blob));
    let watching = async {
        until(|| registry.count(&asked) == WINDOW / RANGE && registry.open() == 1).await;
        // Time to do what must not be done.
        tokio::time::sleep(Duration::from_millis(200)).await;
        release.send(true).unwrap();
    };
    let (pulled, ()) = tokio::join!(pulling, watching);
    assert_eq!(pulled.unwrap(), image.id());
    assert_eq!(beyond.load(SeqCst), 0);
    assert_eq!(registry.count(&asked), blob.len().div_ceil(RANGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_given_up_ends_its_connections() {
    let (image, blob) = image(20 * RANGE, 1);
    let (_hold, held) = watch::channel(false);
    let registry = liar(&image, move |blob, seen| Answer::of(blob, seen).hang(5000, held.clone())).await;
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), Downloads { stall_seconds: 600, ..hurried() }).await;
    let pulling = tokio::spawn(store.pull(&format!("{}/a:1", registry.address), None));
    until(|| registry.count(&path(&blob)) == 4).await;
    pulling.abort();
    assert!(pulling.await.unwrap_err().is_cancelled());
    until(|| registry.open() == 0).await;
    assert_eq!(registry.count(&path(&blob)), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_layer_gets_it_when_the_first_puller_goes() {
    let (image, blob) = image(3 * RANGE, 1);
    let (other, _) = self::image(3 * RANGE, 2);
    let (_hold, held) = watch::channel(false);
    let hung = AtomicUsize::new(0);
    let registry = liar(&image, move |blob, seen| {
        let answer = Answer::of(blob, seen);
        if hung.fetch_add(1, SeqCst) == 0 { answer.hang(5000, held.clone()) } else { answer }
    })
    .await;
    let elsewhere = liar(&other, Answer::of).await;
    let copy = liar(&image, Answer::of).await;
    let root = tempfile::tempdir().unwrap();
    let download = Downloads { stall_seconds: 600, ..alone() };
    let config = Config { max_concurrent_downloads: 2, download, ..Config::default() };
    let store = Store::open(root.path(), config).await.unwrap();
    let first = tokio::spawn(store.pull(&format!("{}/a:1", registry.address), None));
    until(|| registry.count(&path(&blob)) == 1).await;
    let second = tokio::spawn(store.pull(&format!("{}/b:1", registry.address), None));
    until(|| registry.count(&path(&image.config)) == 2).await;
    // Who waits for the layer takes no download from others, and another registry's need not be waited for.
    assert_eq!(store.pull(&format!("{}/c:1", elsewhere.address), None).await.unwrap().id, other.id());
    assert_eq!(registry.count(&path(&blob)), 1);
    assert!(!second.is_finished());
    first.abort();
    assert_eq!(second.await.unwrap().unwrap().id, image.id());
    assert_eq!(registry.count(&path(&blob)), 2);
    assert_eq!(store.pull(&format!("{}/d:1", copy.address), None).await.unwrap().id, image.id());
    assert_eq!(copy.count(&path(&blob)), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_registry_keeps_nobody_from_the_same_layer_elsewhere() {
    let (image, blob) = image(3 * RANGE, 1);
    let (release, held) = watch::channel(false);
    let slow = liar(&image, move |blob, seen| Answer::of(blob, seen).hang(5000, held.clone())).await;
    let fast = liar(&image, Answer::of).await;
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), Downloads { stall_seconds: 600, ..alone() }).await;
    let pulling = tokio::spawn(store.pull(&format!("{}/a:1", slow.address), None));
    until(|| slow.count(&path(&blob)) == 1).await;
    assert_eq!(store.pull(&format!("{}/a:1", fast.address), None).await.unwrap().id, image.id());
    release.send(true).unwrap();
    assert_eq!(pulling.await.unwrap().unwrap().id, image.id());
    // Its directory and the record of its files.
    assert_eq!(std::fs::read_dir(root.path().join("l")).unwrap().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_redirects_may_expire_in_the_middle() {
    let (image, blob) = image(10 * RANGE, 1);
    let issued = Arc::new(AtomicUsize::new(0));
    let count = issued.clone();
    let tokens =
        Liar::start(move |_| Answer::ok(format!("{{\"token\": \"t{}\"}}", count.fetch_add(1, SeqCst) + 1))).await;
    let (layer, used) = (blob.clone(), Mutex::new(Vec::new()));
    // Each signed URL is good for one request.
    let storage = Liar::start(move |seen| {
        let mut used = used.lock().unwrap();
        if used.contains(&seen.path) {
            return Answer::status(403);
        }
        used.push(seen.path.clone());
        Answer::of(&layer, seen)
    })
    .await;
    let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.address);
    let (signed, address, asked) = (AtomicUsize::new(0), storage.address.clone(), path(&blob));
    let registry = Liar::of(&image, move |seen| {
        // The first token is good for a few ranges.
        let wanted = if signed.load(SeqCst) < 4 { "Bearer t1" } else { "Bearer t2" };
        if seen.headers.get("authorization").map(String::as_str) != Some(wanted) {
            return Some(Answer::status(401).header("www-authenticate", &challenge));
        }
        seen.path.contains(&asked).then(|| {
            let number = signed.fetch_add(1, SeqCst);
            Answer::status(307).header("location", &format!("http://{address}/{number}"))
        })
    })
    .await;
    let settings = Downloads { connections: 2, ..hurried() };
    assert_eq!(pull(&registry, settings).await.unwrap(), image.id());
    assert_eq!(storage.seen().len(), blob.len().div_ceil(RANGE));
    assert_eq!(issued.load(SeqCst), 2);
}
