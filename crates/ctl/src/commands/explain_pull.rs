//! `corten explain-pull`

use std::fmt::{self, Write};

use corten_cri::node::{ExplainPullResponse, RegistryHost};

use crate::{
    args::ExplainPull,
    error::Error,
    output::{self, Format},
    runtime::Runtime,
    table::printable,
};

/// Prints which hosts would be asked.
pub async fn run(runtime: &Runtime, args: ExplainPull) -> Result<(), Error> {
    let answer = runtime.explain_pull(&args.image, args.ask).await?;
    match args.output {
        Format::Table => output::print(&text(&answer).map_err(|error| Error::Show(error.to_string()))?),
        format => output::value(&output::in_package("corten.v1", "ExplainPullResponse", &answer)?, format),
    }
}

fn text(answer: &ExplainPullResponse) -> Result<String, fmt::Error> {
    let mut text = String::new();
    writeln!(text, "image      {}", printable(&answer.reference))?;
    writeln!(text, "registry   {}", printable(&answer.registry))?;
    let used = answer.places.iter().find(|place| place.used);
    let configured = used.map_or("nothing says anything about it: the registry itself is asked", |place| &place.name);
    writeln!(text, "configured {}", printable(configured))?;
    for place in answer.places.iter().take_while(|place| !place.used) {
        writeln!(text, "           (not there: {})", printable(&place.name))?;
    }
    for (number, host) in (1..).zip(&answer.hosts) {
        writeln!(text, "\n{number}. {}{}", printable(&host.url), if host.mirror { " (mirror)" } else { "" })?;
        for (what, value) in lines(host) {
            writeln!(text, "   {what:12} {}", printable(&value))?;
        }
    }
    Ok(text)
}

/// What there is to say about a host.
fn lines(host: &RegistryHost) -> Vec<(&'static str, String)> {
    let url = |url: &str| if url.is_empty() { "not asked".to_owned() } else { format!("GET {url}") };
    let mut lines = vec![
        ("said by", host.said_by.clone()),
        ("capabilities", host.capabilities.join(", ")),
        ("manifest", url(&host.manifest_url)),
        ("blobs", url(&host.blob_url)),
    ];
    let mut tls: Vec<String> = host.authorities.iter().map(|path| format!("authorities in {path}")).collect();
    tls.extend(host.client_certificates.iter().map(|files| match files.key.as_str() {
        "" => format!("client certificate {}", files.certificate),
        key => format!("client certificate {} with {key}", files.certificate),
    }));
    tls.extend(host.skip_verify.then(|| "any certificate is taken (skip_verify)".to_owned()));
    tls.extend(host.tls_first.then(|| "tried before plain HTTP".to_owned()));
    lines.extend(tls.into_iter().map(|line| ("TLS", line)));
    if !host.proxy.is_empty() {
        lines.push(("proxy", host.proxy.clone()));
    }
    if !host.headers.is_empty() {
        lines.push(("headers", host.headers.join(", ")));
    }
    if host.dial_timeout_millis != 0 {
        lines.push(("dial timeout", format!("{} ms", host.dial_timeout_millis)));
    }
    let none = || vec!["only what the request has".to_owned()];
    let credentials = if host.credentials.is_empty() { none() } else { host.credentials.clone() };
    lines.extend(credentials.into_iter().map(|source| ("credentials", source)));
    lines.extend(host.problems.iter().map(|problem| ("PROBLEM", problem.clone())));
    lines.extend(host.answer.as_ref().map(|answer| ("answer", format!("{} ({} ms)", answer.text, answer.millis))));
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use corten_cri::node::{CertificateFiles, ConfigurationPlace, RegistryAnswer};

    use super::*;

    #[test]
    fn everything_is_said_line_by_line() {
        let place = |name: &str, used| ConfigurationPlace { name: name.into(), used };
        let mirror = RegistryHost {
            url: "https://m.example/v2".into(),
            mirror: true,
            capabilities: vec!["pull".into()],
            blob_url: "https://m.example/v2/library/a/blobs/sha256:...?ns=docker.io".into(),
            authorities: vec!["/ca.pem".into()],
            client_certificates: vec![CertificateFiles { certificate: "/c.pem".into(), key: "/k.pem".into() }],
            skip_verify: true,
            headers: vec!["x-token".into()],
            said_by: "/certs/docker.io/hosts.toml:3".into(),
            answer: Some(RegistryAnswer { found: false, text: "404\x1b[31m".into(), millis: 12 }),
            ..RegistryHost::default()
        };
        let answer = ExplainPullResponse {
            reference: "docker.io/library/a:latest".into(),
            registry: "docker.io".into(),
            repository: "library/a".into(),
            places: vec![
                place("registry.hosts.\"docker.io\"", false),
                place("/certs/docker.io", true),
                place("/x", false),
            ],
            hosts: vec![mirror],
        };
        let want = "\
image      docker.io/library/a:latest
registry   docker.io
configured /certs/docker.io
           (not there: registry.hosts.\"docker.io\")

1. https://m.example/v2 (mirror)
   said by      /certs/docker.io/hosts.toml:3
   capabilities pull
   manifest     not asked
   blobs        GET https://m.example/v2/library/a/blobs/sha256:...?ns=docker.io
   TLS          authorities in /ca.pem
   TLS          client certificate /c.pem with /k.pem
   TLS          any certificate is taken (skip_verify)
   headers      x-token
   credentials  only what the request has
   answer       404\u{fffd}[31m (12 ms)
";
        assert_eq!(text(&answer).unwrap(), want);
    }
}
