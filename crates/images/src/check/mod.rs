//! What a layer is made of, recorded while it is unpacked, and compared with what is on disk later.
//!
//! Beside each layer's directory `l/<n>` lies `l/<n>.files`: one [`format`] entry for every file, directory, link and
//! whiteout, with its attributes and an XXH3 checksum (64 bits) of its content. It is written by a [`Recorder`] in the
//! same pass as the layer, and the index has its length and checksum, so that it can itself be verified.
//!
//! Extended attributes that the kernel keeps for itself are no part of it, nor are times of access and change.

mod checksum;
mod format;
mod observe;
mod recorder;
mod verify;

pub(crate) use checksum::Checksum;
pub(crate) use recorder::{Recorded, Recorder, Sum};
pub use verify::{Finding, Findings};
pub(crate) use verify::{Place, verify, wrong_record};

/// Where the record of a layer's directory lies.
pub(crate) const SUFFIX: &str = ".files";
