//! How long a launch and an exec take, from the call to the success of execve, forking the launcher process included.
//! Needs root and Debian's busybox-static. Prints percentiles in microseconds.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::panic)]

#[path = "../tests/launcher/harness.rs"]
mod harness;

use std::time::{Duration, Instant};

use harness::Fixture;
use serde_json::json;

const ROUNDS: usize = 200;

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_micros();
    println!("{name:<28} p50 {:>6}  p95 {:>6}  min {:>6}", at(50), at(95), at(0));
}

fn launches(name: &str, fixture: &Fixture, idle: Duration) {
    let times = (0..ROUNDS).map(|_| {
        std::thread::sleep(idle);
        let start = Instant::now();
        let running = fixture.launch().unwrap();
        let time = start.elapsed();
        running.wait();
        fixture.remove_cgroup();
        time
    });
    report(name, times.collect());
}

fn execs(name: &str, idle: Duration) {
    let fixture = Fixture::new("sleep 1000");
    let running = fixture.launch().unwrap();
    let times = (0..ROUNDS).map(|_| {
        std::thread::sleep(idle);
        let start = Instant::now();
        let exec = fixture.exec(&running, |process| process["args"] = json!(["sh", "-c", "exit 0"])).unwrap();
        let time = start.elapsed();
        exec.wait();
        time
    });
    report(name, times.collect());
    running.kill();
    running.wait();
    fixture.remove_cgroup();
}

fn main() {
    let mut fixture = Fixture::new("exit 0");
    fixture.spec["linux"]["resources"] = json!({
        "memory": {"limit": 100_000_000}, "cpu": {"shares": 512, "quota": 50_000, "period": 100_000}, "pids": {"limit": 100}
    });
    launches("launch", &fixture, Duration::ZERO);
    launches("launch, 50 ms idle", &fixture, Duration::from_millis(50));
    fixture.spec["linux"]["namespaces"] =
        json!([{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "cgroup"}]);
    launches("launch, no new netns", &fixture, Duration::ZERO);
    execs("exec", Duration::ZERO);
    execs("exec, 50 ms idle", Duration::from_millis(50));
}
