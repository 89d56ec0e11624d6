//! The lines of `tree --registry`.

use layerstone_nt::FileTime;
use layerstone_nt::hive::{self, Content, Hive, Key, LayerSemantics, SystemHive, Value};
use layerstone_store::{HiveFile, HiveStack};
use serde::Serialize;

use super::SHOWN;
use crate::error::Result;
use crate::ui::text;

/// A key and its values.
#[derive(Serialize)]
pub(super) struct KeyRow {
    path: String,
    #[serde(skip)]
    pub(super) name: String,
    /// For each level above, whether more siblings follow.
    #[serde(skip)]
    pub(super) more: Vec<bool>,
    #[serde(skip)]
    pub(super) has_subkeys: bool,
    /// The topmost layer that has it.
    pub(super) layer: usize,
    pub(super) last_written: String,
    /// What a layer's key does to those below, unless it is merged with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mark: Option<LayerMark>,
    pub(super) values: Vec<ValueRow>,
}

/// As [`LayerSemantics`], for JSON.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LayerMark {
    Tombstone,
    SupersedeLocal,
    SupersedeTree,
}

impl LayerMark {
    fn of(semantics: LayerSemantics) -> Option<Self> {
        match semantics {
            LayerSemantics::Merge => None,
            LayerSemantics::Tombstone => Some(Self::Tombstone),
            LayerSemantics::SupersedeLocal => Some(Self::SupersedeLocal),
            LayerSemantics::SupersedeTree => Some(Self::SupersedeTree),
        }
    }
}

impl std::fmt::Display for LayerMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tombstone => "tombstone",
            Self::SupersedeLocal => "supersede-local",
            Self::SupersedeTree => "supersede-tree",
        })
    }
}

/// A value.
#[derive(Serialize)]
pub(super) struct ValueRow {
    name: String,
    #[serde(rename = "type")]
    value_type: String,
    size: u32,
    pub(super) layer: usize,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tombstone: bool,
    /// Text, list or number; left out for bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<serde_json::Value>,
    /// Bytes in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The line for people.
    #[serde(skip)]
    pub(super) shown: String,
}

impl ValueRow {
    pub(super) fn of(value: &Value<'_>, layer: usize) -> Self {
        let name = if value.is_default() { "(default)".to_owned() } else { value.name().to_string() };
        let value_type = value.value_type().to_string();
        let mut row = ValueRow {
            name: value.name().to_string(),
            size: value.data_size(),
            layer,
            tombstone: value.is_tombstone(),
            data: None,
            hex: None,
            error: None,
            shown: format!("{name}  [tombstone]"),
            value_type,
        };
        if row.tombstone {
            return row;
        }
        match value.content() {
            Ok(content) => {
                row.shown = format!("{name} = {} {}", row.value_type, content.display(SHOWN));
                match &content {
                    Content::Text(text) => row.data = Some(text.to_string().into()),
                    Content::List(texts) => {
                        row.data = Some(texts.iter().map(ToString::to_string).collect::<Vec<_>>().into());
                    }
                    Content::Dword(number) => row.data = Some((*number).into()),
                    Content::Qword(number) => row.data = Some((*number).into()),
                    _ => {}
                }
                if row.data.is_none()
                    && let Ok(bytes) = value.data()
                {
                    row.hex = Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
                }
            }
            Err(error) => {
                row.shown = format!("{name} = {}  [{error}]", row.value_type);
                row.error = Some(error.to_string());
            }
        }
        row
    }
}

/// Rows being made.
pub(super) struct Rows {
    depth: usize,
    keys: Vec<(usize, KeyRow)>,
    problems: Vec<String>,
}

/// The rows, ready to be printed.
#[derive(Serialize)]
pub(super) struct Finished {
    pub(super) keys: Vec<KeyRow>,
    pub(super) problems: Vec<String>,
}

impl Rows {
    /// Rows down to `depth` levels below where each hive's part starts. Values are a level below their key.
    pub(super) fn new(depth: usize) -> Self {
        Rows { depth, keys: Vec::new(), problems: Vec::new() }
    }

