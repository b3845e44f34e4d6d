//! `corten image ...`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Images, Pull};
use crate::output::Format;

#[derive(Debug, Subcommand)]
pub enum Image {
    Pull(Pull),
    /// Import an image archive (OCI layout or `docker save`). Only cortend can.
    Load {
        /// The archive, - for standard input.
        archive: PathBuf,
    },
    Save(ImageSave),
    Tag(Tag),
    Rm(ImageRm),
    Prune(Prune),
    Inspect(ImageInspect),
    /// List the images.
    Ls(Images),
}

/// Write images to an archive. Only cortend can.
///
/// An image asked for by a tag is in the archive by that tag, one asked for otherwise by all its tags. Unless the
/// node was told to keep images as they came (`images.keep_blobs`), it has their layers unpacked, and packs them again: where their
/// digests become others, so does the image's id, and the command says so.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  corten image save -o app.tar registry.example.org/team/app:1
  corten image save busybox | zstd > busybox.tar.zst
  corten image save --format docker -o old.tar busybox && docker load -i old.tar
  corten image save busybox | ctr -n k8s.io image import -")]
pub struct ImageSave {
    /// The archive, - for standard output. A file is there when it is complete.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// The form of the archive.
    #[arg(long, value_enum, default_value_t)]
    pub format: Form,
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// The form of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// An OCI image layout.
    #[default]
    Oci,
    /// As `docker save` wrote them before version 25.
    Docker,
}

/// Give an image one more tag. Only cortend can.
///
/// Names are completed as Docker does: `app` is docker.io/library/app:latest. If the tag meant another image, it does not any
/// more; that image stays.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  corten image tag registry.example.org/team/app:1 app:tested")]
pub struct Tag {
    /// A name, an id or the beginning of an id.
    pub source: String,
    /// The new tag.
    pub target: String,
}

/// Remove images.
///
/// As the CRI's RemoveImage: by whatever name, the whole image goes with all its names. What containers use of it stays on
/// disk until they are gone. With --untag only the tag goes, and the image with its last one, as `docker rmi` does it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  corten image rm busybox
  corten image rm --untag app:tested")]
pub struct ImageRm {
    /// Take only this tag away. Only cortend can.
    #[arg(long)]
    pub untag: bool,
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// Remove the images that no container uses and that have no tag. Only cortend can.
///
/// Prints the images and how much disk space came free. Images pinned by the configuration (images.pinned) stay.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  corten image prune
  corten image prune --all --dry-run")]
pub struct Prune {
    /// Also those that have a tag.
    #[arg(short, long)]
    pub all: bool,
    /// Only say what would be removed.
    #[arg(long)]
    pub dry_run: bool,
}

/// Show everything about images: names, configuration, layers and what they take on disk. Only cortend can.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  corten image inspect busybox | jq '.[].layers[].diskBytes'")]
pub struct ImageInspect {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Format::Json)]
    pub output: Format,
}
