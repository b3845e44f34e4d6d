//! Files of several names: the first has the content, the others are links to it.

use std::{collections::HashMap, io};

use rustix::fs::Stat;

/// Bytes of all names that are remembered.
const BYTES: usize = 64 << 20;

/// The files whose other names are still to come.
#[derive(Default)]
pub(super) struct HardLinks {
    first: HashMap<u64, Seen>,
    bytes: usize,
}

struct Seen {
    name: Vec<u8>,
    /// Names still to come.
    left: u64,
}

impl HardLinks {
    /// The name that a file was packed by, if it was; else it is by this one.
    pub fn first(&mut self, stat: &Stat, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if stat.st_nlink < 2 {
            return Ok(None);
        }
        if let Some(seen) = self.first.get_mut(&stat.st_ino) {
            seen.left = seen.left.saturating_sub(1);
            if seen.left > 0 {
                return Ok(Some(seen.name.clone()));
            }
            let name = self.first.remove(&stat.st_ino).map(|seen| seen.name);
            self.bytes = self.bytes.saturating_sub(name.as_ref().map_or(0, Vec::len));
            return Ok(name);
        }
        self.bytes += name.len();
        if self.bytes > BYTES {
            return Err(io::Error::other(format!("names of hard links of more than {BYTES} bytes")));
        }
        self.first.insert(stat.st_ino, Seen { name: name.to_owned(), left: (stat.st_nlink - 1) as _ });
        Ok(None)
    }
}
