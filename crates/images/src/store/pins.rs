//! Which images garbage collection must leave alone.

/// Patterns of full image names, as they are shown (`docker.io/library/busybox:1.36`, or with `@` and a digest): `*` stands
/// for any text, `?` for any character.
#[derive(Debug, Clone, Default)]
pub struct Pins {
    patterns: Vec<Vec<char>>,
}

impl Pins {
    /// An image of a name that any of these patterns names is pinned.
    pub fn new(patterns: &[String]) -> Self {
        Self { patterns: patterns.iter().map(|pattern| pattern.chars().collect()).collect() }
    }

    /// Whether a name is named.
    pub fn has(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        self.patterns.iter().any(|pattern| fits(pattern, &name))
    }
}

/// In time of the product of both lengths: only the last `*` is ever tried again.
fn fits(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while place < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || name.get(place) == Some(wanted) => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((after, taken)) = star else { return false };
                star = Some((after, taken + 1));
                (at, place) = (after + 1, taken + 1);
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|left| *left == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_what_they_should() {
        for (pattern, name, named) in [
            ("registry.k8s.io/pause:*", "registry.k8s.io/pause:3.10", true),
            ("registry.k8s.io/pause:*", "registry.k8s.io/pause@sha256:00", false),
            ("registry.k8s.io/pause*", "registry.k8s.io/pause@sha256:00", true),
            ("registry.k8s.io/pause:*", "xregistry.k8s.io/pause:3", false),
            ("*/pause:3.?", "a/b/pause:3.9", true),
            ("*/pause:3.?", "a/b/pause:3.10", false),
            ("*a*b*c", "xaxbxbxc", true),
            ("*a*b*c", "xaxbxcx", false),
            ("*", "", true),
            ("", "a", false),
            ("a", "a", true),
        ] {
            assert_eq!(Pins::new(&[pattern.to_owned()]).has(name), named, "{pattern} {name}");
        }
        assert!(!Pins::default().has("a"));
    }
}
