//! `corten pull`

mod bars;
mod layers;

use std::io::{self, IsTerminal};

use corten_cri::{node, v1};
use tonic::Streaming;

use self::{bars::Bars, layers::Layers};
use crate::{
    args::{Credentials, Pull},
    error::Error,
    output,
    runtime::Runtime,
    table::size,
};

/// Pulls an image and prints what to call it. How far it is goes to standard error.
pub async fn run(runtime: &Runtime, args: Pull) -> Result<(), Error> {
    let auth = credentials(&args.credentials)?;
    if let Some(messages) = runtime.watch_pull(&args.image, auth.clone()).await? {
        let mut show = Show::choose(args.quiet);
        return output::line(&watch(messages, &args.image, &mut show).await?);
    }
    if !args.quiet {
        announce(&args.image);
    }
    let reference = runtime.pull(&args.image, auth, None).await?;
    output::line(&reference)
}

/// How to show that something goes on.
enum Show {
    Nothing,
    /// A line for each layer that is finished.
    Lines,
    Bars(Bars),
}

impl Show {
    fn choose(quiet: bool) -> Self {
        match (quiet, io::stderr().is_terminal()) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Bars(Bars::default()),
            (false, false) => Self::Lines,
        }
    }

    fn changed(&mut self, layers: &Layers, news: &[node::LayerProgress]) {
        match self {
            Self::Nothing => {}
            Self::Lines => news.iter().filter_map(finished).for_each(|line| output::note(&line)),
            Self::Bars(bars) => bars.draw(layers),
        }
    }
}

/// Follows a pull to its end: what to call the image.
async fn watch(mut messages: Streaming<node::PullResponse>, image: &str, show: &mut Show) -> Result<String, Error> {
    let failed = |status| Error::call(format!("pull {image}"), status);
    let mut layers = Layers::default();
    while let Some(message) = messages.message().await.map_err(failed)? {
        let news = layers.update(message.layers);
        if !news.is_empty() {
            show.changed(&layers, &news);
        }
        if !message.image_ref.is_empty() {
            return Ok(message.image_ref);
        }
    }
    Err(Error::condition(format!("pull {image}"), "the runtime did not say how it ended"))
}

/// What to say of a layer that has just been finished.
fn finished(layer: &node::LayerProgress) -> Option<String> {
    let (digest, bytes) = (layers::short(&layer.digest), size(layer.total));
    match layer.phase() {
        node::LayerPhase::Done => Some(format!("{digest}: pulled, {bytes}")),
        node::LayerPhase::AlreadyThere => Some(format!("{digest}: already there, {bytes}")),
        _ => None,
    }
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
/// [`Error::Condition`] without the value, which is a secret, when there is no user in it.
pub(super) fn credentials(given: &Credentials) -> Result<Option<v1::AuthConfig>, Error> {
    if let Some(auth) = &given.auth {
        return Ok(Some(v1::AuthConfig { auth: auth.clone(), ..v1::AuthConfig::default() }));
    }
    let Some(creds) = &given.creds else { return Ok(None) };
    let (username, password) = creds.split_once(':').unwrap_or((creds, ""));
    if username.is_empty() {
        return Err(Error::condition("--creds", "must be USER or USER:PASSWORD"));
    }
    Ok(Some(v1::AuthConfig {
        username: username.to_owned(),
        password: password.to_owned(),
        ..v1::AuthConfig::default()
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn given(creds: Option<&str>, auth: Option<&str>) -> Credentials {
        Credentials { creds: creds.map(str::to_owned), auth: auth.map(str::to_owned) }
    }

    #[test]
    fn credentials_are_a_user_with_or_without_a_password_or_ready_made() {
        let of = |creds| {
            let config = credentials(&given(Some(creds), None)).unwrap().unwrap();
            (config.username, config.password)
        };
        assert_eq!(of("a:b:c"), ("a".to_owned(), "b:c".to_owned()));
        assert_eq!(of("a"), ("a".to_owned(), String::new()));
        assert_eq!(credentials(&given(None, Some("YTpi"))).unwrap().unwrap().auth, "YTpi");
        assert_eq!(credentials(&given(None, None)).unwrap(), None);
        let error = credentials(&given(Some(":secret"), None)).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
