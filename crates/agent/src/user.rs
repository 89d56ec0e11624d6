//! Who a program runs as: names of users and groups, looked up in the image's own `/etc/passwd` and `/etc/group`.
//!
//! The files come from the merged view of the image, never from the host. Lines that cannot be read are passed over, as
//! every C library does.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The most bytes of `passwd` or `group` that are read.
pub const MAX_FILE: u64 = 4 << 20;

/// The largest number that is taken for a user or group; the one above means "none" to the kernel.
const MAX_ID: u32 = u32::MAX - 1;

/// Who a program runs as, in the numbers of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The user's home directory; `/` for one who is not in `passwd`.
    pub home: String,
}

/// A line of `passwd(5)`.
struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// A line of `group(5)`.
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn passwd(text: &str) -> impl Iterator<Item = Passwd<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or_default();
        Some(Passwd { name, uid: number(uid)?, gid: number(gid)?, home })
    })
}

fn group(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Group { name, gid: number(gid)?, members: fields.next().unwrap_or_default() })
    })
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= MAX_ID && text.bytes().all(|b| b.is_ascii_digit()))
}

/// Finds who `user` is: `name`, `uid`, `name:group` and so on; empty stands for root. `passwd_file` and `group_file` are the
/// contents of the image's files, empty where there are none.
///
/// A number needs no entry; its group is then 0. Supplementary groups are those that name the user, unless a group was given.
///
/// # Errors
/// When a name is in neither file.
pub fn resolve(user: &str, passwd_file: &str, group_file: &str) -> Result<Identity> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let found = passwd(passwd_file)
        .find(|entry| entry.name == user)
        .or_else(|| passwd(passwd_file).find(|entry| number(user) == Some(entry.uid)));
    let uid = match (&found, number(user)) {
        (Some(entry), _) => entry.uid,
        (None, Some(uid)) => uid,
        (None, None) => {
            return Err(Error::NoUser { kind: "user", name: user.to_owned(), file: "/etc/passwd" });
        }
    };
    let (gid, groups) =
        match wanted_group {
            Some(name) => {
                let entry = group(group_file).find(|entry| entry.name == name);
                let gid = entry.map(|entry| entry.gid).or_else(|| number(name)).ok_or_else(|| {
                    Error::NoUser { kind: "group", name: name.to_owned(), file: "/etc/group" }
                })?;
                (gid, Vec::new())
            }
            None => {
                let gid = found.as_ref().map_or(0, |entry| entry.gid);
                let mut groups: Vec<u32> = match &found {
                    Some(user) => group(group_file)
                        .filter(|entry| entry.members.split(',').any(|member| member == user.name))
                        .map(|entry| entry.gid)
                        .filter(|other| *other != gid)
                        .collect(),
                    None => Vec::new(),
                };
                groups.sort_unstable();
                groups.dedup();
                (gid, groups)
            }
        };
    let home = found.map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
    Ok(Identity { uid, gid, groups, home })
}
