//! `corten image save`

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use corten_cri::node::{ArchiveForm, SaveImagesRequest, SaveImagesResponse, SavedImage};
use tonic::Streaming;

use crate::{
    args::{Form, ImageSave},
    commands::interrupt::Interrupt,
    error::Error,
    output,
    runtime::Runtime,
};

/// Writes an archive of images. What there is to say of it goes to standard error.
pub async fn run(runtime: &Runtime, args: ImageSave) -> Result<(), Error> {
    let form = match args.format {
        Form::Oci => ArchiveForm::Oci,
        Form::Docker => ArchiveForm::Docker,
    };
    let to_output = args.output == Path::new("-");
    if to_output && io::stdout().is_terminal() {
        return Err(Error::condition("save", "an archive is nothing for a terminal: use -o, or redirect the output"));
    }
    let interrupt = Interrupt::listen()?;
    let what = args.images.join(" ");
    let messages = runtime.save_images(&what, SaveImagesRequest { images: args.images, form: form.into() }).await?;
    let saved = if to_output {
        interrupt.unless(receive(messages, &what, |chunk| Ok(io::stdout().write_all(chunk)?))).await?
    } else {
        let mut partial = Partial::create(&args.output)?;
        let saved = interrupt.unless(receive(messages, &what, |chunk| partial.write(chunk))).await?;
        partial.keep(&args.output)?;
        saved
    };
    saved.iter().filter_map(changed).for_each(|line| output::note(&line));
    Ok(())
}

/// Takes an archive to its end: what it holds.
async fn receive(
    mut messages: Streaming<SaveImagesResponse>,
    what: &str,
    mut write: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<Vec<SavedImage>, Error> {
    let failed = |status| Error::call(format!("save {what}"), status);
    while let Some(message) = messages.message().await.map_err(failed)? {
        write(&message.chunk)?;
        if !message.images.is_empty() {
            return Ok(message.images);
        }
    }
    Err(Error::condition(format!("save {what}"), "the archive ended early"))
}

/// What to say of an image whose id is another in the archive.
fn changed(image: &SavedImage) -> Option<String> {
    let name = image.names.first().unwrap_or(&image.id);
    let (id, saved) = (&image.id, &image.saved_id);
    (id != saved)
        .then(|| format!("{name}: its layers were packed again, so its id in the archive is {saved}, not {id}"))
}

/// A file that is not complete yet, under another name. Dropped, it is removed.
struct Partial {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Partial {
    fn create(target: &Path) -> Result<Self, Error> {
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}", std::process::id()));
        let path = target.with_file_name(name);
        let file = File::create_new(&path).map_err(failed("create", &path))?;
        Ok(Self { path, file, kept: false })
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.file.write_all(chunk).map_err(failed("write", &self.path))
    }

    fn keep(mut self, target: &Path) -> Result<(), Error> {
        self.file.sync_all().map_err(failed("sync", &self.path))?;
        fs::rename(&self.path, target).map_err(failed("rename to", target))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            // There is nobody left to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { operation, path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("image.tar");
        let names = || fs::read_dir(directory.path()).unwrap().count();
        let mut partial = Partial::create(&target).unwrap();
        partial.write(b"half").unwrap();
        drop(partial);
        assert_eq!(names(), 0);
        let mut partial = Partial::create(&target).unwrap();
        partial.write(b"whole").unwrap();
        partial.keep(&target).unwrap();
        assert_eq!((names(), fs::read(&target).unwrap()), (1, b"whole".to_vec()));
    }

    #[test]
    fn only_a_changed_id_is_told() {
        let image = |saved: &str| SavedImage { id: "a".into(), saved_id: saved.into(), names: Vec::new() };
        assert_eq!(changed(&image("a")), None);
        assert!(changed(&image("b")).unwrap().contains("is b, not a"));
    }
}
