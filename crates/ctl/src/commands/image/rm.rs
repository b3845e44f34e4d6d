//! `corten image rm`

use crate::{
    args::{ImageRm, Rmi},
    commands::{Each, rmi},
    error::Error,
    runtime::Runtime,
};

/// Removes images, or only tags, and prints what was removed.
pub async fn run(runtime: &Runtime, args: ImageRm) -> Result<(), Error> {
    if !args.untag {
        return rmi::run(runtime, Rmi { images: args.images }).await;
    }
    let mut each = Each::new();
    for name in &args.images {
        let result = runtime.untag_image(name).await.map(drop);
        each.add(name, result)?;
    }
    each.end()
}
