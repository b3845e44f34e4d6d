#![allow(clippy::unwrap_used, clippy::panic)]
use std::{os::unix::fs::PermissionsExt, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::*;
use crate::registry::{Login, Secret};

fn keyring(config: &Config, request: Option<Auth>) -> Keyring {
    Keyring::new(request, config.clone(), "r.example/team/app:1".parse().unwrap())
}

/// What a host would be shown.
async fn shown(config: &Config, request: Option<&Auth>, host: &str) -> Result<Option<String>, String> {
    let found = keyring(config, request.cloned()).find(host).await?;
    Ok(found.map(|credentials| match credentials {
        auth::Credentials::Basic(value) => {
            let packed = value.strip_prefix("Basic ").unwrap();
            String::from_utf8(BASE64_STANDARD.decode(packed).unwrap()).unwrap()
        }
        auth::Credentials::IdentityToken(token) => format!("identity {token}"),
        auth::Credentials::RegistryToken(token) => format!("registry {token}"),
    }))
}

async fn ok(config: &Config, host: &str) -> Option<String> {
    shown(config, None, host).await.unwrap()
}

fn user(name: &str) -> Auth {
    Auth { username: name.into(), password: "p".into(), ..Auth::default() }
}

fn docker_config(directory: &Path, json: &str) -> Config {
    let path = directory.join("config.json");
    fs::write(&path, json).unwrap();
    Config { docker_config: Some(path), credential_helper_dir: Some(directory.to_owned()), ..Config::default() }
}

fn helper(directory: &Path, name: &str, script: &str) {
    let path = directory.join(format!("docker-credential-{name}"));
    // Renamed: a program that another test's child still has open for writing cannot be executed.
    let written = directory.join("script");
    fs::write(&written, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&written, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(written, path).unwrap();
}

#[tokio::test]
async fn the_request_comes_first_then_the_configuration_then_dockers() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = docker_config(
        directory.path(),
        r#"{"auths": {"r.example": {"username": "docker", "password": "p"}, "m.example": {"auth": "bTpw"}}}"#,
    );
    assert_eq!(ok(&config, "r.example").await.unwrap(), "docker:p");
    assert_eq!(ok(&config, "m.example").await.unwrap(), "m:p");
    let file = directory.path().join("password");
    fs::write(&file, "from a file\n").unwrap();
    let login = |password, password_file| Login { username: "ours".into(), password, password_file };
    config.credentials.insert("*.example".into(), login(Some(Secret::new("inline")), None));
    config.credentials.insert("r.example/team".into(), login(None, Some(file.clone())));
    assert_eq!(ok(&config, "r.example").await.unwrap(), "ours:from a file");
    assert_eq!(ok(&config, "other.example").await.unwrap(), "ours:inline");
    let request = user("request");
    let with = async |host| shown(&config, Some(&request), host).await.unwrap().unwrap();
    assert_eq!(with("r.example").await, "request:p");
    // What the request has is not a mirror's.
    assert_eq!(with("m.example").await, "ours:inline");
    config.credentials_for_mirrors = true;
    assert_eq!(shown(&config, Some(&request), "m.example").await.unwrap().unwrap(), "request:p");
    // An empty AuthConfig says nothing.
    assert_eq!(shown(&config, Some(&Auth::default()), "r.example").await.unwrap().unwrap(), "ours:from a file");
    let sources = keyring(&config, Some(request)).sources("r.example").unwrap();
    let sources: Vec<_> = sources.iter().map(ToString::to_string).collect();
    let docker = format!("{} (auths, \"r.example\")", config.docker_config.as_ref().unwrap().display());
    assert_eq!(sources, ["the request", "registry.credentials.\"r.example/team\"", &docker]);
    fs::remove_file(&file).unwrap();
    let error = shown(&config, None, "r.example").await.unwrap_err();
    assert!(error.starts_with("registry.credentials.\"r.example/team\": ") && error.contains("password"), "{error}");
}

#[tokio::test]
async fn dockers_entries_are_found_by_the_longest_path() {
    let directory = tempfile::tempdir().unwrap();
    let config = docker_config(
        directory.path(),
        r#"{"auths": {
            "https://r.example/v1/": {"auth": "aG9zdDpw"},
            "r.example/team": {"identitytoken": "token"},
            "r.example/team/other": {"auth": "b3RoZXI6cA=="},
            "helped.example": {}
        }, "HttpHeaders": {}}"#,
    );
    assert_eq!(ok(&config, "r.example").await.unwrap(), "identity token");
    assert_eq!(ok(&config, "helped.example").await, None);
    let missing = Config { docker_config: Some(directory.path().join("none.json")), ..Config::default() };
    assert_eq!(ok(&missing, "r.example").await, None);
}

