#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::Bytes;
use corten_cri::v1::*;
use prost::Message;

use super::*;

fn recorded(path: &str, request: &impl Message, response: &impl Message) -> Recorded {
    let message = |bytes| RecordedMessage { bytes, json: None };
    Recorded {
        time: Timestamp::UNIX_EPOCH,
        duration_us: 1,
        path: path.to_owned(),
        requests: vec![message(request.encode_to_vec())],
        responses: vec![message(response.encode_to_vec())],
        status: Some(RecordedStatus { code: 0, name: "Ok".into(), message: String::new() }),
        left_out: 0,
    }
}

const CREATE: &str = "/runtime.v1.RuntimeService/CreateContainer";
const LIST: &str = "/runtime.v1.RuntimeService/ListContainers";

/// A recorded creation of `old`, which is now `new`.
fn learned() -> Ids {
    let call = recorded(
        CREATE,
        &CreateContainerRequest::default(),
        &CreateContainerResponse { container_id: "old-container-id".into() },
    );
    let now = CreateContainerResponse { container_id: "new-container-id".into() };
    let mut ids = Ids::default();
    ids.learn(&call, &[now.encode_to_vec().into()], Methods::compiled().unwrap().of(CREATE).as_ref());
    ids
}

#[test]
fn new_ids_take_the_places_of_recorded_ones_and_nothing_else_changes() {
    let ids = learned();
    let input = Methods::compiled().unwrap().of("/runtime.v1.RuntimeService/StartContainer").unwrap().input();
    let mut request = StartContainerRequest { container_id: "old-container-id".into() }.encode_to_vec();
    let unknown = [0xa8, 0x06, 0x01];
    request.extend(unknown);
    let replaced = ids.replaced(&request, Some(input.clone()));
    assert_eq!(StartContainerRequest::decode(&replaced[..]).unwrap().container_id, "new-container-id");
    assert!(replaced.ends_with(&unknown), "what is not known goes too");
    assert_eq!(ids.replaced(b"\x00old-container-id", Some(input)), b"\x00old-container-id"[..]);
    assert_eq!(ids.text("/x/old-container-id/y"), "/x/new-container-id/y");
}

#[test]
fn answers_differ_where_they_do_and_not_in_times_ids_and_order() {
    let container = |id: &str, name: &str, created_at| Container {
        id: id.into(),
        metadata: Some(ContainerMetadata { name: name.into(), attempt: 0 }),
        created_at,
        ..Default::default()
    };
    let list = |containers| ListContainersResponse { containers };
    let was = list(vec![container("old-container-id", "a", 1), container("x", "b", 2)]);
    let call = recorded(LIST, &ListContainersRequest::default(), &was);
    let method = Methods::compiled().unwrap().of(LIST);
    let found = |now: ListContainersResponse| {
        let now: Bytes = now.encode_to_vec().into();
        let found = compare::answers(&call, &[now], method.as_ref(), &learned());
        found.into_iter().map(|found| (found.at, found.recorded, found.now)).collect::<Vec<_>>()
    };
    assert_eq!(found(list(vec![container("x", "b", 3), container("new-container-id", "a", 4)])), []);
    let other = found(list(vec![container("x", "c", 3), container("new-container-id", "a", 4)]));
    assert_eq!(other, [("answer.containers[].metadata.name".to_owned(), "\"b\"".to_owned(), "\"c\"".to_owned())]);
    assert_eq!(found(list(vec![])).len(), 1);
}

#[test]
fn a_method_is_chosen_by_its_name() {
    let call = recorded(LIST, &ListContainersRequest::default(), &ListContainersResponse::default());
    for (only, is) in [
        ("ListContainers", true),
        ("RuntimeService/ListContainers", true),
        ("Containers", false),
        ("ListContainer", false),
    ] {
        assert_eq!(wanted(&call, Some(only)), is, "{only}");
    }
}

#[test]
fn a_file_that_is_no_recording_is_refused_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calls");
    let line = serde_json::to_string(&recorded(LIST, &VersionRequest::default(), &VersionRequest::default())).unwrap();
    std::fs::write(&path, format!("{line}\n{{}}\n")).unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("line 2"));
    std::fs::write(&path, format!("{line}\n")).unwrap();
    assert_eq!(read(&path).unwrap().len(), 1);
    // A line without end, of which nothing is on the disk.
    File::options().write(true).open(&path).unwrap().set_len(MAX_LINE + 1000).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(error.contains("line 2: it is longer than"), "{error}");
}
