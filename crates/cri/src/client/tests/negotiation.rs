use std::os::unix::net::UnixListener;

use tonic::Code;

use super::{Place, server::Server};
use crate::{
    ApiVersion,
    client::{Connection, Error, connect, connect_as, connect_images, images, runtime},
    v1::{ListContainersRequest, ListImagesRequest, StopContainerRequest},
};

fn failure(result: Result<Connection, Error>) -> String {
    match result {
        Ok(connection) => panic!("connected in {}", connection.version()),
        Err(error) => error.to_string(),
    }
}

async fn container_of(connection: &Connection) -> String {
    let answer = runtime(connection.clone()).list_containers(ListContainersRequest::default()).await.unwrap();
    answer.into_inner().containers.remove(0).id
}

#[tokio::test]
async fn v1_is_preferred() {
    let place = Place::new();
    let server = Server::start(&place.path(), |_| true);
    let connection = connect(&place.endpoint()).await.unwrap();
    assert_eq!(connection.version(), ApiVersion::V1);
    assert_eq!(container_of(&connection).await, "unary");
    assert_eq!(server.calls(), ["/runtime.v1.RuntimeService/Version", "/runtime.v1.RuntimeService/ListContainers"]);
}

#[tokio::test]
async fn v1alpha2_is_taken_where_there_is_no_v1() {
    let place = Place::new();
    let server = Server::start(&place.path(), |path| path.starts_with("/runtime.v1alpha2."));
    let connection = connect(&place.endpoint()).await.unwrap();
    assert_eq!(connection.version(), ApiVersion::V1Alpha2);
    assert_eq!(container_of(&connection).await, "unary");
    let called = server.calls();
    let ends: Vec<_> = called.iter().map(|path| path.trim_start_matches("/runtime.")).collect();
    let alpha = "v1alpha2.RuntimeService";
    assert_eq!(ends, ["v1.RuntimeService/Version", &format!("{alpha}/Version"), &format!("{alpha}/ListContainers")]);
}

#[tokio::test]
async fn neither_is_a_failure_that_names_both() {
    let place = Place::new();
    let _server = Server::start(&place.path(), |_| false);
    let said = failure(connect(&place.endpoint()).await);
    let both = "v1 (not implemented: unknown method Version), v1alpha2 (not implemented: unknown method Version)";
    assert!(said.starts_with(&format!("connect to {}: ", place.path().display())) && said.ends_with(both), "{said}");
}

#[tokio::test]
async fn a_version_can_be_forced() {
    let place = Place::new();
    let _server = Server::start(&place.path(), |path| path.starts_with("/runtime.v1alpha2.") || path.contains("Image"));
    let forced = connect_as(&place.endpoint(), ApiVersion::V1Alpha2).await.unwrap();
    assert_eq!(forced.version(), ApiVersion::V1Alpha2);
    let said = failure(connect_as(&place.endpoint(), ApiVersion::V1).await);
    assert!(said.ends_with("this client speaks: v1 (not implemented: unknown method Version)"), "{said}");
}

#[tokio::test]
async fn an_endpoint_with_the_image_service_alone_is_asked_for_it() {
    let place = Place::new();
    let server = Server::start(&place.path(), |path| path.contains(".v1.ImageService/"));
    assert!(connect(&place.endpoint()).await.is_err());
    let connection = connect_images(&place.endpoint()).await.unwrap();
    assert_eq!(connection.version(), ApiVersion::V1);
    images(connection.clone()).list_images(ListImagesRequest::default()).await.unwrap();
    let status = runtime(connection).list_containers(ListContainersRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, "unknown method ListContainers"));
    assert_eq!(server.count("ImageFsInfo"), 1);
}

#[tokio::test]
async fn a_missing_socket_is_named() {
    let place = Place::new();
    let path = place.path().display().to_string();
    let said = failure(connect(&path).await);
    assert_eq!(said, format!("connect to {path}: no such socket (is the runtime running?)"));
}

#[tokio::test]
async fn a_socket_nobody_listens_on_is_named() {
    let place = Place::new();
    drop(UnixListener::bind(place.path()).unwrap());
    let path = place.path().display().to_string();
    let said = failure(connect(&path).await);
    assert_eq!(said, format!("connect to {path}: nothing listens on it (has the runtime stopped?)"));
}

#[tokio::test]
async fn what_does_not_speak_http_2_is_named() {
    let place = Place::new();
    let listener = tokio::net::UnixListener::bind(place.path()).unwrap();
    let other = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        stream.writable().await.unwrap();
        stream.try_write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").unwrap();
        drop(stream);
        std::future::pending::<()>().await;
    });
    let path = place.path().display().to_string();
    let said = failure(connect(&path).await);
    assert!(said.starts_with(&format!("connect to {path}: asked for CRI v1: ")), "{said}");
    other.abort();
}

#[tokio::test]
async fn details_of_a_status_that_cannot_be_decoded_do_not_cost_the_status() {
    let place = Place::new();
    let _server = Server::start(&place.path(), |_| true);
    let mut client = runtime(connect(&place.endpoint()).await.unwrap());
    let status = client.stop_container(StopContainerRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "gone"));
}
