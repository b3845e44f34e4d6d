//! Time, memory, threads and processes.

use std::{
    env,
    ffi::OsString,
    hint,
    io::{self, Write},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Failure, Next, Outcome, word};

const FOREVER: u64 = u64::MAX;

/// `sleep [SECONDS]`: forever if none are given. Parts of a second are understood.
pub fn sleep(words: &[OsString]) -> Outcome {
    let seconds: f64 = word(words, 0, f64::INFINITY)?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) => thread::sleep(time),
        Err(_) => rest(),
    }
    Ok(Next::Go)
}

/// `pause`: says `ready`, and then sleeps until something ends it.
pub fn pause() -> Outcome {
    say("ready")?;
    rest()
}

/// Sleeps until something ends this process.
fn rest() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// `burn [MILLISECONDS]`: uses a processor for so long, or forever.
pub fn burn(words: &[OsString]) -> Outcome {
    let end = Instant::now().checked_add(Duration::from_millis(word(words, 0, FOREVER)?));
    while end.is_none_or(|end| Instant::now() < end) {
        hint::spin_loop();
    }
    Ok(Next::Go)
}

/// `memory [MIB]`: allocates and touches so much, or as much as there is until something ends it; says `ready` and sleeps.
pub fn memory(words: &[OsString]) -> Outcome {
    let count: u64 = word(words, 0, FOREVER)?;
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for _ in 0..count {
        kept.push(vec![hint::black_box(1); 1 << 20]);
    }
    hint::black_box(&kept);
    pause()
}

/// `threads N`: so many threads that sleep; says `started`.
pub fn threads(words: &[OsString]) -> Outcome {
    for _ in 0..word(words, 0, 1_u32)? {
        thread::Builder::new().stack_size(64 << 10).spawn(|| rest()).map_err(Failure::of("start a thread"))?;
    }
    say("started")
}

/// `tree WIDTH DEPTH`: so many children, each with as many, down to DEPTH; all sleep forever.
pub fn tree(words: &[OsString]) -> Outcome {
    let (width, depth): (u32, u32) = (word(words, 0, 1)?, word(words, 1, 1)?);
    let mut children = Vec::new();
    for _ in 0..if depth == 0 { 0 } else { width } {
        children.push(child(&["tree", &width.to_string(), &(depth - 1).to_string()])?);
    }
    rest()
}

/// `spawn COMMAND [WORD...]`: runs it in a child that nobody waits for, which becomes a zombie when it ends.
pub fn spawn(words: &[OsString]) -> Outcome {
    child(words)?;
    Ok(Next::Go)
}

/// `orphan`: leaves a child behind that sleeps and has this process's streams; prints its id.
pub fn orphan() -> Outcome {
    let child = child(&["sleep"])?;
    say(&child.id().to_string())
}

/// `reparent COMMAND [WORD...]`: runs it in a child of a child that ends at once, so that process 1 becomes its parent.
pub fn reparent(words: &[OsString]) -> Outcome {
    let mut between = child(&[&[OsString::from("spawn")], words].concat())?;
    between.wait().map_err(Failure::of("wait for a child"))?;
    Ok(Next::Go)
}

/// `fork N`: tries to have so many children at once, which sleep, and says how many there are: `children 7`.
pub fn fork(words: &[OsString]) -> Outcome {
    let mut children = Vec::new();
    for _ in 0..word(words, 0, 1_u32)? {
        match child(&["sleep"]) {
            Ok(child) => children.push(child),
            Err(_) => break,
        }
    }
    let count = children.len();
    for mut child in children {
        child.kill().and_then(|()| child.wait()).map_err(Failure::of("end a child"))?;
    }
    say(&format!("children {count}"))
}

/// This program again, with these words and the streams of this one.
fn child(words: &[impl AsRef<std::ffi::OsStr>]) -> Result<Child, Failure> {
    let program = env::current_exe().map_err(Failure::of("/proc/self/exe"))?;
    Command::new(program).args(words).stdin(Stdio::null()).spawn().map_err(Failure::of("start a child"))
}

fn say(text: &str) -> Outcome {
    let mut out = io::stdout();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(Next::Go)
}
