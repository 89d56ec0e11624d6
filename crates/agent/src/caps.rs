//! Linux capabilities: their names, podman's default set, and what `--cap-add` and `--cap-drop` make of it.

use std::collections::BTreeSet;

use crate::error::{Error, Result};

/// All capabilities, in the order of their numbers (`include/uapi/linux/capability.h`).
pub const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has when nothing is said, as in podman 4.
pub const DEFAULT: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The full name of a capability, from `net_admin`, `NET_ADMIN` or `CAP_NET_ADMIN`.
fn name(text: &str) -> Result<&'static str> {
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    ALL.into_iter().find(|known| known[4..] == *bare).ok_or_else(|| Error::Invalid {
        what: "a capability",
        value: text.to_owned(),
        expected: "the name of a Linux capability, as capabilities(7) lists them".to_owned(),
    })
}

/// The set that remains of the default one. `ALL` may stand for every capability in both lists; what is added by name wins
/// over dropping all, what is dropped by name wins over adding all.
///
/// # Errors
/// When a name is unknown, or in both lists.
pub fn resolve(add: &[String], drop: &[String]) -> Result<Vec<&'static str>> {
    let is_all = |text: &String| text.eq_ignore_ascii_case("all");
    let names = |list: &[String]| -> Result<BTreeSet<&'static str>> {
        list.iter().filter(|text| !is_all(text)).map(|text| name(text)).collect()
    };
    let (added, dropped) = (names(add)?, names(drop)?);
    if let Some(both) = added.intersection(&dropped).next() {
        return Err(Error::Invalid {
            what: "a capability",
            value: (*both).to_owned(),
            expected: "either added or dropped".to_owned(),
        });
    }
    let mut set: BTreeSet<&'static str> = match (add.iter().any(is_all), drop.iter().any(is_all)) {
        (true, true) => {
            return Err(Error::Invalid {
                what: "a capability",
                value: "all".to_owned(),
                expected: "either added or dropped".to_owned(),
            });
        }
        (true, false) => ALL.into(),
        (false, true) => BTreeSet::new(),
        (false, false) => DEFAULT.into(),
    };
    set.extend(added);
    set.retain(|name| !dropped.contains(name));
    Ok(ALL.into_iter().filter(|name| set.contains(name)).collect())
}
