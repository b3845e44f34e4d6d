//! `corten image load`

use std::path::Path;

use corten_cri::node::LoadImageRequest;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{error::Error, output, runtime::Runtime};

/// How much of the archive goes into one message, in bytes.
const CHUNK: usize = 1 << 20;

/// How many messages are read ahead.
const AHEAD: usize = 4;

/// Streams an archive to cortend and prints what was in it.
pub async fn run(runtime: &Runtime, archive: &Path) -> Result<(), Error> {
    let failed = |source| Error::File { operation: "read", path: archive.to_owned(), source };
    let reader: Box<dyn AsyncRead + Unpin> = if archive == Path::new("-") {
        Box::new(tokio::io::stdin())
    } else {
        Box::new(tokio::fs::File::open(archive).await.map_err(failed)?)
    };
    let (sender, chunks) = mpsc::channel(AHEAD);
    let name = archive.display().to_string();
    let load = runtime.load_image(&name, ReceiverStream::new(chunks));
    // When reading fails the call is dropped with its stream still open: half an archive must not look like all of it.
    let mut held_open = Some(sender.clone());
    let send = async {
        send(reader, sender).await.map_err(failed)?;
        held_open = None;
        Ok(())
    };
    let (answer, ()) = tokio::try_join!(load, send)?;
    for image in answer.images {
        let names = if image.references.is_empty() { "(no name)".to_owned() } else { image.references.join(" ") };
        output::line(&format!("{} {names}", image.id))?;
    }
    Ok(())
}

/// Sends until the end, or until nobody listens any more: then the call has the reason.
async fn send(mut reader: impl AsyncRead + Unpin, sender: mpsc::Sender<LoadImageRequest>) -> std::io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        (&mut reader).take(CHUNK as u64).read_to_end(&mut chunk).await?;
        if chunk.is_empty() || sender.send(LoadImageRequest { chunk }).await.is_err() {
            return Ok(());
        }
    }
}
