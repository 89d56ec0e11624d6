//! The Windows registry of an image: `tree --registry`, `cat --registry`.

mod rows;

use std::io::{self, Write};

use layerstone_layer::view::LayerView;
use layerstone_nt::hive::{self, Content, Hive, SystemHive};
use layerstone_store::{HiveFile, HiveStack, Store};
use serde::Serialize;

use super::App;
use super::object::{self, Object};
use crate::args::{Cat, Tree};
use crate::error::{Error, Result};
use crate::ui::text;
use rows::{Rows, ValueRow};

/// What the hives are mounted in, by the names that people type.
const ROOTS: [&str; 5] = ["", "HKLM", "HKEY_LOCAL_MACHINE", "HKU", "HKEY_USERS"];

/// How many characters or bytes of a value a line shows.
const SHOWN: usize = 60;

/// The hives that a key on the command line is about, and the path in them.
fn parse_key(key: &str) -> Result<Vec<(SystemHive, String)>> {
    let key = key.replace('/', r"\");
    let key = key.trim_matches('\\');
    if let Some(found) = SystemHive::split_path(key) {
        return Ok(vec![found]);
    }
    if ROOTS.iter().any(|root| root.eq_ignore_ascii_case(key)) {
        let prefix = if key.to_ascii_uppercase().contains('U') { r"HKU\" } else { "HKLM" };
        let all = SystemHive::ALL.into_iter();
        let below = all.filter(|hive| key.is_empty() || hive.mount_point().starts_with(prefix));
        return Ok(below.map(|hive| (hive, String::new())).collect());
    }
    // `SOFTWARE\Microsoft`, as the hive's file is called.
    let (first, rest) = key.split_once('\\').unwrap_or((key, ""));
    match SystemHive::from_name(first) {
        Some(hive) => Ok(vec![(hive, rest.to_owned())]),
        None => {
            let mounts: Vec<_> = SystemHive::ALL.iter().map(|hive| hive.mount_point()).collect();
            Err(Error::Usage(format!(
                "the key `{key}` is in none of the hives of a layer, which are {}",
                mounts.join(", ")
            )))
        }
    }
}

/// The stacks of the hives that `object` has, of those asked for, each with the path in it.
fn stacks<'w>(
    store: &Store,
    object: &Object,
    wanted: &'w [(SystemHive, String)],
) -> Result<Vec<(HiveStack, &'w str)>> {
    fn find<'w, V: LayerView<Error = layerstone_store::Error>>(
        layers: &[V],
        wanted: &'w [(SystemHive, String)],
    ) -> Result<Vec<(HiveStack, &'w str)>> {
        let mut found = Vec::new();
        for (hive, path) in wanted {
            found.extend(HiveStack::find(layers, *hive)?.map(|stack| (stack, path.as_str())));
        }
        Ok(found)
    }
    match object {
        Object::Image(image) => find(store.chain_view(&image.chain_ids(), image.os())?.layers(), wanted),
        Object::Scratch(scratch) => find(store.scratch_view(scratch)?.layers(), wanted),
        Object::Layer(layer) => find(std::slice::from_ref(layer), wanted),
    }
}

/// A hive is not there: said with what was looked through.
fn no_hive(wanted: &[(SystemHive, String)], object: &str) -> Error {
    let names: Vec<_> = wanted.iter().map(|(hive, _)| hive.mount_point()).collect();
    Error::NoHive { hives: names.join(", "), object: object.to_owned() }
}

/// Says that a hive lacks changes.
fn remark_dirty(app: &App, stack: &HiveStack) {
    for file in stack.files.iter().filter(|file| file.is_dirty) {
        app.remark(format_args!(
            "remark: `{}` of layer {} was in use when it was copied, and no log has its last changes",
            file.path, file.layer
        ));
    }
}

/// A file of a stack, for JSON.
#[derive(Serialize)]
struct FileRow {
    hive: &'static str,
    layer: usize,
    path: String,
    size: usize,
    recovered_pages: usize,
    dirty: bool,
}

impl FileRow {
    fn of(hive: SystemHive, file: &HiveFile) -> Self {
        FileRow {
            hive: hive.mount_point(),
            layer: file.layer,
            path: file.path.to_string(),
            size: file.bytes.len(),
            recovered_pages: file.recovered_pages,
            dirty: file.is_dirty,
        }
    }
}

