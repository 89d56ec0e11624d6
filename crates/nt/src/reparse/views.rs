//! What the data of tags other than symlink and mount point say, where it is published.
//!
//! | tag | data | source |
//! |---|---|---|
//! | LX_SYMLINK | u32 version, 2; target, UTF-8 without NUL | [MS-FSCC] 2.1.2.7, and what WSL writes |
//! | AF_UNIX, LX_FIFO, LX_CHR, LX_BLK | none; a device's numbers are in the EA `$LXDEV` | [MS-FSCC] 2.1.2.1, WSL |
//! | WCI, WCI_1 | u32 version, 1; u32 reserved; GUID of the layer; u16 name length; name, UTF-16 | hcsshim, libfsntfs |
//! | WOF | u32 version, 1; u32 provider; what the provider says | `WOF_EXTERNAL_INFO` of the Windows SDK |
//! | APPEXECLINK | u32 version, 3; strings, UTF-16, each with a NUL | the Windows SDK does not say; as found on disks |
//! | CLOUD, CLOUD_1 to CLOUD_F | u16 flags; u16 length; the provider's | phnt, `HSM_REPARSE_DATA` |
//!
//! A view is for looking and for building. What is carried is the buffer: [`ReparseData::Raw`] keeps it, also where no view
//! understands it.

use std::fmt;

use super::{ReparseData, ReparsePoint, ReparseTag};
use crate::bytes::Fields;
use crate::error::{Error, Result};
use crate::wide::WideString;

/// The version of an LX_SYMLINK that has its target in the reparse point.
const LX_SYMLINK_VERSION: u32 = 2;
const WCI_VERSION: u32 = 1;
/// Bytes of a WCI point before its name.
const WCI_NAME: usize = 26;
const WOF_VERSION: u32 = 1;
const WOF_PROVIDER_WIM: u32 = 1;
const WOF_PROVIDER_FILE: u32 = 2;
/// Bytes of a SHA-1 in a WIM.
const WIM_HASH: usize = 20;

/// A reparse point's data by its tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum View {
    /// LX_SYMLINK: a symbolic link of WSL.
    LxSymlink {
        /// The target, bytes of a Linux path.
        target: Vec<u8>,
    },
    /// AF_UNIX, LX_FIFO, LX_CHR or LX_BLK: a special file of WSL. There is no data.
    LxSpecial(LxSpecial),
    /// WCI or WCI_1: stands for a file of a layer.
    Wci {
        /// Whether the tag is WCI_1, which directories have.
        is_directory: bool,
        /// The GUID of the layer, in the byte order of the buffer.
        layer: [u8; 16],
        /// The path in the layer's `Files`, with backslashes, without a leading one.
        name: WideString,
        /// In what the buffer counts the name; see [`NameUnit`].
        unit: NameUnit,
    },
    /// WOF: a file whose data are in a WIM, or compressed beside it.
    Wof(Wof),
    /// APPEXECLINK: an executable of a packaged application.
    AppExecLink {
        /// Which layout the strings have; 3 in practice.
        version: u32,
        /// Package, entry point, executable, kind.
        strings: Vec<WideString>,
    },
    /// CLOUD and its fifteen variants.
    Cloud {
        /// The tag, which tells the variant.
        tag: ReparseTag,
        /// [`View::CLOUD_COMPRESSED`] and others.
        flags: u16,
        /// Bytes of the provider's data, uncompressed.
        length: u16,
        /// The provider's data, as they are.
        data: Vec<u8>,
    },
}

/// The special files of WSL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LxSpecial {
    /// AF_UNIX: a socket.
    Socket,
    /// LX_FIFO: a named pipe.
    Fifo,
    /// LX_CHR: a character device.
    CharDevice,
    /// LX_BLK: a block device.
    BlockDevice,
}

/// The unit of the name's length in a WCI point. Public headers say bytes, Microsoft's own portable reader wrote units of 16 bits;
/// which one it is shows from the length of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NameUnit {
    /// Bytes.
    #[default]
    Bytes,
    /// UTF-16 units.
    Characters,
}

/// What a WOF point says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wof {
    /// The data are in a WIM (`WIM_PROVIDER_EXTERNAL_INFO`).
    Wim {
        /// Version of this part.
        version: u32,
        /// `WOF_PROVIDER_WIM_…`.
        flags: u32,
        /// Which WIM.
        source: i64,
        /// SHA-1 of the data.
        hash: [u8; WIM_HASH],
    },
    /// The data are compressed, in the stream `WofCompressedData` (`FILE_PROVIDER_EXTERNAL_INFO`).
    File {
        /// Version of this part.
        version: u32,
        /// 0 XPRESS4K, 1 LZX, 2 XPRESS8K, 3 XPRESS16K.
        algorithm: u32,
        /// The flags of newer versions.
        flags: Option<u32>,
    },
}

impl View {
    /// A cloud point's data are compressed.
    pub const CLOUD_COMPRESSED: u16 = 0x8000;

