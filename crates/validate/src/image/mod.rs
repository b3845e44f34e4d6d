//! The images that the checks pull: small ones, made in memory around one static program of ours.
//!
//! The program is `program/main.rs` of this crate; its commands are listed there. [`catalog()`] makes every image the checks
//! use. Two catalogs share no content (see there), so that what a runtime has of one run it cannot use in another.

mod build;
mod catalog;
mod layer;

pub use build::{Blob, Image, Manifest, digest};
pub use catalog::{Access, Entry, catalog};
pub use layer::Layer;

/// The program: a static executable for this machine.
pub const EXECUTABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/check"));

/// Where the images have the program.
pub const PROGRAM: &str = "/check";

/// The account of the images: 1000:1000, also in the groups `staff` (50) and `wheel` (998).
pub const USER: &str = "alice";

/// The label that every config has; its value is the nonce of the [`catalog()`].
pub const LABEL: &str = "dev.corten.validate";

/// How many images `scratch-0:1`, `scratch-1:1`, ... there are: each with an id of its own, for checks that remove images.
pub const SCRATCH: usize = 16;

/// The images, by repository and tag. `Entrypoint` is [`PROGRAM`] and `Cmd` is `pause` unless said otherwise; `Env` is `PATH=/`,
/// `FROM_IMAGE=yes`; `WorkingDir` is `/work`.
///
/// Beside [`PROGRAM`] they have `/etc/passwd` and `/etc/group` (see [`USER`]), `/data/a.txt` (`a`), `/data/sub/b.txt` (`b`),
/// the link `/data/link` to `a.txt`, `/tmp` (1777), `/work` and `/mnt`.
pub mod names {
    /// No user.
    pub const PLAIN: &str = "plain:1";
    /// The same image as [`PLAIN`], to the byte, in another repository.
    pub const SAME: &str = "same:1";
    /// [`PLAIN`]'s layer and one with `/more` (`more`): another image.
    pub const OTHER: &str = "other:1";
    /// The same image as [`OTHER`] under another tag.
    pub const OTHER_TAG: &str = "other:2";
    /// The same image as [`OTHER`] under the tag that is meant where none is given.
    pub const OTHER_LATEST: &str = "other:latest";
    /// `User` is `1000:2000`.
    pub const NUMERIC_USER: &str = "numeric-user:1";
    /// `User` is [`super::USER`].
    pub const NAMED_USER: &str = "named-user:1";
    /// `User` is a name that no account has.
    pub const UNKNOWN_USER: &str = "unknown-user:1";
    /// `StopSignal` is `SIGUSR1`. A process that it ends (it must not be process 1 of its PID namespace) has the exit code 138.
    pub const STOP_SIGNAL: &str = "stop-signal:1";
    /// `Entrypoint` is [`super::PROGRAM`], `args`, `e1`, and `Cmd` is `c1`, `c2`.
    pub const COMMAND: &str = "command:1";
    /// Only files, and no config: `/hello` (`hello from an image`), `/directory/nested` (`nested`), the link `/link` to `hello`.
    pub const FILES: &str = "files:1";
    /// An index with [`PLAIN`]'s manifest for this platform and [`FILES`]'s for another.
    pub const INDEX: &str = "index:1";
    /// An index with nothing for this platform.
    pub const OTHER_PLATFORM: &str = "other-platform:1";
    /// A layer that is served with other bytes than its digest says.
    pub const BROKEN_LAYER: &str = "broken-layer:1";
    /// A layer that is not served.
    pub const ABSENT_LAYER: &str = "absent-layer:1";
    /// A manifest that is not JSON.
    pub const BROKEN_MANIFEST: &str = "broken-manifest:1";
    /// For those with the registry's account only.
    pub const PRIVATE: &str = "private/plain:1";
    /// A repository that there is, with a tag that there is not.
    pub const NO_SUCH_TAG: &str = "plain:none";
    /// A repository that there is not.
    pub const NO_SUCH_REPOSITORY: &str = "none:1";

    /// See [`super::SCRATCH`].
    #[must_use]
    pub fn scratch(number: usize) -> String {
        format!("scratch-{number}:1")
    }
}
