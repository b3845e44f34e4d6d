//! `corten image tag`

use corten_cri::node::TagImageRequest;

use crate::{args::Tag, error::Error, output, runtime::Runtime};

/// Gives an image one more tag, and prints it in full.
pub async fn run(runtime: &Runtime, args: Tag) -> Result<(), Error> {
    let request = TagImageRequest { image: args.source, target: args.target };
    output::line(&runtime.tag_image(request).await?)
}
