//! How long each call may take, as the kubelet has it.
//!
//! From `pkg/remote_runtime.go` and `pkg/remote_image.go` of k8s.io/cri-client.

use std::time::Duration;

use tonic::Request;

/// What bounds a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The usual time.
    Usual,
    /// Twice the usual time.
    Twice,
    /// The usual time and the request's own: what the request allows, and time to clean up.
    UsualAndOwn,
    /// As [`Rule::UsualAndOwn`], but a request without a time of its own has no limit.
    UsualAndOwnIfAny,
    /// The longer of the usual time and the request's own.
    Longer,
    /// As long as it takes.
    Unbounded,
}

/// The longest limit: what is longer cannot be said in a header, and is as good as none.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Every RPC that has not the usual time.
const UNUSUAL: [(&str, Rule); 6] = [
    ("ImageService/PullImage", Rule::Unbounded),
    ("RuntimeService/CheckpointContainer", Rule::Longer),
    ("RuntimeService/ExecSync", Rule::UsualAndOwnIfAny),
    ("RuntimeService/GetContainerEvents", Rule::Unbounded),
    ("RuntimeService/RunPodSandbox", Rule::Twice),
    ("RuntimeService/StopContainer", Rule::UsualAndOwn),
];

/// The limits of calls that go by one usual time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// The kubelet's `runtimeRequestTimeout`; nothing means that no call has a limit.
    pub usual: Option<Duration>,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { usual: Some(Duration::from_secs(120)) }
    }
}

impl Deadlines {
    /// The rule for an RPC, by `Service/Method`.
    pub fn rule(rpc: &str) -> Rule {
        UNUSUAL.iter().find(|(name, _)| *name == rpc).map_or(Rule::Usual, |(_, rule)| *rule)
    }

    /// The limit of a call whose request allows `own` (the grace period of a stop, say; zero: nothing).
    pub fn limit(&self, rpc: &str, own: Duration) -> Option<Duration> {
        let usual = self.usual?;
        match Self::rule(rpc) {
            Rule::Usual => Some(usual),
            Rule::Twice => Some(usual.saturating_mul(2)),
            Rule::UsualAndOwn => Some(usual.saturating_add(own)),
            Rule::UsualAndOwnIfAny => (!own.is_zero()).then(|| usual.saturating_add(own)),
            Rule::Longer => Some(usual.max(own)),
            Rule::Unbounded => None,
        }
    }

    /// A request with the limit of its RPC.
    pub fn request<T>(&self, rpc: &str, own: Duration, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(limit) = self.limit(rpc, own) {
            request.set_timeout(limit.min(LONGEST));
        }
        request
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::history::History;

    #[test]
    fn the_limits_are_the_kubelets() {
        let limit = |rpc, own| Deadlines::default().limit(rpc, Duration::from_secs(own)).map(|limit| limit.as_secs());
        assert_eq!(limit("RuntimeService/Status", 0), Some(120));
        assert_eq!(limit("RuntimeService/RunPodSandbox", 0), Some(240));
        assert_eq!(limit("RuntimeService/StopPodSandbox", 0), Some(120));
        assert_eq!(limit("RuntimeService/StopContainer", 30), Some(150));
        assert_eq!(limit("RuntimeService/StopContainer", 0), Some(120));
        assert_eq!(limit("RuntimeService/ExecSync", 5), Some(125));
        assert_eq!(limit("RuntimeService/ExecSync", 0), None);
        assert_eq!(limit("RuntimeService/CheckpointContainer", 5), Some(120));
        assert_eq!(limit("RuntimeService/CheckpointContainer", 500), Some(500));
        assert_eq!(limit("ImageService/PullImage", 0), None);
    }

    #[test]
    fn without_a_usual_time_nothing_has_a_limit() {
        let unlimited = Deadlines { usual: None };
        assert_eq!(unlimited.limit("RuntimeService/RunPodSandbox", Duration::ZERO), None);
    }

    #[test]
    fn a_limit_beyond_all_reason_is_still_a_header() {
        let request = Deadlines::default().request("RuntimeService/StopContainer", Duration::MAX, ());
        assert!(request.metadata().contains_key("grpc-timeout"));
    }

    #[test]
    fn every_name_in_the_table_is_an_rpc() {
        let rpcs = &History::embedded().unwrap().v1.rpcs;
        for (name, _) in UNUSUAL {
            assert!(rpcs.contains_key(name), "{name}");
        }
    }
}
