//! Digests, and the two kinds of digest that a layer has besides its blob's: DiffID and ChainID.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

/// A registered digest algorithm
/// ([image-spec, descriptor.md, "Registered algorithms"](https://github.com/opencontainers/image-spec/blob/main/descriptor.md#registered-algorithms)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// The one that everything uses.
    Sha256,
    /// Registered, parsed and kept, but not computed here.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

/// A content digest, `sha256:<64 lower-case hex digits>`
/// ([image-spec, descriptor.md, "Digests"](https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests)).
///
/// A `Digest` only comes from bytes of the right number or from strict parsing, so its [`hex`](Self::hex) can be a
/// file name without further care: `sha256:../../x` never becomes one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Repr);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl Digest {
    /// From the 32 bytes of a SHA-256.
    pub const fn from_sha256(bytes: [u8; 32]) -> Self {
        Self(Repr::Sha256(bytes))
    }

    /// The SHA-256 of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self::from_sha256(Sha256::digest(content).into())
    }

    /// Parses `algorithm:hex`. Only lower-case hex of exactly the algorithm's length is a digest.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |reason| Error::InvalidDigest { text: text.chars().take(160).collect(), reason };
        let (algorithm, encoded) = text.split_once(':').ok_or_else(|| invalid("there is no `:`"))?;
        if encoded.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid("only 0-9 and a-f may follow the `:`"));
        }
        match algorithm {
            "sha256" => {
                let mut bytes = [0; 32];
                hex::decode_to_slice(encoded, &mut bytes).map_err(|_| invalid("sha256 has 64 hex digits"))?;
                Ok(Self(Repr::Sha256(bytes)))
            }
            "sha512" => {
                let mut bytes = [0; 64];
                hex::decode_to_slice(encoded, &mut bytes)
                    .map_err(|_| invalid("sha512 has 128 hex digits"))?;
                Ok(Self(Repr::Sha512(bytes)))
            }
            _ => Err(invalid("the algorithm is neither sha256 nor sha512")),
        }
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            Repr::Sha256(_) => Algorithm::Sha256,
            Repr::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The digits after the colon.
    pub fn hex(&self) -> String {
        hex::encode(self.as_bytes())
    }

    /// The first twelve hex digits, for people.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }

    /// The bytes of the digest: 32 or 64.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Sha256(bytes) => bytes,
            Repr::Sha512(bytes) => bytes,
        }
    }

    /// Refuses an algorithm that is not computed here.
    pub(crate) fn require_sha256(&self) -> Result<()> {
        match self.algorithm() {
            Algorithm::Sha256 => Ok(()),
            Algorithm::Sha512 => Err(Error::UnsupportedAlgorithm { digest: *self }),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The digest of a layer's uncompressed tar
/// ([image-spec, config.md, "Layer DiffID"](https://github.com/opencontainers/image-spec/blob/main/config.md#layer-diffid)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

/// The digest that names a stack of layers: what is mounted when this layer is on top of all before it
/// ([image-spec, config.md, "Layer ChainID"](https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub Digest);

impl ChainId {
    /// The ChainID of the lowest layer: its DiffID.
    pub const fn base(diff_id: &DiffId) -> Self {
        Self(diff_id.0)
    }

    /// The ChainID of a layer on top of this stack: `sha256(ChainID + " " + DiffID)`.
    pub fn child(&self, diff_id: &DiffId) -> Self {
        Self(Digest::of(format!("{self} {diff_id}").as_bytes()))
    }
}

/// The ChainIDs of an image's layers, lowest first, one for each DiffID.
pub fn chain_ids(diff_ids: &[DiffId]) -> Vec<ChainId> {
    let mut top: Option<ChainId> = None;
    let step = |diff_id: &DiffId| {
        let chain = top.map_or_else(|| ChainId::base(diff_id), |parent| parent.child(diff_id));
        top = Some(chain);
        chain
    };
    diff_ids.iter().map(step).collect()
}

macro_rules! digest_newtype {
    ($name:ident) => {
        impl $name {
            /// The digest itself.
            pub const fn digest(&self) -> &Digest {
                &self.0
            }

            /// The digits after the colon.
            pub fn hex(&self) -> String {
                self.0.hex()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Digest::parse(text).map(Self)
            }
        }

        impl From<Digest> for $name {
            fn from(digest: Digest) -> Self {
                Self(digest)
            }
        }
    };
}

digest_newtype!(DiffId);
digest_newtype!(ChainId);
