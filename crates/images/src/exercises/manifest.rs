//! Manifests, indexes, configurations, and the descriptions in image archives; and what is made of them.

use std::{collections::BTreeMap, io::Cursor};

use oci_spec::image::ImageConfiguration;

use super::Lab;
use crate::{
    Limits,
    archive::{
        Layout,
        write::{self, Form, Part},
    },
    digest::Digest,
    image::ImageLayer,
    index::ImageRecord,
    manifest::{Content, DOCKER_LIST, DOCKER_MANIFEST, Manifest, OCI_INDEX, OCI_MANIFEST, parse_config},
    store::with_layers,
};

const LAYERS: usize = 20;
const TYPES: [Option<&str>; 8] = [
    None,
    Some(OCI_MANIFEST),
    Some(OCI_INDEX),
    Some(DOCKER_MANIFEST),
    Some(DOCKER_LIST),
    Some("application/json"),
    Some("text/html"),
    Some(""),
];

impl Lab {
    /// The first byte of the input says what the rest is, and what is said of it.
    pub fn manifest(&self, input: &[u8]) {
        let [form, bytes @ ..] = input else { return };
        let said = usize::from(*form >> 2);
        match form & 3 {
            0 => manifest(bytes, TYPES[said % TYPES.len()]),
            1 => config(bytes, said % LAYERS),
            2 => self.confined(|| self.archive("manifest.json", bytes)),
            _ => self.confined(|| self.archive("index.json", bytes)),
        }
    }

    /// An archive whose description is the input.
    fn archive(&self, name: &str, bytes: &[u8]) {
        let mut archive = Vec::new();
        write::member("layer.tar", b"layer", &mut archive).unwrap();
        write::member("config.json", b"{}", &mut archive).unwrap();
        write::member(name, bytes, &mut archive).unwrap();
        write::finish(&mut archive).unwrap();
        let limits = limits();
        let Ok(layout) = Layout::unpack(&self.trash, Cursor::new(archive), &limits) else { return };
        let Ok(images) = layout.images(&limits) else { return };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (digest, name) in images {
            if let Some(name) = name {
                assert_eq!(name.to_string().parse(), Ok(name));
            }
            let Ok(fetched) = runtime.block_on(layout.manifest(digest, limits.manifest_bytes)) else { continue };
            assert_eq!(Digest::of(&fetched.bytes), digest);
            let Ok(Manifest::Image { layers, .. }) = Manifest::parse(&fetched.bytes, None, &limits) else {
                panic!("a manifest that we wrote")
            };
            assert!(layers.len() <= LAYERS);
        }
    }
}

fn limits() -> Limits {
    Limits { layers: LAYERS, layer_bytes: 4 << 20, ..Limits::default() }
}

fn manifest(bytes: &[u8], content_type: Option<&str>) {
    let (config, layers, annotations) = match Manifest::parse(bytes, content_type, &limits()) {
        Err(why) => return assert!(why.len() < 4096 + 8 * bytes.len(), "an error is not much longer than its cause"),
        Ok(Manifest::Index(content)) => return assert!(i64::try_from(content.size).is_ok()),
        Ok(Manifest::Image { config, layers, annotations }) => (config, layers, annotations),
    };
    assert!(layers.len() <= LAYERS);
    assert!(layers.iter().chain([&config]).all(|content| i64::try_from(content.size).is_ok()));
    assert!(annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= 64 << 10);
    // Written by us it says the same.
    let image = write::Image { config: "{}".into(), layers, names: Vec::new(), annotations, documents: Vec::new() };
    let parts = write::parts(std::slice::from_ref(&image), Form::Oci);
    let read = parts.iter().find_map(|part| match part {
        Part::Bytes(_, bytes) => Manifest::parse(bytes, Some(OCI_MANIFEST), &limits()).ok(),
        Part::Layer(..) => None,
    });
    let Some(Manifest::Image { config, layers, annotations }) = read else { panic!("a manifest that we wrote") };
    assert_eq!(config, Content { digest: Digest::of(b"{}"), size: 2 });
    assert_eq!((&layers, &annotations), (&image.layers, &image.annotations));
}

fn config(bytes: &[u8], layers: usize) {
    let Ok((config, diff_ids)) = parse_config(bytes, layers) else { return };
    assert_eq!(diff_ids.len(), layers);
    // As the index keeps it.
    let text = String::from_utf8(bytes.to_vec()).expect("JSON that was read is text");
    let layer = |diff_id: &Digest| ImageLayer { diff_id: *diff_id, blob: *diff_id, size: 1 };
    let record = ImageRecord::new(text.clone(), 1, diff_ids.iter().map(layer).collect(), BTreeMap::new());
    let kept = serde_json::to_vec(&record).unwrap();
    assert_eq!(serde_json::from_slice::<ImageRecord>(&kept).unwrap().config, text);
    // As `inspect` shows it.
    let shown = serde_json::to_vec(&config).unwrap();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&shown).unwrap()["rootfs"]["diff_ids"].as_array().map(Vec::len),
        Some(layers)
    );
    // As `save` writes it, of layers packed anew.
    let anew = |number| Content { digest: Digest::of(&[number]), size: 1 };
    let anew: Vec<_> = (0..layers).map(|number| anew(u8::try_from(number).unwrap())).collect();
    let saved = with_layers(&text, &diff_ids, &anew);
    let (again, now) = parse_config(saved.as_bytes(), layers).unwrap_or_else(|why| panic!("{saved}: {why}"));
    assert_eq!(now, anew.iter().map(|content| content.digest).collect::<Vec<_>>());
    // Volumes and ports are an object's keys: they have no order.
    let of_containers = |config: &ImageConfiguration| serde_json::to_value(config.config()).unwrap();
    assert_eq!(of_containers(&again), of_containers(&config));
    assert_eq!(again.history(), config.history());
}