    /// Reads the data of `point`; `None` for tags that have no view, among them the two kinds of links, which
    /// [`ReparseData`] takes apart itself. Positions count from the start of the buffer.
    ///
    /// # Errors
    /// When the data are not what the tag asks for.
    pub fn of(point: &ReparsePoint) -> Result<Option<Self>> {
        let ReparseData::Raw(data) = &point.data else { return Ok(None) };
        Ok(Some(match point.tag {
            ReparseTag::LX_SYMLINK => lx_symlink(data)?,
            ReparseTag::AF_UNIX => special(LxSpecial::Socket, data)?,
            ReparseTag::LX_FIFO => special(LxSpecial::Fifo, data)?,
            ReparseTag::LX_CHR => special(LxSpecial::CharDevice, data)?,
            ReparseTag::LX_BLK => special(LxSpecial::BlockDevice, data)?,
            ReparseTag::WCI => wci(false, data)?,
            ReparseTag::WCI_1 => wci(true, data)?,
            ReparseTag::WOF => View::Wof(wof(data)?),
            ReparseTag::APPEXECLINK => app_exec_link(data)?,
            tag if tag.is_cloud() => {
                let fields = Fields::new("cloud reparse data", data);
                let (flags, length) = (fields.u16(0)?, fields.u16(2)?);
                View::Cloud { tag, flags, length, data: data[4..].to_vec() }
            }
            _ => return Ok(None),
        }))
    }

    /// The tag.
    pub fn tag(&self) -> ReparseTag {
        match self {
            View::LxSymlink { .. } => ReparseTag::LX_SYMLINK,
            View::LxSpecial(LxSpecial::Socket) => ReparseTag::AF_UNIX,
            View::LxSpecial(LxSpecial::Fifo) => ReparseTag::LX_FIFO,
            View::LxSpecial(LxSpecial::CharDevice) => ReparseTag::LX_CHR,
            View::LxSpecial(LxSpecial::BlockDevice) => ReparseTag::LX_BLK,
            View::Wci { is_directory: false, .. } => ReparseTag::WCI,
            View::Wci { is_directory: true, .. } => ReparseTag::WCI_1,
            View::Wof(_) => ReparseTag::WOF,
            View::AppExecLink { .. } => ReparseTag::APPEXECLINK,
            View::Cloud { tag, .. } => *tag,
        }
    }

    /// The reparse point of this view: of what [`View::of`] read, the same data again.
    ///
    /// # Errors
    /// When a name is too long for its field, or holds a NUL where one ends it, or a tag is none of the cloud's.
    pub fn to_point(&self) -> Result<ReparsePoint> {
        let mut data = Vec::new();
        match self {
            View::LxSymlink { target } => {
                data.extend_from_slice(&LX_SYMLINK_VERSION.to_le_bytes());
                data.extend_from_slice(target);
            }
            View::LxSpecial(_) => {}
            View::Wci { layer, name, unit, .. } => {
                let length = match unit {
                    NameUnit::Bytes => name.len() * 2,
                    NameUnit::Characters => name.len(),
                };
                let too_long =
                    |_| Error::TooLong { what: "name of a layer's file", limit: 65535, found: length };
                data.extend_from_slice(&WCI_VERSION.to_le_bytes());
                data.extend_from_slice(&[0; 4]);
                data.extend_from_slice(layer);
                data.extend_from_slice(&u16::try_from(length).map_err(too_long)?.to_le_bytes());
                data.extend_from_slice(&name.to_le_bytes());
            }
            View::Wof(wof) => put_wof(&mut data, wof),
            View::AppExecLink { version, strings } => {
                data.extend_from_slice(&version.to_le_bytes());
                for string in strings {
                    if let Some(at) = string.units().iter().position(|&unit| unit == 0) {
                        return Err(Error::malformed("APPEXECLINK string", at * 2, "no NUL", "one"));
                    }
                    data.extend_from_slice(&string.to_le_bytes());
                    data.extend_from_slice(&[0, 0]);
                }
            }
            View::Cloud { tag, flags, length, data: own } => {
                if !tag.is_cloud() {
                    return Err(Error::malformed("cloud reparse data", 0, "a tag of cloud files", tag));
                }
                data.extend_from_slice(&flags.to_le_bytes());
                data.extend_from_slice(&length.to_le_bytes());
                data.extend_from_slice(own);
            }
        }
        Ok(ReparsePoint { tag: self.tag(), data: ReparseData::Raw(data) })
    }
}

fn expect_version(fields: &Fields<'_>, expected: u32, name: &'static str) -> Result<()> {
    match fields.u32(0)? {
        found if found == expected => Ok(()),
        found => Err(fields.malformed(0, name, found)),
    }
}

fn lx_symlink(data: &[u8]) -> Result<View> {
    let fields = Fields::new("LX_SYMLINK data", data);
    expect_version(&fields, LX_SYMLINK_VERSION, "version 2")?;
    Ok(View::LxSymlink { target: data[4..].to_vec() })
}

fn special(kind: LxSpecial, data: &[u8]) -> Result<View> {
    match data.is_empty() {
        true => Ok(View::LxSpecial(kind)),
        false => Err(Error::malformed("WSL special file", 0, "no data", format!("{} bytes", data.len()))),
    }
}

