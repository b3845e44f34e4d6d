#![allow(clippy::unwrap_used, clippy::panic)]
use serde_json::{Value, json};

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn image() -> Value {
    let layer = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 5});
    json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [layer],
        "config": {"mediaType": CONFIGS[0], "digest": DIGEST, "size": 3},
    })
}

fn parse(value: &Value) -> Result<Manifest, String> {
    Manifest::parse(value.to_string().as_bytes(), Some(OCI_MANIFEST), &Limits::default())
}

/// The image with one field changed, and why it is refused.
fn refused(change: impl FnOnce(&mut Value)) -> String {
    let mut value = image();
    change(&mut value);
    parse(&value).unwrap_err()
}

#[test]
fn an_image_is_read() {
    let Manifest::Image { config, layers, annotations } = parse(&image()).unwrap() else { panic!("not an image") };
    assert_eq!((config.size, layers.len(), layers[0].size, annotations.len()), (3, 1, 5, 0));
}

#[test]
fn annotations_are_kept_up_to_a_bound() {
    let of = |value: Value| {
        let mut image = image();
        image["annotations"] = value;
        let Manifest::Image { annotations, .. } = parse(&image).unwrap() else { panic!("not an image") };
        annotations.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(of(json!({"a": "b", "c": 5})), [("a".to_owned(), "b".to_owned())]);
    assert_eq!(of(json!({"a": "x".repeat(MAX_ANNOTATIONS)})), []);
    assert_eq!((of(json!("text")), of(Value::Null)), (vec![], vec![]));
}

#[test]
fn what_is_wrong_is_named() {
    assert!(refused(|image| image["schemaVersion"] = 1.into()).contains("schema 1"));
    assert!(refused(|image| image["schemaVersion"] = 3.into()).contains("schemaVersion is 3"));
    assert!(refused(|image| image["mediaType"] = "text/html".into()).contains("text/html"));
    assert!(refused(|image| image["layers"][0]["mediaType"] = "image/png".into()).contains("layers[0]"));
    assert!(
        refused(|image| image["layers"][0]["digest"] = "sha256:1".into())
            .contains("layers[0]: invalid digest \"sha256:1\"")
    );
    assert!(refused(|image| image["layers"][0]["size"] = u64::MAX.into()).contains("layers[0]"));
    assert!(refused(|image| image["layers"][0]["size"] = (-1).into()).contains("malformed"));
    assert!(refused(|image| drop(image.as_object_mut().unwrap().remove("layers"))).contains("neither"));
    assert!(refused(|image| image["manifests"] = json!([])).contains("neither"));
    let artifact = refused(|image| image["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into());
    assert!(artifact.contains("helm") && artifact.contains("not a container image"), "{artifact}");
    let layer = image()["layers"][0].clone();
    assert!(refused(|image| image["layers"] = vec![layer; 501].into()).contains("limit of 500"));
    assert!(Manifest::parse(b"{", None, &Limits::default()).unwrap_err().contains("malformed"));
}

#[test]
fn layers_of_both_families_are_known() {
    for media_type in [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ] {
        assert!(is_layer(media_type), "{media_type}");
    }
    assert!(!is_layer("application/vnd.oci.image.layer.v1.tar+encrypted"));
}

#[test]
fn a_configuration_must_fit_the_machine_and_the_manifest() {
    let config = |architecture: &str| {
        json!({"os": "linux", "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": [DIGEST]}})
            .to_string()
    };
    let here = config(platform::architecture());
    assert_eq!(parse_config(here.as_bytes(), 1).unwrap().1.len(), 1);
    assert!(parse_config(here.as_bytes(), 2).unwrap_err().contains("2 layers"));
    assert!(parse_config(config("s390x").as_bytes(), 1).unwrap_err().contains("linux/s390x"));
    assert!(parse_config(b"[]", 1).unwrap_err().contains("malformed"));
}

#[test]
fn a_configuration_is_an_object_and_so_is_its_rootfs() {
    let good = json!({"architecture": "", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [DIGEST]}});
    parse_config(good.to_string().as_bytes(), 1).unwrap();
    // What deserializes as the fields in their order, but is not what anybody else takes, nor what `save` can change.
    let mut list = good.clone();
    list["rootfs"] = json!(["layers", [DIGEST]]);
    let lists = json!([null, null, "", "linux", null, null, null, null, {"type": "layers", "diff_ids": [DIGEST]}, []]);
    for bad in [list, lists] {
        let said = parse_config(bad.to_string().as_bytes(), 1).unwrap_err();
        assert!(said.contains("malformed image configuration"), "{bad}: {said}");
    }
}

#[test]
fn a_document_is_called_what_it_calls_itself() {
    let called = |value: Value| media_type(value.to_string().as_bytes());
    for known in [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST] {
        assert_eq!(called(json!({"schemaVersion": 2, "mediaType": known, "layers": []})), known);
    }
    assert_eq!(called(json!({"schemaVersion": 2, "layers": []})), OCI_MANIFEST);
    assert_eq!(called(json!({"schemaVersion": 2, "manifests": [], "mediaType": "text/plain"})), OCI_INDEX);
    assert_eq!(media_type(b"nothing"), OCI_MANIFEST);
}
