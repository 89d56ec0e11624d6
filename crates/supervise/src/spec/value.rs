//! Values that are checked while they are read, so that the reader's message has their line.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;
use layerstone_agent::options::{Network, RestartPolicy, parse_bytes};
use layerstone_agent::signal as signals;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Condition;

/// An error of the reader without the position, which is told apart, and without the lines around it.
pub(super) fn plain(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    let end = text.rfind(" at line ").filter(|at| text[*at + 9..].starts_with(|c: char| c.is_ascii_digit()));
    text[..end.unwrap_or(text.len())].to_owned()
}

/// One text, or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Lines {
    /// Nothing at all.
    #[default]
    None,
    /// One text.
    One(String),
    /// A list.
    List(Vec<String>),
}

impl Lines {
    /// True when nothing was given.
    pub fn is_empty(&self) -> bool {
        *self == Lines::None
    }

    /// The texts.
    pub fn texts(&self) -> &[String] {
        match self {
            Lines::None => &[],
            Lines::One(text) => std::slice::from_ref(text),
            Lines::List(texts) => texts,
        }
    }
}

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Lines;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E>(self, text: &str) -> Result<Lines, E> {
                Ok(Lines::One(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Lines, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Lines::List(texts))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

impl Serialize for Lines {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Lines::None => serializer.serialize_none(),
            Lines::One(text) => serializer.serialize_str(text),
            Lines::List(texts) => texts.serialize(serializer),
        }
    }
}

/// A duration: `500ms`, `10s`, `1m30s`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Period;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 500ms, 10s or 1m30s, or a number of seconds")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Period, E> {
                let parsed = text.parse::<SignedDuration>().ok();
                let parsed = parsed.and_then(|duration| Duration::try_from(duration).ok());
                parsed.map(Period).ok_or_else(|| {
                    E::custom(format!(
                        "`{text}` is no duration: 500ms, 10s or 1m30s would be one, or a number of seconds"
                    ))
                })
            }
            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Period, E> {
                if seconds > i64::MAX as u64 {
                    return Err(E::custom("so long nobody waits"));
                }
                Ok(Period(Duration::from_secs(seconds)))
            }
            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Period, E> {
                u64::try_from(seconds)
                    .map(|seconds| Period(Duration::from_secs(seconds)))
                    .map_err(|_| E::custom(format!("`{seconds}` is below zero, and no duration is")))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}ns", self.0.as_nanos()))
    }
}

/// Which system calls a container can make, and what set-user-id programs give it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// `default`, `unconfined`, or the file of a profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<String>,
    /// Set-user-id programs give nothing.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub no_new_privileges: bool,
}

impl Security {
    /// True when nothing was said.
    pub fn is_default(&self) -> bool {
        *self == Security::default()
    }
}

/// What a container waits for, and how far that has to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DependsOn(pub BTreeMap<String, Condition>);

impl<'de> Deserialize<'de> for DependsOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Dependency {
            #[serde(default)]
            condition: Condition,
        }
        struct Dependencies;
        impl<'de> Visitor<'de> for Dependencies {
            type Value = DependsOn;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names, or a map from names to {condition: started|healthy|completed}")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<DependsOn, A::Error> {
                let mut all = BTreeMap::new();
                while let Some(name) = list.next_element::<String>()? {
                    if all.insert(name.clone(), Condition::Started).is_some() {
                        return Err(A::Error::custom(format!("`{name}` is there twice")));
                    }
                }
                Ok(DependsOn(all))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DependsOn, A::Error> {
                let mut all = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let dependency = map.next_value::<Option<Dependency>>()?.unwrap_or_default();
                    if all.insert(name.clone(), dependency.condition).is_some() {
                        return Err(A::Error::custom(format!("`{name}` is there twice")));
                    }
                }
                Ok(DependsOn(all))
            }
        }
        deserializer.deserialize_any(Dependencies)
    }
}

/// A text that has to pass a check.
fn checked<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    check: impl FnOnce(&str) -> layerstone_agent::Result<T>,
) -> Result<(String, T), D::Error> {
    let text = String::deserialize(deserializer)?;
    let value = check(&text).map_err(|error| D::Error::custom(error.in_one_line()))?;
    Ok((text, value))
}

pub(super) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(checked(deserializer, layerstone_agent::id::check_name)?.0)
}

pub(super) fn network<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(checked(deserializer, Network::parse)?.0))
}

pub(super) fn signal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(checked(deserializer, signals::parse)?.0))
}

pub(super) fn restart<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RestartPolicy>, D::Error> {
    Ok(Some(checked(deserializer, RestartPolicy::parse)?.1))
}

/// A number of bytes, with a unit where wanted.
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of bytes, or a text such as 512m or 2g")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
            parse_bytes(text).map_err(|error| E::custom(error.in_one_line()))
        }
        fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<u64, E> {
            self.visit_str(&bytes.to_string())
        }
        fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<u64, E> {
            self.visit_str(&bytes.to_string())
        }
    }
    deserializer.deserialize_any(Text).map(Some)
}

pub(super) fn cpus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let cpus = f64::deserialize(deserializer)?;
    if cpus.is_finite() && cpus > 0.0 {
        Ok(Some(cpus))
    } else {
        Err(D::Error::custom(format!("`{cpus}` is no number of processors: it has to be above 0")))
    }
}

pub(super) fn whole_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Period>, D::Error> {
    let period = Period::deserialize(deserializer)?;
    if period.0.subsec_nanos() == 0 && u32::try_from(period.0.as_secs()).is_ok() {
        Ok(Some(period))
    } else {
        Err(D::Error::custom("the time to stop is a number of whole seconds, below 2^32"))
    }
}
