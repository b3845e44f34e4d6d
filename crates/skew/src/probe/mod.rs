//! `corten skew probe`: which CRI a live runtime implements, and what that means for a kubelet.
//!
//! It changes nothing: what it asks is undecodable ([`survey()`]), or only reads, or is about a pod or container that
//! nobody has.

mod calls;
mod effects;
mod features;
mod policy;
mod text;

use std::collections::BTreeMap;

use corten_cri::{
    ApiVersion,
    client::{self, Connection},
    history::{self, Overlay, Release, ReleaseName, Schema},
    survey::{self, Contradiction, Finding, Survey, survey},
    v1::{StatusResponse, VersionResponse},
};
use prost::Message;
use serde::Serialize;

pub use self::{
    effects::{Effect, WithKubelet},
    features::{FeatureReport, State},
    policy::{Kubelets, Policy},
    text::text,
};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] client::Error),
    /// The runtime could not be asked.
    #[error(transparent)]
    Survey(#[from] survey::Error),
    /// The kubelet's release is not known, or a table is broken.
    #[error(transparent)]
    History(#[from] history::Error),
    /// A table that comes with the program is broken.
    #[error(transparent)]
    Embedded(#[from] &'static history::Error),
}

/// How something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The runtime's decoder was asked.
    Surveyed,
    /// The runtime knows the call and answered `Unimplemented`.
    Unimplemented,
    /// `StatusResponse.features` says so.
    StatusFeature,
    /// `StatusResponse.runtime_handlers` says so.
    RuntimeHandlerFeature,
    /// The table says so of the release that the runtime implements.
    Table,
}

/// What a runtime calls itself.
#[derive(Debug, Serialize)]
pub struct Identity {
    /// `VersionResponse.runtime_name`
    pub name: String,
    /// `VersionResponse.runtime_version`
    pub version: String,
    /// `VersionResponse.runtime_api_version`
    pub api_version: String,
}

/// The CRI releases that a runtime may have been built with.
#[derive(Debug, Serialize)]
pub struct Implements {
    /// The oldest.
    pub oldest: Release,
    /// The newest known.
    pub newest: Release,
    /// What contradicts all of them.
    pub contradictions: Vec<Contradiction>,
}

/// Something of the newest release that a runtime lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// `Service/Method` or `Message.field`.
    pub name: String,
    /// The first release that has it.
    pub since: Release,
    /// How that is known.
    pub source: Source,
}

/// Everything a runtime was found to be.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Its socket.
    pub socket: String,
    /// What it calls itself.
    pub runtime: Identity,
    /// The versions of the interface that it serves, by name.
    pub versions: Vec<&'static str>,
    /// The version that all the rest is about.
    pub asked_in: &'static str,
    /// The releases that fit what it knows.
    pub implements: Implements,
    /// The newest release known: what it lacks is compared with that.
    pub compared_with: Release,
    /// The RPCs that it lacks.
    pub lacking_rpcs: Vec<Lack>,
    /// The fields of requests that it lacks, in messages that it has.
    pub lacking_fields: Vec<Lack>,
    /// The RPCs and fields of which nothing could be told.
    pub unclear: Vec<String>,
    /// Every feature that a release brought.
    pub features: Vec<FeatureReport>,
    /// The kubelets that it fits.
    pub kubelets: Kubelets,
    /// What a kubelet has to expect.
    pub with_kubelet: Option<WithKubelet>,
}

impl Report {
    /// Whether nothing breaks with the kubelet that was asked about.
    pub fn fits(&self) -> bool {
        self.with_kubelet.as_ref().is_none_or(|with| !with.breaks())
    }
}

/// What was found out before it is put in words.
struct Found {
    survey: Survey,
    newest: Release,
    /// RPCs that the runtime knows and does not implement.
    unimplemented: Vec<&'static str>,
    status: StatusResponse,
}

