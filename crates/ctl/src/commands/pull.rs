//! `corten pull`

use std::io::{self, IsTerminal};

use corten_cri::v1;

use crate::{
    args::{Credentials, Pull},
    error::Error,
    output,
    runtime::Runtime,
};

/// Pulls an image and prints what to call it.
pub async fn run(runtime: &Runtime, args: Pull) -> Result<(), Error> {
    let auth = credentials(&args.credentials)?;
    announce(&args.image);
    let reference = runtime.pull(&args.image, auth, None).await?;
    output::line(&reference)
}

/// Tells a person who waits what for.
pub(super) fn announce(image: &str) {
    if io::stderr().is_terminal() {
        output::note(&format!("pulling {image} ..."));
    }
}

/// The credentials given, taken apart.
///
/// # Errors
/// [`Error::Condition`] without the value, which is a secret, when there is no colon in it.
pub(super) fn credentials(given: &Credentials) -> Result<Option<v1::AuthConfig>, Error> {
    let Some(creds) = &given.creds else { return Ok(None) };
    let (username, password) =
        creds.split_once(':').ok_or_else(|| Error::condition("--creds", "must be USER:PASSWORD"))?;
    Ok(Some(v1::AuthConfig {
        username: username.to_owned(),
        password: password.to_owned(),
        ..v1::AuthConfig::default()
    }))
}
