//! Clients of other versions: what cortend serves to them, and what it does with what it does not know.

use corten_cri::{
    ApiVersion, client,
    history::{History, Snapshot},
    v1::*,
};
use corten_e2e::{
    cri::PATIENCE,
    daemon::{Paths, Setup},
    lab,
    raw::{nested, varint},
};
use prost::Message;
use tonic::{Code, Status};

/// No message begins with such a tag: what knows the RPC cannot decode it.
const UNDECODABLE: [u8; 1] = [0];

async fn call(paths: &Paths, api: ApiVersion, method: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let connection = client::connect(&format!("unix://{}", paths.socket().display())).await.unwrap();
    client::raw::call(&connection, &api.path(method), message, PATIENCE).await
}

fn newest(api: ApiVersion) -> Snapshot<'static> {
    let history = History::embedded().unwrap();
    let schema = match api {
        ApiVersion::V1 => &history.v1,
        ApiVersion::V1Alpha2 => &history.v1alpha2,
    };
    schema.in_release(schema.newest().unwrap()).unwrap()
}

#[test]
fn each_version_has_exactly_its_rpcs() {
    lab::test(Setup::default(), async |lab| {
        for api in ApiVersion::ALL {
            let has = newest(api).rpcs;
            for method in newest(ApiVersion::V1).rpcs.keys() {
                let error = call(&lab.paths, api, method, UNDECODABLE.into()).await.unwrap_err();
                if has.contains_key(method) {
                    assert_eq!(error.code(), Code::Internal, "{api} {method}: {error}");
                    continue;
                }
                let (service, name) = method.split_once('/').unwrap();
                let expected = format!("unknown method {name} for service runtime.{api}.{service}");
                assert_eq!((error.code(), error.message()), (Code::Unimplemented, &expected[..]), "{api} {method}");
            }
            for (method, expected) in [
                ("RuntimeService/NoSuch", format!("unknown method NoSuch for service runtime.{api}.RuntimeService")),
                ("NoSuchService/Version", format!("unknown service runtime.{api}.NoSuchService")),
            ] {
                let error = call(&lab.paths, api, method, Vec::new()).await.unwrap_err();
                assert_eq!((error.code(), error.message()), (Code::Unimplemented, &expected[..]));
            }
        }
    });
}

#[test]
fn v1alpha2_names_itself_and_sees_the_same_pods() {
    lab::test(Setup::default(), async |lab| {
        for api in ApiVersion::ALL {
            let answer = call(&lab.paths, api, "RuntimeService/Version", Vec::new()).await.unwrap();
            assert_eq!(VersionResponse::decode(&answer[..]).unwrap().runtime_api_version, api.name());
        }
        let config = lab.pod("old");
        let request = RunPodSandboxRequest { config: Some(config), ..Default::default() };
        let answer =
            call(&lab.paths, ApiVersion::V1Alpha2, "RuntimeService/RunPodSandbox", request.encode_to_vec()).await;
        let id = RunPodSandboxResponse::decode(&answer.unwrap()[..]).unwrap().pod_sandbox_id;
        let pods = lab.cri.runtime().list_pod_sandbox(ListPodSandboxRequest::default()).await.unwrap().into_inner();
        assert_eq!(pods.items.iter().map(|pod| &pod.id).collect::<Vec<_>>(), [&id]);
    });
}

/// The field 4000 in `RunPodSandboxRequest.config.linux.security_context`, and an unknown one of the request itself.
fn with_unknown_fields(request: &RunPodSandboxRequest) -> Vec<u8> {
    [request.encode_to_vec(), nested(&[1, 8, 2], &varint(4000, 1)), nested(&[4001], b"newer")].concat()
}

async fn metrics() -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get("http://127.0.0.1:9797/metrics").send().await.unwrap();
    assert_eq!(answer.status(), reqwest::StatusCode::OK);
    answer.text().await.unwrap()
}

#[test]
fn unknown_fields_are_ignored_counted_and_logged_once() {
    let extra = "[metrics]\naddress = \"127.0.0.1:9797\"".to_owned();
    lab::test(Setup { extra, ..Default::default() }, async |lab| {
        for name in ["one", "two"] {
            let request = RunPodSandboxRequest { config: Some(lab.pod(name)), ..Default::default() };
            let message = with_unknown_fields(&request);
            call(&lab.paths, ApiVersion::V1, "RuntimeService/RunPodSandbox", message).await.unwrap();
        }
        let metrics = metrics().await;
        for line in [
            "corten_cri_calls_total{api=\"v1\",method=\"RuntimeService/RunPodSandbox\"} 2",
            "corten_cri_unknown_fields_total{message=\"RunPodSandboxRequest\",number=\"4001\",wire_type=\"LEN\"} 2",
            "corten_cri_unknown_fields_total{message=\"RunPodSandboxRequest.config.linux.security_context\",number=\"4000\",\
             wire_type=\"VARINT\"} 2",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
        }
        let log = lab.daemon.log();
        assert_eq!(log.matches("a client sends a field that this version does not know").count(), 2, "{log}");
    });
}

#[test]
fn unknown_fields_are_refused_where_the_configuration_says_so() {
    let extra = "[interface]\nrefuse_unknown_fields_in = [\"LinuxSandboxSecurityContext\"]".to_owned();
    lab::test(Setup { extra, ..Default::default() }, async |lab| {
        let request = RunPodSandboxRequest { config: Some(lab.pod("newer")), ..Default::default() };
        let run =
            async |message: Vec<u8>| call(&lab.paths, ApiVersion::V1, "RuntimeService/RunPodSandbox", message).await;
        // In the message itself, and in one that is in it.
        for (path, message) in [
            ("config.linux.security_context", with_unknown_fields(&request)),
            (
                "config.linux.security_context.namespace_options",
                [request.encode_to_vec(), nested(&[1, 8, 2, 1], &varint(4000, 1))].concat(),
            ),
        ] {
            let error = run(message).await.unwrap_err();
            let expected = format!(
                "RunPodSandboxRequest.{path}: field 4000 (VARINT) is not known to this version, and the configuration \
                 refuses unknown fields in LinuxSandboxSecurityContext (interface.refuse_unknown_fields_in)"
            );
            assert_eq!((error.code(), error.message()), (Code::InvalidArgument, &expected[..]));
        }
        let pods = lab.cri.runtime().list_pod_sandbox(ListPodSandboxRequest::default()).await.unwrap().into_inner();
        assert!(pods.items.is_empty(), "{pods:?}");
        // Elsewhere they are ignored as ever.
        run([request.encode_to_vec(), nested(&[4001], b"newer")].concat()).await.unwrap();
    });
}
