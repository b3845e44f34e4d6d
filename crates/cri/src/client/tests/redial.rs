use std::time::Duration;

use tonic::{Code, Request, Status};

use super::{Place, server::Server};
use crate::{
    ApiVersion,
    client::{Connection, connect, connect_as, runtime},
    v1::{ListContainersRequest, StatusRequest},
};

async fn list(connection: &Connection) -> Result<(), Status> {
    runtime(connection.clone()).list_containers(ListContainersRequest::default()).await.map(drop)
}

/// Calls until it works; the back-off allows it within seconds.
async fn list_in_time(connection: &Connection) {
    tokio::time::timeout(Duration::from_secs(30), async {
        while list(connection).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

/// Calls until a call fails as the runtime being away makes it: what is on its way when a server ends fails otherwise.
async fn list_until_away(connection: &Connection) -> Status {
    loop {
        match list(connection).await {
            Err(status) if status.message().contains("connect to") => return status,
            _ => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn a_runtime_that_comes_back_is_found_again() {
    let place = Place::new();
    let server = Server::start(&place.path(), |_| true);
    let connection = connect(&place.endpoint()).await.unwrap();
    list(&connection).await.unwrap();
    server.stop().await;

    let status = list_until_away(&connection).await;
    assert_eq!(status.code(), Code::Unavailable);
    let again = list(&connection).await.unwrap_err();
    assert_eq!(again.message(), status.message(), "within the back-off nothing is dialed");

    let server = Server::start(&place.path(), |_| true);
    list_in_time(&connection).await;
    assert_eq!(server.calls()[0], "/runtime.v1.RuntimeService/Version", "the version is asked for first");
    assert_eq!(server.count("Version"), 1);
}

#[tokio::test]
async fn one_dial_serves_all_who_wait() {
    let place = Place::new();
    let server = Server::start(&place.path(), |_| true);
    let connection = connect(&place.endpoint()).await.unwrap();
    server.stop().await;
    let server = Server::start(&place.path(), |_| true);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let connection = connection.clone();
        calls.spawn(async move { list_in_time(&connection).await });
    }
    calls.join_all().await;
    assert_eq!((server.count("Version"), server.count("ListContainers")), (1, 20));
}

#[tokio::test]
async fn a_runtime_that_lost_the_version_asks_for_a_restart_of_the_client() {
    let place = Place::new();
    let server = Server::start(&place.path(), |path| path.contains(".v1alpha2."));
    let connection = connect(&place.endpoint()).await.unwrap();
    assert_eq!(connection.version(), ApiVersion::V1Alpha2);
    server.stop().await;

    let newer = Server::start(&place.path(), |path| path.contains(".v1."));
    let status = list_until_away(&connection).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    let wanted = "no longer serves CRI v1alpha2, which was chosen at the start: this client must be restarted";
    assert!(status.message().ends_with(wanted), "{status}");
    assert_eq!(newer.count("ListContainers"), 0);
    // A client that starts now gets on.
    list(&connect(&place.endpoint()).await.unwrap()).await.unwrap();

    // So does the old one, should the runtime be rolled back.
    newer.stop().await;
    let _older = Server::start(&place.path(), |path| path.contains(".v1alpha2."));
    list_in_time(&connection).await;
}

#[tokio::test]
async fn a_forced_version_is_kept_too() {
    let place = Place::new();
    let server = Server::start(&place.path(), |_| true);
    let connection = connect_as(&place.endpoint(), ApiVersion::V1Alpha2).await.unwrap();
    server.stop().await;
    let server = Server::start(&place.path(), |_| true);
    list_in_time(&connection).await;
    assert!(server.calls().iter().all(|path| path.starts_with("/runtime.v1alpha2.")), "{:?}", server.calls());
}

#[tokio::test]
async fn a_deadline_ends_a_call() {
    let place = Place::new();
    let _server = Server::start(&place.path(), |_| true);
    let connection = connect(&place.endpoint()).await.unwrap();
    let mut request = Request::new(StatusRequest::default());
    request.set_timeout(Duration::from_millis(50));
    let status = runtime(connection.clone()).status(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    list(&connection).await.unwrap();
}

#[tokio::test]
async fn a_call_under_way_when_the_runtime_dies_is_unavailable() {
    let place = Place::new();
    let server = Server::start(&place.path(), |_| true);
    let connection = connect(&place.endpoint()).await.unwrap();
    let mut client = runtime(connection);
    let call = tokio::spawn(async move { client.status(StatusRequest::default()).await });
    while server.count("Status") == 0 {
        tokio::task::yield_now().await;
    }
    server.stop().await;
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
}
