//! Images: references, registries, layers, snapshots, the image index. No CRI types.
//!
//! [`Store`] is the one entrance. A pull goes [`registry`] (bytes over HTTP) → `manifest` (what the bytes mean) →
//! `layer` (each layer hashed, decompressed and unpacked in one pass) → `index` (the durable record).
//!
//! On disk, below the store's root:
//!
//! | path | what |
//! |---|---|
//! | `index.redb` | images, references and layers that are whole |
//! | `l/<n>/` | one directory per layer, in overlayfs' own form; short names, because mount options are short |
//! | `l/<n>.files` | what that layer is made of, with checksums |
//! | `l/w<n>/` | a layer being unpacked |
//! | `e/` | empty, under images without layers |
//! | `s/<container>/` | one snapshot: `u` (upper), `w` (work), `m0`, `m1` ... (over each image mounted besides) and `snapshot.json` |
//! | `t/` | what else is being written or deleted; emptied when the store opens |

mod archive;
mod beneath;
mod check;
mod config;
mod covered;
mod digest;
mod disk;
mod error;
#[cfg(any(test, fuzzing))]
pub mod exercises;
mod image;
mod index;
mod layer;
mod manifest;
mod platform;
mod projects;
pub mod reference;
pub mod registry;
mod snapshot;
mod store;
mod view;
mod xattrs;

pub use archive::write::Form;
pub use check::{Finding, Findings};
pub use config::{Config, Downloads, Limits};
pub use corten_host::quota::Limits as WritableLimits;
pub use digest::Digest;
pub use disk::Usage;
pub use error::{Error, Fault};
pub use image::{Image, ImageLayer};
pub use registry::{Answer, Auth, Explanation, HostExplanation, Place};
pub use snapshot::Snapshot;
pub use store::{
    CheckEvent, CheckOptions, INDEX_FILE, Inspected, LayerProgress, Phase, Pins, Progress, Pruned, Saved, Store,
    Verdict,
};
pub use view::Kind;
