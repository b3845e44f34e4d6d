//! Where the programs under test and the programs they need are.

use std::path::{Path, PathBuf};

/// A program of this workspace, as built beside the running test: `target/<profile>/<name>`. `CORTEN_BIN_DIR` names
/// another directory.
///
/// # Panics
/// If it has not been built: cargo does not build another package's programs for a test.
pub fn built(name: &str) -> PathBuf {
    let dir = std::env::var_os("CORTEN_BIN_DIR").map_or_else(beside_the_test, PathBuf::from);
    let program = dir.join(name);
    assert!(
        program.is_file(),
        "{} is missing: run `cargo build --workspace` (or `make test`) first",
        program.display()
    );
    program
}

/// `target/<profile>`: tests run from its `deps`, programs from itself.
fn beside_the_test() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let dir = test.parent().expect("the test is in a directory");
    if dir.ends_with("deps") { dir.parent().expect("deps is in a directory").to_owned() } else { dir.to_owned() }
}

/// A program of Debian's, searched in `PATH` and the directories of administrators' programs.
///
/// # Panics
/// If it is not installed, naming the package.
pub fn installed(name: &str, package: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"])
        .map(|dir| Path::new(dir).join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("{name} is missing: install Debian's {package} (or run `make deps`)"))
}

/// Debian's CNI plugins.
pub const CNI_PLUGINS: &str = "/usr/lib/cni";

/// The statically linked busybox that every test image is made of.
///
/// # Panics
/// If it is not installed.
pub fn busybox() -> PathBuf {
    installed("busybox", "busybox-static")
}
