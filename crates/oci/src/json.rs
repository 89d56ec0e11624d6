//! Reading JSON as the Go programs do that most images come from: keys are found without regard to case when the exact
//! spelling is absent, and `null` is the same as nothing.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The value of `key`, in its exact spelling or else in another case; `null` counts as absent.
pub(crate) fn get<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(spelling(object, key)?).filter(|value| !value.is_null())
}

/// The spelling in which `key` stands in `object`.
pub(crate) fn spelling<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    if let Some((exact, _)) = object.get_key_value(key) {
        return Some(exact);
    }
    object.keys().find(|k| k.eq_ignore_ascii_case(key)).map(String::as_str)
}

/// For `#[serde(deserialize_with)]`: `null` becomes the default value, as Go writes `null` for an empty list or map.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