    /// Adds what a stack makes of the key at `path`. False when there is none.
    pub(super) fn add_merged(&mut self, stack: &HiveStack, hives: &[Hive<'_>], path: &str) -> Result<bool> {
        let broken = |source: hive::Error| stack.files[0].error(source);
        let merged = hive::Merged::new(hives).map_err(broken)?;
        let Some(start) = merged.key(path).map_err(broken)? else { return Ok(false) };
        let top = Top::new(stack.hive, path);
        let mut walk = merged.walk_from(start);
        while let Some(key) = walk.next() {
            match key {
                Ok(key) => {
                    let below: Vec<_> = walk.path().iter().map(|key| key.name().to_string()).collect();
                    let is_last = below.len() >= self.depth;
                    let (values, errors) = if is_last { Default::default() } else { key.values() };
                    let values = values
                        .iter()
                        .map(|found| ValueRow::of(&found.value, stack.files[found.hive].layer))
                        .collect();
                    for error in errors {
                        self.problem(&stack.files[error.hive], &error.error);
                    }
                    let layer = stack.files[key.hive()].layer;
                    self.push(&top, &below, layer, key.last_written(), None, values);
                    if is_last {
                        walk.skip_subkeys();
                    }
                }
                Err(error) => self.problem(&stack.files[error.hive], &error.error),
            }
        }
        Ok(true)
    }

    /// Adds the keys of one hive as they are, with their marks. False when there is none at `path`.
    pub(super) fn add_one(
        &mut self,
        hive: SystemHive,
        file: &HiveFile,
        opened: &Hive<'_>,
        path: &str,
    ) -> Result<bool> {
        let broken = |source: hive::Error| file.error(source);
        let Some(start) = opened.key(path).map_err(broken)? else { return Ok(false) };
        let top = Top::new(hive, path);
        let mut walk = opened.walk_from(start);
        while let Some(key) = walk.next() {
            match key {
                Ok(key) => {
                    let below: Vec<_> = walk.path().map(|key| key.name().to_string()).collect();
                    let is_last = below.len() >= self.depth;
                    let values = if is_last { Vec::new() } else { self.own_values(file, &key) };
                    let mark = LayerMark::of(key.layer().semantics);
                    self.push(&top, &below, file.layer, key.last_written(), mark, values);
                    if is_last {
                        walk.skip_subkeys();
                    }
                }
                Err(error) => self.problem(file, &error),
            }
        }
        Ok(true)
    }

    fn own_values(&mut self, file: &HiveFile, key: &Key<'_>) -> Vec<ValueRow> {
        let mut rows = Vec::new();
        for value in key.values() {
            match value {
                Ok(value) => rows.push(ValueRow::of(&value, file.layer)),
                Err(error) => self.problem(file, &error),
            }
        }
        rows
    }

    fn problem(&mut self, file: &HiveFile, error: &hive::Error) {
        self.problems.push(format!("`{}` of layer {}: {error}", file.path, file.layer));
    }

    fn push(
        &mut self,
        top: &Top,
        below: &[String],
        layer: usize,
        last_written: FileTime,
        mark: Option<LayerMark>,
        values: Vec<ValueRow>,
    ) {
        for (value, error) in values.iter().filter_map(|value| Some((value, value.error.as_ref()?))) {
            let key = top.path(below);
            self.problems
                .push(format!(r"value `{}` of `{key}` in layer {}: {error}", value.name, value.layer));
        }
        let name = below.last().cloned().unwrap_or_else(|| top.path(below));
        let row = KeyRow {
            path: top.path(below),
            name,
            more: Vec::new(),
            has_subkeys: false,
            layer,
            last_written: text::time(last_written.into()),
            mark,
            values,
        };
        self.keys.push((below.len(), row));
    }

    /// Gives each row its branches, which what follows decides.
    pub(super) fn finish(self) -> Finished {
        let mut keys = self.keys;
        // From the end: for each level, whether a later row of the same parent has been met.
        let mut follows: Vec<bool> = Vec::new();
        let mut next_level = 0;
        for (level, row) in keys.iter_mut().rev() {
            row.has_subkeys = next_level > *level;
            follows.resize(*level + 1, false);
            row.more = follows[1..].to_vec();
            follows[*level] = true;
            next_level = *level;
        }
        Finished { keys: keys.into_iter().map(|(_, row)| row).collect(), problems: self.problems }
    }
}

/// Where a hive's part starts, as people write it.
struct Top(String);

impl Top {
    fn new(hive: SystemHive, path: &str) -> Self {
        let path = path.trim_matches('\\');
        let separator = if path.is_empty() { "" } else { r"\" };
        Top(format!("{}{separator}{path}", hive.mount_point()))
    }

    fn path(&self, below: &[String]) -> String {
        below.iter().fold(self.0.clone(), |path, name| format!(r"{path}\{name}"))
    }
}
