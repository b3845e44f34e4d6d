//! `corten image ...`

mod inspect;
mod load;
mod prune;
mod rm;
mod save;
mod tag;

use super::{images, pull};
use crate::{args::Image, error::Error, runtime::Runtime};

/// Does what the command line says.
pub async fn run(runtime: &Runtime, command: Image) -> Result<(), Error> {
    match command {
        Image::Pull(args) => pull::run(runtime, args).await,
        Image::Load { archive } => load::run(runtime, &archive).await,
        Image::Save(args) => save::run(runtime, args).await,
        Image::Tag(args) => tag::run(runtime, args).await,
        Image::Rm(args) => rm::run(runtime, args).await,
        Image::Prune(args) => prune::run(runtime, args).await,
        Image::Inspect(args) => inspect::run(runtime, args).await,
        Image::Ls(args) => images::run(runtime, args).await,
    }
}