pub(super) fn tree(app: &App, store: &Store, args: &Tree, key: &str) -> Result<()> {
    let wanted = parse_key(key)?;
    let object = object::find(store, &args.object, args.platform.as_ref())?;
    let stacks = stacks(store, &object, &wanted)?;
    if stacks.is_empty() {
        return Err(no_hive(&wanted, &args.object));
    }
    let mut rows = Rows::new(args.depth.unwrap_or(usize::MAX));
    for (stack, path) in &stacks {
        remark_dirty(app, stack);
        let hives = stack.open()?;
        // A layer's own changes are shown with what they remove; an image as what is left.
        let found = match (&object, &stack.files[..], &hives[..]) {
            (Object::Layer(_), [file], [hive]) => rows.add_one(stack.hive, file, hive, path)?,
            _ => rows.add_merged(stack, &hives, path)?,
        };
        if !found {
            return Err(no_key(stack.hive, path, &args.object));
        }
    }
    let rows = rows.finish();
    #[derive(Serialize)]
    struct View<'a> {
        hives: Vec<FileRow>,
        #[serde(flatten)]
        rows: &'a rows::Finished,
    }
    let files =
        stacks.iter().flat_map(|(stack, _)| stack.files.iter().map(|file| FileRow::of(stack.hive, file)));
    let view = View { hives: files.collect(), rows: &rows };
    app.print(&view, |out| print(out, &rows, args.long))?;
    match rows.problems.len() as u64 {
        0 => Ok(()),
        count => {
            for problem in rows.problems.iter().take(10) {
                app.remark(format_args!("damaged: {problem}"));
            }
            Err(Error::Damage(format!("{} of the registry could not be read", text::count(count, "part"))))
        }
    }
}

fn no_key(hive: SystemHive, path: &str, object: &str) -> Error {
    Error::NoKey { key: format!(r"{}\{path}", hive.mount_point()), object: object.to_owned() }
}

fn print(out: &mut dyn Write, rows: &rows::Finished, long: bool) -> io::Result<()> {
    for key in &rows.keys {
        if long {
            write!(out, "{} {:>3}  ", key.last_written, key.layer)?;
        }
        let mark = key.mark.map_or_else(String::new, |mark| format!("  [{mark}]"));
        writeln!(out, r"{}{}\{mark}", text::branches(&key.more), key.name)?;
        for (at, value) in key.values.iter().enumerate() {
            if long {
                write!(out, "{:19} {:>3}  ", "", value.layer)?;
            }
            let mut more = key.more.clone();
            more.push(key.has_subkeys || at + 1 < key.values.len());
            writeln!(out, "{}{}", text::branches(&more), value.shown)?;
        }
    }
    Ok(())
}

pub(super) fn cat(app: &App, store: &Store, args: &Cat, key: &str) -> Result<()> {
    let wanted = parse_key(key)?;
    let [(hive, path)] = &wanted[..] else {
        return Err(Error::Usage(format!("the key `{key}` is not in a hive, and has no values")));
    };
    let object = object::find(store, &args.object, args.platform.as_ref())?;
    let stacks = stacks(store, &object, &wanted)?;
    let Some((stack, _)) = stacks.first() else { return Err(no_hive(&wanted, &args.object)) };
    remark_dirty(app, stack);
    let hives: Vec<Hive<'_>> = stack.open()?;
    let name = args.path.as_deref().unwrap_or_default();
    let broken = |source: hive::Error| Error::from(stack.files[0].error(source));
    let merged = hive::Merged::new(&hives).map_err(broken)?;
    let key = merged.key(path).map_err(broken)?.ok_or_else(|| no_key(*hive, path, &args.object))?;
    let found = key.value(name).map_err(broken)?.ok_or_else(|| Error::NoValue {
        value: name.to_owned(),
        key: format!(r"{}\{path}", hive.mount_point()),
        object: args.object.clone(),
    })?;
    let file = &stack.files[found.hive];
    let content = found.value.content().map_err(|source| Error::from(file.error(source)))?;
    app.print(&ValueRow::of(&found.value, file.layer), |out| match &content {
        Content::Text(text) => writeln!(out, "{text}"),
        Content::List(texts) => texts.iter().try_for_each(|text| writeln!(out, "{text}")),
        Content::Dword(number) => writeln!(out, "{number}"),
        Content::Qword(number) => writeln!(out, "{number}"),
        Content::Bytes(bytes) => out.write_all(bytes),
        // The enum may grow; what is shown then is right for all of it.
        other => writeln!(out, "{other}"),
    })
}
