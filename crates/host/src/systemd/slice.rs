//! The names of slices, and where in the hierarchy they are.

use std::fmt;

/// How the name of every slice ends.
const SUFFIX: &str = ".slice";

/// The longest name of a unit.
const MAX_NAME: usize = 255;

/// The name of a slice, `a-b.slice`: it is in `a.slice`, as systemd.slice(5) says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice(String);

impl Slice {
    /// Takes a name as systemd.unit(5) has them; the root is `-.slice`.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(name: &str) -> Result<Self, &'static str> {
        let Some(stem) = name.strip_suffix(SUFFIX) else { return Err("does not end with \".slice\"") };
        if name.len() > MAX_NAME {
            return Err("is longer than 255 bytes");
        }
        if !stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":_.\\-".contains(&byte)) {
            return Err("is not of letters, digits, ':', '-', '_', '.' and '\\'");
        }
        if stem != "-" && stem.split('-').any(str::is_empty) {
            return Err("has nothing before, after or between its dashes");
        }
        Ok(Self(name.to_owned()))
    }

    /// Whether a name is meant to be that of a slice.
    pub fn is_named_like_one(name: &str) -> bool {
        name.ends_with(SUFFIX)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The path of its cgroup below the root: `/a.slice/a-b.slice`.
    pub fn path(&self) -> String {
        let stem = self.stem();
        if stem.is_empty() {
            return "/".to_owned();
        }
        let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
        ends.filter_map(|end| stem.get(..end)).map(|above| format!("/{above}{SUFFIX}")).collect()
    }

    /// The slice of this name in it.
    ///
    /// # Errors
    /// As [`Slice::parse`].
    pub fn child(&self, name: &str) -> Result<Self, &'static str> {
        match self.stem() {
            "" => Self::parse(&format!("{name}{SUFFIX}")),
            stem => Self::parse(&format!("{stem}-{name}{SUFFIX}")),
        }
    }

    /// The name without what all have; empty for the root.
    fn stem(&self) -> &str {
        self.0.strip_suffix(SUFFIX).filter(|stem| *stem != "-").unwrap_or_default()
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slice_is_in_those_that_its_name_begins_with() {
        for (name, path) in [
            ("-.slice", "/"),
            ("kubepods.slice", "/kubepods.slice"),
            ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
            (
                "kubepods-burstable-pod1_2.slice",
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice",
            ),
        ] {
            assert_eq!(Slice::parse(name).unwrap().path(), path);
        }
    }

    #[test]
    fn what_is_no_slice_is_refused() {
        let long = format!("{}.slice", "a".repeat(250));
        for name in ["", ".slice", "a", "a.scope", "-a.slice", "a-.slice", "a--b.slice", "--.slice", "a/b.slice"] {
            assert!(Slice::parse(name).is_err(), "{name}");
        }
        for name in ["a@b.slice", "a b.slice", "ä.slice", "a.slice\n", "../a.slice", &long] {
            assert!(Slice::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn children() {
        let child = |of: &str| Slice::parse(of).unwrap().child("pod1").unwrap().0;
        assert_eq!(child("-.slice"), "pod1.slice");
        assert_eq!(child("corten.slice"), "corten-pod1.slice");
    }

    proptest! {
        #[test]
        fn a_path_goes_down_by_one_name_at_a_time(parts in proptest::collection::vec("[a-z0-9_]{1,8}", 1..6)) {
            let name = format!("{}.slice", parts.join("-"));
            let path = Slice::parse(&name).unwrap().path();
            let components: Vec<&str> = path.split('/').skip(1).collect();
            prop_assert_eq!(components.len(), parts.len());
            prop_assert_eq!(*components.last().unwrap(), &name);
            for pair in components.windows(2) {
                let (above, below) = (pair[0].strip_suffix(".slice").unwrap(), pair[1]);
                let inside = below.starts_with(&format!("{above}-"));
                prop_assert!(inside);
            }
        }

        #[test]
        fn any_name_is_taken_or_refused(name in ".{0,40}\\.slice") {
            if let Ok(slice) = Slice::parse(&name) {
                let path = slice.path();
                prop_assert!(!path.contains("//"));
                prop_assert!(path.starts_with('/'));
            }
        }
    }
}
