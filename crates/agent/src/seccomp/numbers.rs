//! Numbers of system calls, and the architectures that a filter can be for.

use std::str::FromStr as _;

/// An architecture whose calls a kernel of this machine takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arch {
    X86_64,
    X86,
    /// 32-bit pointers with the numbers of x86-64, marked by a bit. Kernels are built without it, and no table has its few
    /// own numbers: its calls always fail.
    X32,
    Aarch64,
    Arm,
}

impl Arch {
    /// From libseccomp's name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "SCMP_ARCH_X86_64" => Arch::X86_64,
            "SCMP_ARCH_X86" => Arch::X86,
            "SCMP_ARCH_X32" => Arch::X32,
            "SCMP_ARCH_AARCH64" => Arch::Aarch64,
            "SCMP_ARCH_ARM" => Arch::Arm,
            _ => return None,
        })
    }

    /// The machine's own.
    pub(super) fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Arch::X86_64),
            "aarch64" => Some(Arch::Aarch64),
            _ => None,
        }
    }

    /// `AUDIT_ARCH_*` (`include/uapi/linux/audit.h`); x32 shares that of x86-64.
    pub(super) fn audit(self) -> u32 {
        match self {
            Arch::X86_64 | Arch::X32 => 0xc000_003e,
            Arch::X86 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
            Arch::Arm => 0x4000_0028,
        }
    }

    /// The number of a call; `None` when this architecture does not have it.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let number = match self {
            Arch::X86_64 => syscalls::x86_64::Sysno::from_str(name).ok()?.id(),
            Arch::X86 => syscalls::x86::Sysno::from_str(name).ok()?.id(),
            Arch::Aarch64 => syscalls::aarch64::Sysno::from_str(name).ok()?.id(),
            Arch::Arm => syscalls::arm::Sysno::from_str(name).ok()?.id(),
            Arch::X32 => return None,
        };
        u32::try_from(number).ok()
    }

    /// Some architecture has a call of this name.
    pub(super) fn any_has(name: &str) -> bool {
        [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm]
            .into_iter()
            .any(|arch| arch.number(name).is_some())
    }
}
