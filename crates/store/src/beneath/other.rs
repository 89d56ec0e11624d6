//! Where there is no `openat2`: overlayfs does not exist there either, and nothing is unpacked.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use layerstone_layer::{LayerPath, UnixTime, Xattr};

use super::{FileKind, Stat};

pub(crate) fn is_privileged() -> bool {
    false
}

/// Never made.
#[derive(Debug)]
pub(crate) enum Beneath {}

impl Beneath {
    pub(crate) fn open(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn shown(&self, _: &LayerPath) -> PathBuf {
        match *self {}
    }

    pub(crate) fn find(&self, _: &LayerPath) -> io::Result<Option<Found>> {
        match *self {}
    }
}

/// Never made.
#[derive(Debug)]
pub(crate) enum Found {}

impl Found {
    pub(crate) fn stat(&self) -> io::Result<Stat> {
        match *self {}
    }

    pub(crate) fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        match *self {}
    }

    pub(crate) fn read_link(&self) -> io::Result<Vec<u8>> {
        match *self {}
    }

    pub(crate) fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        match *self {}
    }

    pub(crate) fn read(&self) -> io::Result<File> {
        match *self {}
    }

    pub(crate) fn child(&self, _: &[u8]) -> io::Result<Found> {
        match *self {}
    }

    pub(crate) fn make_directory(&self, _: &[u8]) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn make_file(&self, _: &[u8]) -> io::Result<File> {
        match *self {}
    }

    pub(crate) fn make_symlink(&self, _: &[u8], _: &[u8]) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn make_node(&self, _: &[u8], _: FileKind, _: (u32, u32)) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn make_link(&self, _: &[u8], _: &Found, _: &[u8]) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn set_owner(&self, _: u32, _: u32) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn set_mode(&self, _: u16) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn set_xattr(&self, _: &[u8], _: &[u8]) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn set_mtime(&self, _: UnixTime) -> io::Result<()> {
        match *self {}
    }
}