fn wci(is_directory: bool, data: &[u8]) -> Result<View> {
    let fields = Fields::new("WCI data", data);
    expect_version(&fields, WCI_VERSION, "version 1")?;
    match fields.u32(4)? {
        0 => {}
        reserved => return Err(fields.malformed(4, "a reserved field of 0", reserved)),
    }
    let layer = fields.guid(8)?;
    let stated = usize::from(fields.u16(24)?);
    let bytes = fields.slice(WCI_NAME, data.len().saturating_sub(WCI_NAME))?;
    let unit = match bytes.len() {
        there if there == stated => NameUnit::Bytes,
        there if there == stated * 2 => NameUnit::Characters,
        _ => {
            let expected = "the bytes or the UTF-16 units of the name that follows";
            return Err(fields.malformed(
                24,
                expected,
                format!("{stated}, with {} bytes there", bytes.len()),
            ));
        }
    };
    let name = WideString::from_le_bytes(bytes)
        .ok_or_else(|| fields.malformed(WCI_NAME, "whole 16-bit units", bytes.len()))?;
    Ok(View::Wci { is_directory, layer, name, unit })
}

fn wof(data: &[u8]) -> Result<Wof> {
    let fields = Fields::new("WOF data", data);
    expect_version(&fields, WOF_VERSION, "version 1")?;
    let exactly = |length: usize, wof| match data.len() == length {
        true => Ok(wof),
        false => Err(fields.malformed(length, "the end of the data", format!("{} bytes", data.len()))),
    };
    let version = fields.u32(8)?;
    match fields.u32(4)? {
        WOF_PROVIDER_WIM => {
            let mut hash = [0; WIM_HASH];
            hash.copy_from_slice(fields.slice(24, WIM_HASH)?);
            let (flags, source) = (fields.u32(12)?, fields.i64(16)?);
            exactly(24 + WIM_HASH, Wof::Wim { version, flags, source, hash })
        }
        WOF_PROVIDER_FILE => {
            let algorithm = fields.u32(12)?;
            match data.len() {
                16 => Ok(Wof::File { version, algorithm, flags: None }),
                _ => exactly(20, Wof::File { version, algorithm, flags: Some(fields.u32(16)?) }),
            }
        }
        provider => Err(fields.malformed(4, "provider 1 (WIM) or 2 (file)", provider)),
    }
}

fn put_wof(data: &mut Vec<u8>, wof: &Wof) {
    let mut put = |field: u32| data.extend_from_slice(&field.to_le_bytes());
    match wof {
        Wof::Wim { version, flags, source, hash } => {
            [WOF_VERSION, WOF_PROVIDER_WIM, *version, *flags].into_iter().for_each(put);
            data.extend_from_slice(&source.to_le_bytes());
            data.extend_from_slice(hash);
        }
        Wof::File { version, algorithm, flags } => {
            [WOF_VERSION, WOF_PROVIDER_FILE, *version, *algorithm].into_iter().for_each(&mut put);
            flags.iter().copied().for_each(put);
        }
    }
}

fn app_exec_link(data: &[u8]) -> Result<View> {
    let fields = Fields::new("APPEXECLINK data", data);
    let version = fields.u32(0)?;
    let units = WideString::from_le_bytes(&data[4..])
        .ok_or_else(|| fields.malformed(4, "whole 16-bit units", data.len() - 4))?;
    let strings = match units.units() {
        [] => Vec::new(),
        [text @ .., 0] => text.split(|&unit| unit == 0).map(WideString::from_units).collect(),
        _ => return Err(fields.malformed(data.len(), "NUL behind the last string", "the end")),
    };
    Ok(View::AppExecLink { version, strings })
}

impl fmt::Display for View {
    /// One line: what the point stands for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            View::LxSymlink { target } => write!(f, "WSL symlink to {:?}", String::from_utf8_lossy(target)),
            View::LxSpecial(LxSpecial::Socket) => f.write_str("Unix socket"),
            View::LxSpecial(LxSpecial::Fifo) => f.write_str("WSL named pipe"),
            View::LxSpecial(LxSpecial::CharDevice) => f.write_str("WSL character device"),
            View::LxSpecial(LxSpecial::BlockDevice) => f.write_str("WSL block device"),
            View::Wci { layer, name, .. } => {
                write!(f, "placeholder of {name:?} in layer ")?;
                crate::guid::write(f, layer)
            }
            View::Wof(Wof::Wim { source, .. }) => write!(f, "file of WIM {source}"),
            View::Wof(Wof::File { algorithm, .. }) => match algorithm {
                0 => f.write_str("compressed by WOF with XPRESS4K"),
                1 => f.write_str("compressed by WOF with LZX"),
                2 => f.write_str("compressed by WOF with XPRESS8K"),
                3 => f.write_str("compressed by WOF with XPRESS16K"),
                other => write!(f, "compressed by WOF with algorithm {other}"),
            },
            View::AppExecLink { strings, .. } => match strings.get(2) {
                Some(executable) => write!(f, "application alias of {:?}", executable.to_string()),
                None => f.write_str("application alias"),
            },
            View::Cloud { .. } => f.write_str("cloud file"),
        }
    }
}
