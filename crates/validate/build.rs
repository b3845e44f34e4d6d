//! Compiles the program of the test image: a static executable for the target, which `src/image` embeds.

use std::{
    env,
    error::Error,
    ffi::OsString,
    path::Path,
    process::{Command, ExitStatus},
};

/// How small is more important here than how fast.
const FLAGS: [&str; 4] = ["-Ctarget-feature=+crt-static", "-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=program");
    let out = Path::new(&env::var("OUT_DIR")?).join("check");
    let status = compile(&out)?;
    if status.success() { Ok(()) } else { Err(format!("the test image's program: rustc ended with {status}").into()) }
}

fn compile(out: &Path) -> Result<ExitStatus, Box<dyn Error>> {
    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc.args(["program/main.rs", "--crate-name", "check", "--edition", "2024"]);
    rustc.args(["--target", &env::var("TARGET")?]).args(FLAGS);
    // What another target needs to be linked for is in the flags of the build, or is its linker.
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut flag = OsString::from("-Clinker=");
        flag.push(linker);
        rustc.arg(flag);
    }
    Ok(rustc.arg("-o").arg(out).status()?)
}
