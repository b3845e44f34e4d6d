//! Reading Pod manifests: YAML or JSON, one or more documents per file.

pub mod quantity;
pub mod schema;
mod validate;

use serde_json::Value;

pub use schema::Pod;

/// The largest manifest read, in bytes.
pub const MAX_SIZE: u64 = 4 << 20;

/// Fields of a v1 Pod that `corten run` knows and does not do. Anything else it does not know is a misspelling.
const UNSUPPORTED: [&str; 56] = [
    "activeDeadlineSeconds",
    "affinity",
    "automountServiceAccountToken",
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "configMap",
    "creationTimestamp",
    "csi",
    "downwardAPI",
    "enableServiceLinks",
    "envFrom",
    "ephemeral",
    "ephemeralContainers",
    "fc",
    "fieldRef",
    "finalizers",
    "fsGroupChangePolicy",
    "generateName",
    "gitRepo",
    "hostAliases",
    "hostUsers",
    "imagePullSecrets",
    "iscsi",
    "lifecycle",
    "livenessProbe",
    "managedFields",
    "nfs",
    "nodeName",
    "nodeSelector",
    "os",
    "overhead",
    "ownerReferences",
    "persistentVolumeClaim",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "projected",
    "readinessGates",
    "readinessProbe",
    "recursiveReadOnly",
    "resizePolicy",
    "restartPolicyRules",
    "schedulerName",
    "secret",
    "serviceAccountName",
    "sizeLimit",
    "startupProbe",
    "status",
    "subPathExpr",
    "subdomain",
    "tolerations",
    "valueFrom",
    "volumeDevices",
];

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not YAML.
    #[error("not YAML: {0}")]
    Yaml(String),
    /// It has no document.
    #[error("no Pod in it")]
    Empty,
    /// A document is something else.
    #[error("document {document}: {found} is not supported, only a Pod of v1 is")]
    Kind {
        /// Its place in the file, from 1.
        document: usize,
        /// What it says it is.
        found: String,
    },
    /// A field is wrong.
    #[error("document {document}: {field}")]
    Field {
        /// Its place in the file, from 1.
        document: usize,
        /// The field and what is wrong with it.
        field: FieldError,
    },
}

/// A field and what is wrong with it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct FieldError {
    /// From the document's root, as in `spec.containers[0].image`.
    pub path: String,
    /// What is wrong, with the value where there is one.
    pub reason: String,
}

impl FieldError {
    /// Names a field and what is wrong with it.
    pub fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}

/// Reads and checks every Pod of a file.
///
/// # Errors
/// [`Error`] for the first thing wrong, with the document and the field.
pub fn parse(text: &str) -> Result<Vec<Pod>, Error> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| Error::Yaml(one_line(&error)))?;
    let documents: Vec<_> = documents.into_iter().enumerate().filter(|(_, value)| !value.is_null()).collect();
    if documents.is_empty() {
        return Err(Error::Empty);
    }
    documents.into_iter().map(|(index, value)| pod(index + 1, value)).collect()
}

fn pod(document: usize, mut value: Value) -> Result<Pod, Error> {
    let mut take = |key: &str| {
        let taken = value.as_object_mut().and_then(|fields| fields.remove(key));
        taken.as_ref().and_then(Value::as_str).unwrap_or("(none)").to_owned()
    };
    let (version, kind) = (take("apiVersion"), take("kind"));
    if (version.as_str(), kind.as_str()) != ("v1", "Pod") {
        return Err(Error::Kind { document, found: format!("apiVersion {version}, kind {kind}") });
    }
    let pod: Pod = serde_path_to_error::deserialize(without_nulls(value))
        .map_err(|error| Error::Field { document, field: field_error(&error) })?;
    validate::pod(&pod).map_err(|field| Error::Field { document, field })?;
    Ok(pod)
}

/// To Kubernetes an explicit null is the same as nothing.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

fn field_error(error: &serde_path_to_error::Error<serde_json::Error>) -> FieldError {
    let path = error.path().to_string();
    let reason = error.inner().to_string();
    // Serde lists every field it would have taken, which for a container is a screenful.
    let unknown = reason.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    match unknown {
        Some(field) if UNSUPPORTED.contains(&field) => FieldError::new(path, "not supported by corten run"),
        Some(_) => FieldError::new(path, "unknown field"),
        None => FieldError::new(path, reason),
    }
}

fn one_line(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).to_owned()
}

#[cfg(test)]
mod tests;