#[tokio::test]
async fn a_broken_docker_configuration_is_told_without_its_content() {
    let directory = tempfile::tempdir().unwrap();
    for text in [
        r#"{"auths": {"r.example": {"auth": ["hunter2"]}}}"#,
        r#"{"auths": "hunter2"}"#,
        r#"{"auths": {"r.example": {"auth": "hunter2"}}}"#,
        r#"{"credsStore": "hunter2"#,
    ] {
        let error = shown(&docker_config(directory.path(), text), None, "r.example").await.unwrap_err();
        assert!(error.contains("config.json") && !error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn helpers_are_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    helper(
        path,
        "echo",
        r#"read server; echo "{\"ServerURL\": \"$server\", \"Username\": \"$1 $server\", \"Secret\": \"s\"}""#,
    );
    helper(path, "token", r#"cat > /dev/null; echo '{"Username": "<token>", "Secret": "refresh"}'"#);
    helper(path, "none", "echo 'credentials not found in native keychain'; exit 1");
    let absolute = path.join("docker-credential-echo").display().to_string();
    let config = docker_config(
        path,
        &format!(
            r#"{{"auths": {{"n.example": {{"auth": "aG9zdDpw"}}}}, "credsStore": "none", "credHelpers": {{
                "r.example": "echo", "t.example": "token", "https://index.docker.io/v1/": "{absolute}"}}}}"#
        ),
    );
    assert_eq!(ok(&config, "r.example").await.unwrap(), "get r.example:s");
    assert_eq!(ok(&config, "t.example").await.unwrap(), "identity refresh");
    assert_eq!(ok(&config, "registry-1.docker.io").await.unwrap(), "get https://index.docker.io/v1/:s");
    // That for all has nothing; the file has.
    assert_eq!(ok(&config, "n.example").await.unwrap(), "host:p");
    assert_eq!(ok(&config, "o.example").await, None);
}

#[tokio::test]
async fn helpers_have_nothing_of_the_daemons() {
    let directory = tempfile::tempdir().unwrap();
    let (environment, files) = (directory.path().join("environment"), directory.path().join("files"));
    let list = format!("cp /proc/self/environ {}; ls -l /proc/$$/fd > {}", environment.display(), files.display());
    helper(directory.path(), "look", &format!("{list}; echo '{{}}'"));
    // One that would be inherited: it is not closed on exec.
    let open = fs::File::open("/etc/passwd").unwrap();
    let inherited = rustix::io::dup(&open).unwrap();
    assert_eq!(ok(&docker_config(directory.path(), r#"{"credsStore": "look"}"#), "r.example").await, None);
    drop(inherited);
    let names = fs::read_to_string(environment).unwrap();
    let mut names: Vec<_> = names.split('\0').filter_map(|entry| Some(entry.split_once('=')?.0)).collect();
    // What the shell itself adds.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["HOME", "PATH"]);
    let files = fs::read_to_string(files).unwrap();
    let others =
        files.lines().filter(|line| line.contains("->") && !line.contains("pipe:") && !line.contains("/dev/null"));
    // The script itself, and the list.
    assert!(others.clone().all(|line| line.contains("docker-credential-look") || line.contains("/files")), "{files}");
}

#[tokio::test]
async fn bad_helpers_are_told_without_what_they_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    helper(path, "fails", "echo hunter2; echo hunter2 >&2; exit 3");
    helper(path, "babbles", "echo hunter2");
    helper(path, "floods", "yes hunter2");
    helper(path, "hangs", "echo hunter2; sleep 1000 & wait");
    helper(path, "closes", "exec >&-; sleep 1000");
    for (name, why) in [
        ("fails", "it failed"),
        ("babbles", "its answer is not"),
        ("floods", "more than 65536 bytes"),
        ("hangs", "in time"),
        ("closes", "in time"),
        ("missing", "no such program"),
        ("../fails", "not the name of a helper"),
        ("/bin/sh", "named docker-credential-*"),
    ] {
        let mut config = docker_config(path, &format!(r#"{{"credsStore": "{name}"}}"#));
        if ["hangs", "closes"].contains(&name) {
            config.credential_helper_timeout_seconds = 1;
        }
        let error = shown(&config, None, "r.example").await.unwrap_err();
        assert!(error.contains(why) && !error.contains("hunter2"), "{name}: {error}");
    }
    let nowhere = Config { credential_helper_dir: None, ..docker_config(path, r#"{"credsStore": "fails"}"#) };
    let error = shown(&nowhere, None, "r.example").await.unwrap_err();
    assert!(error.contains("registry.credential_helper_dir"), "{error}");
}