/// Asks the runtime behind an endpoint.
///
/// # Errors
/// [`Error`]: it cannot be asked, or there is no such kubelet.
pub async fn probe(endpoint: &str, kubelet: Option<ReleaseName>) -> Result<Report, Error> {
    let kubelet = kubelet.map(policy::kubelet).transpose()?;
    let connection = client::connect(endpoint).await?;
    let versions = calls::versions(&connection).await;
    let mut survey = survey(&connection).await?;
    let unimplemented = calls::unimplemented(&connection, &mut survey).await;
    let fit = survey.release()?;
    let schema = schema(connection.version())?;
    let status: StatusResponse = heard(&survey, "StatusResponse");
    let identity: VersionResponse = heard(&survey, "VersionResponse");
    let found = Found { survey, newest: fit.newest, unimplemented, status };
    let features: Vec<_> =
        Overlay::embedded()?.features.iter().map(|feature| features::report(feature, &found)).collect();
    let kubelets = policy::kubelets(&versions, fit.oldest, fit.newest);
    Ok(Report {
        socket: connection.path().display().to_string(),
        runtime: Identity {
            name: identity.runtime_name,
            version: identity.runtime_version,
            api_version: identity.runtime_api_version,
        },
        versions: versions.iter().map(|version| version.name()).collect(),
        asked_in: connection.version().name(),
        compared_with: schema.newest()?,
        lacking_rpcs: lacking_rpcs(schema, &found)?,
        lacking_fields: lacking_fields(schema, &found.survey)?,
        unclear: unclear(&found.survey),
        with_kubelet: kubelet.map(|kubelet| effects::with(kubelet, policy::of(kubelet, &kubelets), &features)),
        implements: Implements { oldest: fit.oldest, newest: fit.newest, contradictions: fit.contradictions },
        features,
        kubelets,
    })
}

/// The history of a version.
fn schema(version: ApiVersion) -> Result<&'static Schema, Error> {
    let history = history::History::embedded()?;
    Ok(match version {
        ApiVersion::V1 => &history.v1,
        ApiVersion::V1Alpha2 => &history.v1alpha2,
    })
}

/// An answer that was heard; empty if there was none, or it is malformed.
fn heard<T: Message + Default>(survey: &Survey, message: &str) -> T {
    let heard = survey.heard.iter().find(|heard| heard.message == message);
    heard.and_then(|heard| T::decode(heard.bytes.as_slice()).ok()).unwrap_or_default()
}

fn lacking_rpcs(schema: &'static Schema, found: &Found) -> Result<Vec<Lack>, Error> {
    let newest = schema.in_release(schema.newest()?)?;
    let lack = |name: &&str, source| {
        let since = newest.rpcs.get(*name)?.ranges.iter().map(|range| range.from).min()?;
        Some(Lack { name: (*name).to_owned(), since, source })
    };
    let missing = found.survey.rpcs.iter().filter(|(_, finding)| **finding == Finding::Lacks);
    let missing = missing.filter_map(|(name, _)| lack(name, Source::Surveyed));
    let refused = found.unimplemented.iter().filter_map(|name| lack(name, Source::Unimplemented));
    let mut all: Vec<Lack> = missing.chain(refused).collect();
    all.sort_by(|one, other| (one.since, &one.name).cmp(&(other.since, &other.name)));
    Ok(all)
}

fn lacking_fields(schema: &'static Schema, survey: &Survey) -> Result<Vec<Lack>, Error> {
    let newest = schema.in_release(schema.newest()?)?;
    let known: BTreeMap<&str, bool> = survey.fields.iter().fold(BTreeMap::new(), |mut known, (key, finding)| {
        *known.entry(key.message).or_default() |= *finding == Finding::Has;
        known
    });
    let lacking = survey.fields.iter().filter(|(_, finding)| **finding == Finding::Lacks);
    // Of a message that it does not know at all, the field that leads to it says enough.
    let mut all: Vec<Lack> = lacking
        .filter(|(key, _)| known.get(key.message) == Some(&true))
        .filter_map(|(key, _)| {
            let field = newest.messages.get(key.message)?.get(&key.number)?;
            let same = field.field_type.to_string() == key.field_type;
            let since = field.ranges.iter().map(|range| range.from).min()?;
            same.then(|| Lack { name: format!("{}.{}", key.message, key.name), since, source: Source::Surveyed })
        })
        .collect();
    all.sort_by(|one, other| (one.since, &one.name).cmp(&(other.since, &other.name)));
    Ok(all)
}

fn unclear(survey: &Survey) -> Vec<String> {
    let is_unclear = |finding: &Finding| matches!(finding, Finding::Unclear { .. });
    let rpcs = survey.rpcs.iter().filter(|(_, finding)| is_unclear(finding)).map(|(name, _)| (*name).to_owned());
    let fields = survey.fields.iter().filter(|(_, finding)| is_unclear(finding));
    let mut all: Vec<String> =
        rpcs.chain(fields.map(|(key, _)| format!("{}.{} as {}", key.message, key.name, key.field_type))).collect();
    all.sort();
    all
}

/// A connection's calls are all bounded by this.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// Calls with a message, in the connection's version.
async fn call(connection: &Connection, rpc: &str, message: Vec<u8>) -> Result<Vec<u8>, tonic::Status> {
    client::raw::call(connection, &ApiVersion::V1.path(rpc), message, LIMIT).await
}
