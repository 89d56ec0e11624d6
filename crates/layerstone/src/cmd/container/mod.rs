//! The verbs of containers.

#[cfg(any(target_os = "linux", windows))]
mod flags;
#[cfg(any(target_os = "linux", windows))]
mod logs;
#[cfg(any(target_os = "linux", windows))]
mod shared;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;

#[cfg(not(any(target_os = "linux", windows)))]
mod other;
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) use other::*;
