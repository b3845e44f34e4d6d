//! Calls written down: one JSON object a line, in the order the calls ended.

mod blank;
mod recorder;

use base64::{Engine, prelude::BASE64_STANDARD};
use corten_cri::{ApiVersion, DESCRIPTORS};
use jiff::Timestamp;
use prost_reflect::{DescriptorError, DescriptorPool, DynamicMessage, MethodDescriptor, SerializeOptions};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use tonic::{Code, Status};

pub use self::recorder::{Error, Recorder, Written};

/// A call as it was seen at the client's side of a proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// When it began.
    pub time: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// The path: `/runtime.v1.RuntimeService/Version`.
    pub path: String,
    /// What the client sent.
    pub requests: Vec<RecordedMessage>,
    /// What it got.
    pub responses: Vec<RecordedMessage>,
    /// How the call ended. None if the client gave up, or the proxy ended, before the call did.
    pub status: Option<RecordedStatus>,
    /// How many messages were left out because they were too large to keep. 0 of a call that can be replayed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedMessage {
    /// As it is on the wire, but for secrets. In the file as base64.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub bytes: Vec<u8>,
    /// The same for reading, as protobuf's JSON has it; missing where the bytes are no such message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
}

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedStatus {
    /// gRPC's number; 0 is success.
    pub code: i32,
    /// The code's name, for reading.
    #[serde(default)]
    pub name: String,
    /// What was said.
    #[serde(default)]
    pub message: String,
}

impl RecordedStatus {
    /// Of a call that ended so.
    pub fn of(status: &Status) -> Self {
        Self { code: status.code().into(), name: format!("{:?}", status.code()), message: status.message().to_owned() }
    }

    /// The code.
    pub fn code(&self) -> Code {
        Code::from_i32(self.code)
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64_STANDARD.decode(text).map_err(de::Error::custom)
}

/// What this build knows of methods and their messages.
#[derive(Debug, Clone)]
pub(crate) struct Methods(DescriptorPool);

impl Methods {
    pub(crate) fn compiled() -> Result<Self, DescriptorError> {
        DescriptorPool::decode(DESCRIPTORS).map(Self)
    }

    /// The method of a path. Those of both versions of the CRI have the same messages.
    pub(crate) fn of(&self, path: &str) -> Option<MethodDescriptor> {
        let path = ApiVersion::split(path).map_or_else(|| path.to_owned(), |(_, rpc)| ApiVersion::V1.path(rpc));
        let (service, method) = path.strip_prefix('/')?.rsplit_once('/')?;
        self.0.get_service_by_name(service)?.methods().find(|known| known.name() == method)
    }
}

/// A message as protobuf's JSON has it.
pub(crate) fn json(message: &DynamicMessage) -> Option<Value> {
    let options = SerializeOptions::new().stringify_64_bit_integers(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).ok()
}
