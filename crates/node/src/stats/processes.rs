//! What the processes of a container have open, and may.

use std::fs;

/// Of how many processes the descriptors are counted: in a container of more they are not.
const MAX_PROCESSES: usize = 512;

/// How many descriptors of a container are counted: where there are more, the number is not told.
const MAX_DESCRIPTORS: u64 = 16_384;

/// The processes of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processes {
    /// How many.
    pub count: u64,
    /// What they have open; `None` if that is too much to be counted.
    pub open: Option<Open>,
    /// The soft limits of the first: a name and a value, `u64::MAX` for unlimited.
    pub limits: Vec<(String, u64)>,
}

/// Open descriptors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Open {
    /// All.
    pub descriptors: u64,
    /// Of those, sockets.
    pub sockets: u64,
}

impl Processes {
    /// Looks at processes of which `init` is the first. One that has ended counts as having nothing open.
    pub fn read(pids: &[i32], init: i32) -> Self {
        let limits = fs::read_to_string(format!("/proc/{init}/limits")).unwrap_or_default();
        Self { count: u64::try_from(pids.len()).unwrap_or(u64::MAX), open: open(pids), limits: parse_limits(&limits) }
    }
}

fn open(pids: &[i32]) -> Option<Open> {
    if pids.len() > MAX_PROCESSES {
        return None;
    }
    let mut open = Open::default();
    for pid in pids {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for entry in entries.flatten() {
            open.descriptors += 1;
            if open.descriptors > MAX_DESCRIPTORS {
                return None;
            }
            let target = fs::read_link(entry.path()).unwrap_or_default();
            open.sockets += u64::from(target.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        }
    }
    Some(open)
}

/// `/proc/<pid>/limits`: a name in 25 columns, then the soft and the hard limit, then a unit. The names are cAdvisor's:
/// `Max open files` is `max_open_files`.
fn parse_limits(text: &str) -> Vec<(String, u64)> {
    let line = |line: &str| {
        let (name, values) = line.split_at_checked(25)?;
        let soft = match values.split_ascii_whitespace().next()? {
            "unlimited" => u64::MAX,
            number => number.parse().ok()?,
        };
        Some((name.trim_end().to_ascii_lowercase().replace(' ', "_"), soft))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_are_read_by_name() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max cpu time              unlimited            unlimited            seconds   \n\
                    Max open files            1024                 524288               files     \n\
                    Max nice priority         0                    0                    \n";
        let expected = [("max_cpu_time", u64::MAX), ("max_open_files", 1024), ("max_nice_priority", 0)];
        assert_eq!(parse_limits(text), expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn open_descriptors_and_sockets_are_counted() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = Processes::read(&[own], own);
        let sockets: Vec<_> = (0..50).map(|_| UnixStream::pair().unwrap()).collect();
        let (before, after) = (before.open.unwrap(), Processes::read(&[own], own).open.unwrap());
        // Other tests of this process open and close some meanwhile.
        assert!(after.sockets >= before.sockets + 80 && after.descriptors >= before.descriptors + 80, "{after:?}");
        drop(sockets);
        assert_eq!(Processes::read(&vec![own; MAX_PROCESSES + 1], own).open, None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(?s).{0,200}") {
            parse_limits(&text);
        }
    }
}
