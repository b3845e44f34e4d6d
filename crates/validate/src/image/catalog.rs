//! Every image that the checks use.

use std::{io, slice};

use serde_json::{Value, json};

use super::{
    EXECUTABLE, LABEL, PROGRAM, SCRATCH,
    build::{Blob, Image, architecture},
    layer::{Layer, Packed},
    names,
};

/// The accounts: see [`super::USER`].
const PASSWD: &str = "root:x:0:0:root:/root:/check\nalice:x:1000:1000:Alice:/home/alice:/check\n";
const GROUP: &str = "root:x:0:\nstaff:x:50:alice\nwheel:x:998:alice\nalice:x:1000:\n";

/// Who may pull an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// Those with the registry's user name and password.
    Private,
}

/// An image under a name.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The repository.
    pub repository: String,
    /// The tag.
    pub tag: String,
    /// The image.
    pub image: Image,
    /// Who may pull it.
    pub access: Access,
}

/// Every image of [`names`]. `nonce` is written into each layer and config: catalogs with different ones share neither
/// manifests nor configs nor layers.
///
/// # Errors
/// None in practice: everything is written to memory.
pub fn catalog(nonce: &str) -> io::Result<Vec<Entry>> {
    let program = program_layer(nonce)?;
    let with = |extra| Image::new(slice::from_ref(&program), &config(nonce, extra));
    let over = |name: &str| {
        let layers = [program.clone(), small_layer(name, nonce)?];
        Ok::<_, io::Error>(Image::new(&layers, &config(nonce, json!({}))))
    };
    let plain = with(json!({}));
    let other = over("more")?;
    let files = Image::new(&[files_layer(nonce)?], &json!({"Labels": {LABEL: nonce}}));
    let mut entries = vec![
        public(names::PLAIN, plain.clone()),
        public(names::SAME, plain.clone()),
        public(names::OTHER, other.clone()),
        public(names::OTHER_TAG, other.clone()),
        public(names::OTHER_LATEST, other),
        public(names::NUMERIC_USER, with(json!({"User": "1000:2000"}))),
        public(names::NAMED_USER, with(json!({"User": super::USER}))),
        public(names::UNKNOWN_USER, with(json!({"User": "nobody-here"}))),
        public(names::STOP_SIGNAL, with(json!({"StopSignal": "SIGUSR1"}))),
        public(names::COMMAND, with(json!({"Entrypoint": [PROGRAM, "args", "e1"], "Cmd": ["c1", "c2"]}))),
        public(names::INDEX, Image::index(&[(other_architecture(), &files), (architecture(), &plain)])),
        public(names::OTHER_PLATFORM, Image::index(&[(other_architecture(), &files)])),
        public(names::FILES, files),
        Entry { access: Access::Private, ..public(names::PRIVATE, over("private")?) },
    ];
    for number in 0..SCRATCH {
        let name = names::scratch(number);
        entries.push(public(&name, over(&name)?));
    }
    entries.extend(broken(nonce)?);
    Ok(entries)
}

fn public(name: &str, image: Image) -> Entry {
    let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
    Entry { repository: repository.to_owned(), tag: tag.to_owned(), image, access: Access::Public }
}

/// Images that cannot be pulled. Their content is their own: no other image brings it to the runtime.
fn broken(nonce: &str) -> io::Result<[Entry; 3]> {
    let of = |name: &str| Ok::<_, io::Error>(Image::new(&[small_layer(name, nonce)?], &config(nonce, json!({}))));
    let with_layer = |mut image: Image, change: fn(&Blob) -> Blob| {
        for blob in image.blobs.iter_mut().skip(1) {
            *blob = change(blob);
        }
        image
    };
    let no_manifest = format!("this is no manifest: {nonce}");
    Ok([
        public(names::BROKEN_LAYER, with_layer(of("broken layer")?, Blob::corrupted)),
        public(names::ABSENT_LAYER, with_layer(of("absent layer")?, Blob::absent)),
        public(names::BROKEN_MANIFEST, of("broken manifest")?.with_manifest(no_manifest)),
    ])
}

