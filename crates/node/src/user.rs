//! Whom a container runs as: ids and names resolved against the image's `/etc/passwd` and `/etc/group` (passwd(5),
//! group(5)).

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use crate::check;
use crate::container::config::{RunAs, Security};
use crate::error::{Error, Result};
use crate::security::SupplementalGroupsPolicy;

/// The most supplemental groups that a process can have (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65536;

/// Whom a container runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedUser {
    /// The user's id.
    pub uid: u32,
    /// The primary group's id.
    pub gid: u32,
    /// All groups, the primary one first, each once.
    pub additional_gids: Vec<u32>,
    /// The user's name, if the image knows it.
    pub username: Option<String>,
    /// The user's home directory, if the image knows it.
    pub home: Option<String>,
}

/// Resolves the request's user, or else the image's (`User` of its config: `user[:group]`, names or ids, empty for
/// root), against the image's files, which may be missing.
///
/// # Errors
/// [`Error::Container`] if a name has no entry, or an id is none.
pub fn resolve(
    security: &Security,
    image: &ImageConfiguration,
    passwd: Option<&[u8]>,
    group: Option<&[u8]>,
) -> Result<ResolvedUser> {
    let image_user = image.config().as_ref().and_then(|config| config.user().as_deref()).unwrap_or_default();
    let wanted = Wanted::new(security, image_user)?;
    let account = wanted.user.account(passwd)?;
    let (uid, known_gid) = match (&wanted.user, &account) {
        (_, Some(account)) => (account.uid, account.gid),
        (Who::Id(uid), None) => (*uid, 0),
        (Who::Name(name), None) => return Err(not_found("user", name, "passwd")),
    };
    let gid = match &wanted.group {
        None => known_gid,
        Some(Who::Id(gid)) => *gid,
        Some(Who::Name(name)) => group_id(name, group)?,
    };
    let mut additional_gids = vec![gid];
    if let (SupplementalGroupsPolicy::Merge, Some(account)) = (security.supplemental_groups_policy, &account) {
        additional_gids.extend(groups(group).filter(|group| group.has(account.name)).map(|group| group.gid));
    }
    additional_gids.extend(&security.supplemental_groups);
    let (username, home) = account.map(|account| (account.name.to_owned(), account.home.to_owned())).unzip();
    let home = home.filter(|home| !home.is_empty());
    Ok(ResolvedUser { uid, gid, additional_gids: each_once(additional_gids)?, username, home })
}

fn each_once(gids: Vec<u32>) -> Result<Vec<u32>> {
    let mut seen = std::collections::HashSet::new();
    let gids: Vec<u32> = gids.into_iter().filter(|gid| seen.insert(*gid)).collect();
    match gids.len() > MAX_GROUPS {
        true => Err(Error::Container(format!("the user is in {} groups, more than {MAX_GROUPS}", gids.len()))),
        false => Ok(gids),
    }
}

/// A user and group as named.
struct Wanted<'a> {
    user: Who<'a>,
    group: Option<Who<'a>>,
}

enum Who<'a> {
    Id(u32),
    Name(&'a str),
}

impl<'a> Wanted<'a> {
    fn new(security: &'a Security, image_user: &'a str) -> Result<Self> {
        let group = security.run_as_group.map(Who::Id);
        match &security.run_as {
            Some(RunAs::Uid(uid)) => Ok(Self { user: Who::Id(*uid), group }),
            Some(RunAs::Name(name)) => Ok(Self { user: Who::parse("user", name)?, group }),
            None if group.is_some() => Err(Error::invalid(
                "config.linux.security_context.run_as_group",
                security.run_as_group.unwrap_or_default(),
                "must not be set without run_as_user or run_as_username",
            )),
            None => Self::of_image(image_user),
        }
    }

    fn of_image(user: &'a str) -> Result<Self> {
        let (user, group) = match user.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (user, None),
        };
        let user = if user.is_empty() { Who::Id(0) } else { Who::parse("user", user)? };
        let group = group.filter(|group| !group.is_empty()).map(|group| Who::parse("group", group)).transpose()?;
        Ok(Self { user, group })
    }
}

impl<'a> Who<'a> {
    /// Digits are an id, all else a name.
    fn parse(kind: &str, text: &'a str) -> Result<Self> {
        if text.contains(':') || text.contains(char::is_control) {
            return Err(Error::Container(format!("{:?} is not the name of a {kind}", check::shown(text))));
        }
        let number = text.strip_prefix(['-', '+']).unwrap_or(text);
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Name(text));
        }
        match text.parse() {
            Ok(id) if id != u32::MAX => Ok(Self::Id(id)),
            _ => Err(Error::Container(format!(
                "{:?} is not the id of a {kind}: must be from 0 to {}",
                check::shown(text),
                u32::MAX - 1
            ))),
        }
    }

    fn account(&self, passwd: Option<&'a [u8]>) -> Result<Option<Account<'a>>> {
        let found = accounts(passwd).find(|account| match self {
            Self::Id(uid) => account.uid == *uid,
            Self::Name(name) => account.name == *name,
        });
        match (self, found) {
            (Self::Name(name), None) => Err(not_found("user", name, "passwd")),
            (_, found) => Ok(found),
        }
    }
}

fn not_found(kind: &str, name: &str, file: &str) -> Error {
    Error::Container(format!("unable to find {kind} {}: no matching entries in {file} file", check::shown(name)))
}

fn group_id(name: &str, group: Option<&[u8]>) -> Result<u32> {
    groups(group)
        .find(|group| group.name == name)
        .map(|group| group.gid)
        .ok_or_else(|| not_found("group", name, "group"))
}

/// A line of `/etc/passwd`.
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// The lines that are well-formed.
fn accounts(passwd: Option<&[u8]>) -> impl Iterator<Item = Account<'_>> {
    lines(passwd).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        Some(Account { name, uid, gid, home })
    })
}

/// A line of `/etc/group`.
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl Group<'_> {
    fn has(&self, user: &str) -> bool {
        self.members.split(',').any(|member| member.trim() == user)
    }
}

/// The lines that are well-formed.
fn groups(group: Option<&[u8]>) -> impl Iterator<Item = Group<'_>> {
    lines(group).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = id(fields.nth(1)?)?;
        let members = fields.next().unwrap_or_default();
        Some(Group { name, gid, members })
    })
}

fn id(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten().filter(|id| *id != u32::MAX)
}

/// Lines of text without comments, NUL bytes and what is not UTF-8.
fn lines(file: Option<&[u8]>) -> impl Iterator<Item = &str> {
    file.unwrap_or_default()
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#') && !line.contains('\0'))
}

#[cfg(test)]
mod tests;
