//! The privileges that layer storage needs, by name.

use std::fmt;

/// A privilege of a Windows token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Privilege {
    /// Read files whatever their descriptors say: every walk over a layer.
    Backup,
    /// Write files and descriptors whatever their descriptors say: import.
    Restore,
    /// Read and write the audit part of descriptors; needed for layers on some volumes, among them mounted virtual
    /// disks.
    Security,
    /// Attach disks and change volumes: scratch layers.
    ManageVolume,
}

impl Privilege {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Backup, Self::Restore, Self::Security, Self::ManageVolume];

    /// The name that Windows knows it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backup => "SeBackupPrivilege",
            Self::Restore => "SeRestorePrivilege",
            Self::Security => "SeSecurityPrivilege",
            Self::ManageVolume => "SeManageVolumePrivilege",
        }
    }

    /// What the local security policy calls it, under "User Rights Assignment" (`secpol.msc`).
    pub const fn user_right(self) -> &'static str {
        match self {
            Self::Backup => "Back up files and directories",
            Self::Restore => "Restore files and directories",
            Self::Security => "Manage auditing and security log",
            Self::ManageVolume => "Perform volume maintenance tasks",
        }
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