fn program_layer(nonce: &str) -> io::Result<Packed> {
    Layer::new()
        .file(PROGRAM.trim_start_matches('/'), 0o755, EXECUTABLE)?
        .dir("data", 0o755)?
        .file("data/a.txt", 0o644, b"a\n")?
        .symlink("data/link", "a.txt")?
        .dir("data/sub", 0o755)?
        .file("data/sub/b.txt", 0o644, b"b\n")?
        .dir("etc", 0o755)?
        .file("etc/passwd", 0o644, PASSWD.as_bytes())?
        .file("etc/group", 0o644, GROUP.as_bytes())?
        .file("etc/nonce", 0o644, nonce.as_bytes())?
        .dir("home", 0o755)?
        .owned_dir("home/alice", (1000, 1000, 0o755))?
        .dir("mnt", 0o755)?
        .dir("root", 0o700)?
        .dir("tmp", 0o1777)?
        .dir("work", 0o755)?
        .pack()
}

fn files_layer(nonce: &str) -> io::Result<Packed> {
    Layer::new()
        .file("hello", 0o644, b"hello from an image\n")?
        .dir("directory", 0o755)?
        .file("directory/nested", 0o644, b"nested\n")?
        .symlink("link", "hello")?
        .file("nonce", 0o644, nonce.as_bytes())?
        .pack()
}

/// `/more`, with what it is for, and a nonce.
fn small_layer(text: &str, nonce: &str) -> io::Result<Packed> {
    let nonce = format!("{text} {nonce}");
    Layer::new().file("more", 0o644, format!("{text}\n").as_bytes())?.file("nonce", 0o644, nonce.as_bytes())?.pack()
}

fn config(nonce: &str, extra: Value) -> Value {
    let mut config = json!({
        "Env": ["PATH=/", "FROM_IMAGE=yes"],
        "Entrypoint": [PROGRAM],
        "Cmd": ["pause"],
        "WorkingDir": "/work",
        "Labels": {LABEL: nonce},
    });
    if let (Value::Object(config), Value::Object(extra)) = (&mut config, extra) {
        config.extend(extra);
    }
    config
}

/// An architecture that is not this machine's.
fn other_architecture() -> &'static str {
    if architecture() == "s390x" { "amd64" } else { "s390x" }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::collections::BTreeSet;

    use super::*;

    fn digests(nonce: &str) -> BTreeSet<String> {
        let entries = catalog(nonce).unwrap();
        let blobs = entries.iter().flat_map(|entry| entry.image.blobs.iter().chain([&entry.image.manifest.blob]));
        blobs.map(|blob| blob.digest.clone()).collect()
    }

    #[test]
    fn catalogs_share_nothing_but_what_one_nonce_makes_is_the_same() {
        let (first, second) = (digests("a"), digests("b"));
        assert_eq!(first.intersection(&second).collect::<Vec<_>>(), Vec::<&String>::new());
        assert_eq!(first, digests("a"));
    }

    #[test]
    fn the_same_image_is_the_same_to_the_byte_and_others_have_ids_of_their_own() {
        let entries = catalog("a").unwrap();
        let image = |name: &str| {
            let (repository, tag) = name.split_once(':').unwrap();
            let found = entries.iter().find(|entry| entry.repository == repository && entry.tag == tag);
            found.unwrap_or_else(|| panic!("{name}")).image.clone()
        };
        assert_eq!(image(names::PLAIN).digest(), image(names::SAME).digest());
        assert_eq!(image(names::OTHER).digest(), image(names::OTHER_TAG).digest());
        assert_eq!(image(names::PLAIN).layers()[0].digest, image(names::OTHER).layers()[0].digest);
        let ids: BTreeSet<_> = entries.iter().map(|entry| entry.image.id().to_owned()).collect();
        // `same`, `index` and two tags of `other` bring nothing new, and `other-platform` is `files`.
        assert_eq!(ids.len(), entries.len() - 5);
    }

    #[test]
    fn the_program_runs() {
        use std::{fs, os::unix::fs::PermissionsExt, process::Command};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("check");
        fs::write(&path, EXECUTABLE).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let output = Command::new(&path).args(["echo", "a", "b", "then", "exit", "3"]).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b"a b\n"[..]));
    }
}
