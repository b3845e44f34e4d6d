//! Extended headers (POSIX pax, "pax Extended Header"): records of `<length> <key>=<value>\n`, split by their lengths and
//! by nothing else, because a value may hold anything, also newlines and what looks like a record.

use rustix::fs::Timespec;

const XATTR: &str = "SCHILY.xattr.";
/// The most digits of a length: more than any header has bytes.
const DIGITS: usize = 20;

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub key: &'a str,
    pub value: &'a [u8],
}

/// The records of an extended header. After an error there are no more.
pub(super) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub fn new(header: &'a [u8]) -> Self {
        Self { rest: header }
    }

    fn split(&mut self) -> Result<Record<'a>, &'static str> {
        const MALFORMED: &str = "a malformed extended header";
        let space = self.rest.iter().take(DIGITS + 1).position(|&byte| byte == b' ').ok_or(MALFORMED)?;
        let length = number(self.rest.get(..space).unwrap_or_default()).ok_or(MALFORMED)?;
        let length = usize::try_from(length).map_err(|_| MALFORMED)?;
        let (record, rest) = self.rest.split_at_checked(length).ok_or(MALFORMED)?;
        let record = record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n")).ok_or(MALFORMED)?;
        let equals = record.iter().position(|&byte| byte == b'=').filter(|&equals| equals > 0).ok_or(MALFORMED)?;
        let (key, value) = record.split_at(equals);
        let key = str::from_utf8(key).map_err(|_| "an extended header whose name is not text")?;
        self.rest = rest;
        Ok(Record { key, value: value.strip_prefix(b"=").unwrap_or_default() })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.split();
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}

/// Appends a record. A key with a `=` cannot be told from a shorter one.
pub(super) fn append(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let digits = |number: usize| number.to_string().len();
    let rest = key.len() + value.len() + 3;
    let mut length = rest + digits(rest);
    length = rest + digits(length);
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// What an extended header says of its entry. Of several records with one key the last counts; an empty one takes back
/// those before it.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Timespec>,
    pub xattrs: Vec<(String, Vec<u8>)>,
}

impl Extended {
    /// Reads an extended header; an error says what is wrong with it.
    pub fn parse(header: &[u8]) -> Result<Self, String> {
        let mut extended = Self::default();
        for record in Records::new(header) {
            extended.take(record?)?;
        }
        Ok(extended)
    }

    fn take(&mut self, Record { key, value }: Record<'_>) -> Result<(), String> {
        match key {
            "path" => self.path = text(value),
            "linkpath" => self.link = text(value),
            "size" => self.size = optional(key, value, number)?,
            "uid" => self.uid = optional(key, value, number)?,
            "gid" => self.gid = optional(key, value, number)?,
            "mtime" => self.mtime = optional(key, value, time)?,
            _ if key.starts_with("GNU.sparse.") => {
                return Err("sparse files in the PAX form are not supported".to_owned());
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.extend(xattr(name, value)?);
                }
            }
        }
        Ok(())
    }
}

fn text(value: &[u8]) -> Option<Vec<u8>> {
    Some(value.to_vec()).filter(|value| !value.is_empty())
}

fn optional<T>(key: &str, value: &[u8], parse: impl FnOnce(&[u8]) -> Option<T>) -> Result<Option<T>, String> {
    match value {
        [] => Ok(None),
        value => parse(value).map(Some).ok_or_else(|| match key {
            "mtime" => "mtime is not a time".to_owned(),
            key => format!("{key} is not a number"),
        }),
    }
}

/// Decimal digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// An extended attribute; those with which overlayfs itself talks are the node's and not the image's.
fn xattr(name: &str, value: &[u8]) -> Result<Option<(String, Vec<u8>)>, String> {
    if name.is_empty() || name.len() > 255 || name.contains('\0') {
        return Err("an extended attribute without a usable name".to_owned());
    }
    if name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.") {
        return Ok(None);
    }
    Ok(Some((name.to_owned(), value.to_owned())))
}

/// Seconds with an optional fraction (POSIX pax, "mtime").
fn time(value: &[u8]) -> Option<Timespec> {
    let text = str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanoseconds: i64 = digits.parse().ok().filter(|nanoseconds| *nanoseconds >= 0)?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some(Timespec { tv_sec: seconds.checked_sub(1)?, tv_nsec: 1_000_000_000 - nanoseconds });
    }
    Some(Timespec { tv_sec: seconds, tv_nsec: nanoseconds })
}

#[cfg(test)]
mod tests;
