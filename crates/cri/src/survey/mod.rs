//! What a live runtime knows of the CRI, found out without running any of its handlers.
//!
//! Every question is a request that no decoder takes: it ends with a tag that does not exist. A server without the RPC
//! answers `Unimplemented`; one that has it fails to decode the request, before any handler is called, and says why. In
//! front of the end stands the field that is asked about, with a value that a field of its type cannot have: a decoder
//! that knows the field stumbles over it, another skips it and stumbles over the end. The error's text tells which.
//!
//! Decoders differ in what they check, and this reads three of them: gogo/protobuf (containerd 1 and other servers
//! built with cri-api before it left gogo), google.golang.org/protobuf, and prost. The second takes any number for a
//! field of a scalar type, and skips values of the wrong wire type: such fields remain unclear.
//!
//! Fields of answers cannot be asked for. [`Survey::listen`] makes calls that only read, and takes what is set in the
//! answers as evidence.

mod fit;
mod listen;
mod question;
mod reading;
mod route;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use tokio::task::JoinSet;
use tonic::Status;

pub use self::{
    fit::{Contradiction, Fit},
    listen::Heard,
};
use self::{question::Question, route::Routes};
use crate::{
    ApiVersion,
    client::{Connection, raw},
    history::{Error as HistoryError, History, Schema},
};

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How many questions are under way at once.
const AT_ONCE: usize = 32;

/// Why nothing could be found out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime stopped answering.
    #[error("survey: {0}")]
    Call(#[from] Box<Status>),
    /// The table of this build is broken.
    #[error(transparent)]
    History(#[from] &'static HistoryError),
}

/// What a runtime says of an RPC or a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// It has it.
    Has,
    /// It does not.
    Lacks,
    /// That cannot be told.
    Unclear {
        /// The answer, or why there is none that could tell.
        said: String,
    },
}

/// A field of a request, as the history has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldKey {
    /// The message it is in.
    pub message: &'static str,
    /// Its number.
    pub number: i32,
    /// Its name.
    pub name: &'static str,
    /// Its type, in proto3.
    pub field_type: String,
}

/// What a runtime knows of one version of the interface.
#[derive(Debug)]
pub struct Survey {
    /// The version.
    pub version: ApiVersion,
    /// By `Service/Method`: every RPC that the version ever had.
    pub rpcs: BTreeMap<&'static str, Finding>,
    /// Every field that a request ever had, at any depth.
    pub fields: BTreeMap<FieldKey, Finding>,
    /// What was heard in answers.
    pub heard: Vec<Heard>,
}

/// Asks a runtime for everything that the history knows, in the connection's version.
///
/// # Errors
/// [`Error::Call`] when the runtime stops answering.
pub async fn survey(connection: &Connection) -> Result<Survey, Error> {
    let version = connection.version();
    let schema = schema(version)?;
    // A runtime that takes even this for a message is not asked anything else.
    ask(connection, vec![((), path("RuntimeService/Version"), question::UNDECODABLE.to_vec())]).await?;
    let calls = schema.rpcs.keys().map(|name| (name.as_str(), path(name), question::UNDECODABLE.to_vec()));
    let answers = ask(connection, calls.collect()).await?;
    let rpcs: BTreeMap<_, _> = answers.into_iter().map(|(name, status)| (name, reading::rpc(&status))).collect();

    let routes = Routes::of(schema);
    let questions: Vec<Question> = question::all(schema, &routes);
    let calls = questions.iter().enumerate().map(|(index, question)| (index, path(question.rpc), question.bytes()));
    let answers: BTreeMap<_, _> = ask(connection, calls.collect()).await?.into_iter().collect();
    let mut fields = BTreeMap::new();
    for (index, question) in questions.iter().enumerate() {
        if let Some(status) = answers.get(&index) {
            fields.extend(reading::fields(question, status));
        }
    }
    Ok(Survey { version, rpcs, fields, heard: Vec::new() })
}

/// The history of one version.
fn schema(version: ApiVersion) -> Result<&'static Schema, &'static HistoryError> {
    History::embedded().map(|history| match version {
        ApiVersion::V1 => &history.v1,
        ApiVersion::V1Alpha2 => &history.v1alpha2,
    })
}

/// The path of an RPC as a connection takes it, whatever its version.
fn path(rpc: &str) -> String {
    ApiVersion::V1.path(rpc)
}

/// Sends questions, some at once, and gathers what each was answered. An answer without error cannot be: the question
/// was not decodable.
async fn ask<K: Send + 'static>(
    connection: &Connection,
    calls: Vec<(K, String, Vec<u8>)>,
) -> Result<Vec<(K, Status)>, Error> {
    let (mut under_way, mut answers) = (JoinSet::new(), Vec::new());
    for (key, path, message) in calls {
        if under_way.len() >= AT_ONCE {
            answers.extend(under_way.join_next().await.and_then(Result::ok));
        }
        let connection = connection.clone();
        under_way.spawn(async move {
            let answer = raw::call(&connection, &path, message, LIMIT).await;
            (key, answer.err().unwrap_or_else(|| Status::ok("answered as if it had been decoded")))
        });
    }
    while let Some(answer) = under_way.join_next().await {
        answers.extend(answer.ok());
    }
    match answers.iter().find(|(_, status)| reading::is_no_answer(status)) {
        Some((_, status)) => Err(Error::Call(Box::new(status.clone()))),
        None => Ok(answers),
    }
}

#[cfg(test)]
mod tests;
