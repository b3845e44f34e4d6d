//! The keys of credentials: a host with an optional port, and optionally a scheme and a path (Docker's `auths`; the kubelet's
//! keyring). `*` in a part of the host's name stands for anything in that part. A path fits whole components of the repository.

/// How well a key fits: the longer path first, then the fewer stars.
type Fit = (usize, std::cmp::Reverse<usize>);

/// The key that fits a repository at a host best.
pub(super) fn best<'a>(keys: impl Iterator<Item = &'a str>, host: &str, repository: &str) -> Option<&'a str> {
    keys.filter_map(|key| Some((fit(key, host, repository)?, key))).max().map(|(_, key)| key)
}

fn fit(key: &str, host: &str, repository: &str) -> Option<Fit> {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let (pattern, path) = rest.split_once('/').unwrap_or((rest, ""));
    let hub = super::auth::is_docker_hub(pattern) && super::auth::is_docker_hub(host);
    if !hub && !host_fits(pattern, host) {
        return None;
    }
    // Docker's older keys have the version of an API there.
    let versioned = |version: &str| path.strip_prefix(version).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let path = versioned("v1").or_else(|| versioned("v2")).unwrap_or(path).trim_matches('/');
    let below = repository.strip_prefix(path)?;
    let whole = path.is_empty() || below.is_empty() || below.starts_with('/');
    whole.then(|| (path.len(), std::cmp::Reverse(pattern.matches('*').count())))
}

fn host_fits(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    let (mut patterns, mut parts) = (pattern.split('.'), host.split('.'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if part_fits(pattern, part) => {}
            _ => return false,
        }
    }
}

/// A part with its port, if it is the last.
fn part_fits(pattern: &str, part: &str) -> bool {
    let port = |text: &str| text.split_once(':').map(|(_, port)| port.to_owned());
    if !pattern.contains('*') {
        return pattern == part;
    }
    if port(pattern) != port(part) {
        return false;
    }
    let name = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
    let (pattern, part) = (name(pattern), name(part));
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| part.strip_prefix(first)) else { return false };
    let Some(last) = pieces.next_back() else { return false };
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_fit_hosts_and_paths() {
        for (key, host, repository, fits) in [
            ("r.example", "r.example", "a", true),
            ("R.example", "r.Example", "a", true),
            ("https://r.example/", "r.example", "a", true),
            ("https://r.example/v1/", "r.example", "a", true),
            ("r.example/v2/a", "r.example", "a/b", true),
            ("r.example", "r.example:5000", "a", false),
            ("r.example:5000", "r.example:5000", "a", true),
            ("r.example:5000", "r.example", "a", false),
            ("r.example/team", "r.example", "team/app", true),
            ("r.example/team/", "r.example", "team/app", true),
            ("r.example/team", "r.example", "teamwork/app", false),
            ("r.example/team/app", "r.example", "team", false),
            ("*.example", "r.example", "a", true),
            ("*.example", "a.r.example", "a", false),
            ("*.example", "example", "a", false),
            ("r*.e*le:5000", "r1.example:5000", "a", true),
            ("r.exam*:5000", "r.example:5001", "a", false),
            ("a*b*c.example", "axxbyyc.example", "a", true),
            ("a*b*c.example", "axxc.example", "a", false),
            ("a*a.example", "a.example", "a", false),
            ("*", "r.example", "a", false),
            ("https://index.docker.io/v1/", "registry-1.docker.io", "library/busybox", true),
            ("docker.io", "registry-1.docker.io", "library/busybox", true),
            ("docker.io/team", "registry-1.docker.io", "library/busybox", false),
            ("docker.io", "docker.io.example", "a", false),
            ("", "r.example", "a", false),
        ] {
            assert_eq!(fit(key, host, repository).is_some(), fits, "{key} {host} {repository}");
        }
    }

    #[test]
    fn the_longest_path_is_best_then_the_fewest_stars() {
        let keys = ["*.example", "r.example", "r.example/team", "*.example/team/app", "other.example"];
        let best = |repository| best(keys.into_iter(), "r.example", repository).unwrap();
        assert_eq!(best("a"), "r.example");
        assert_eq!(best("team/other"), "r.example/team");
        assert_eq!(best("team/app"), "*.example/team/app");
    }

    proptest! {
        #[test]
        fn any_key_is_survived(key in "\\PC{0,30}|[a*./:]{0,20}", host in "[a-c.:]{0,20}") {
            let _ = fit(&key, &host, "a/b");
        }
    }
}
