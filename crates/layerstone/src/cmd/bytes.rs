//! `cat`.

use std::io::{self, Write as _};

use layerstone_layer::merge::Merged;
use layerstone_layer::view::{LayerView, NodeKind};
use layerstone_layer::{LayerPath, Os};
use layerstone_nt::name::eq_ignore_case;

use super::object::{self, Object};
use super::tree::not_a_file;
use super::{App, hive, stdout_failed};
use crate::args::Cat;
use crate::error::{Error, IoContext as _, Result};

pub(crate) fn cat(app: &App, args: &Cat) -> Result<()> {
    let store = app.existing_store()?;
    if let Some(key) = &args.registry {
        return hive::cat(app, &store, args, key);
    }
    let Some(path) = &args.path else { return Err(Error::Usage("a PATH is needed".into())) };
    match object::find(&store, &args.object, args.platform.as_ref())? {
        Object::Image(image) => {
            print(&store.chain_view(&image.chain_ids(), image.os())?, path, image.os(), &args.object)
        }
        Object::Scratch(scratch) => {
            print(&store.scratch_view(&scratch)?, path, scratch.description().os, &args.object)
        }
        Object::Layer(layer) => {
            let os = layer.description().os;
            print(&Merged::new(vec![layer], os), path, os, &args.object)
        }
    }
}

fn print<V: LayerView<Error = layerstone_store::Error>>(
    view: &Merged<V>,
    text: &str,
    os: Os,
    place: &str,
) -> Result<()> {
    let (file, stream) = split_stream(text, os);
    let (path, node) = object::node_at(view, &object::path_in(file, os)?, true, place)?;
    if !matches!(node.node.kind, NodeKind::File { .. }) && stream.is_none() {
        return Err(not_a_file(&path));
    }
    let Some((layer, id)) = node.sources.first() else { return Err(not_a_file(&path)) };
    let stream = match stream {
        None => None,
        Some(wanted) => {
            // Names of streams are compared as those of files are.
            let mut names = node.node.streams.iter().map(|(name, _)| name.as_slice());
            let found = names.find(|name| eq_ignore_case(name, wanted.as_bytes()));
            Some(found.ok_or_else(|| layerstone_store::Error::NoPath {
                path: with_stream(&path, wanted),
                place: format!("`{place}`"),
            })?)
        }
    };
    let mut reader = view.layers()[*layer].open(id, stream)?;
    let mut out = io::stdout().lock();
    io::copy(&mut reader, &mut out).doing("copy to standard output", path.to_string())?;
    out.flush().map_err(stdout_failed)
}

/// The path as Windows writes it, stream included.
fn with_stream(path: &LayerPath, stream: &str) -> LayerPath {
    let Some((parent, name)) = path.split_last() else { return path.clone() };
    parent.join(&[name, b":", stream.as_bytes()].concat())
}

/// `C:\a\b:stream` is a file and a stream; the colon of a drive is none.
fn split_stream(text: &str, os: Os) -> (&str, Option<&str>) {
    if os != Os::Windows {
        return (text, None);
    }
    let start = text.rfind(['/', '\\']).map_or(0, |slash| slash + 1);
    let name = &text[start..];
    let from = if start == 0 && name.len() > 1 && name.as_bytes()[1] == b':' { 2 } else { 0 };
    match name[from..].find(':') {
        Some(colon) => {
            let at = start + from + colon;
            let stream = text[at + 1..].trim_end_matches(":$DATA");
            (&text[..at], Some(stream).filter(|stream| !stream.is_empty()))
        }
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_stream_is_told_as_windows_writes_it() {
        assert_eq!(with_stream(&LayerPath::from("Files/a.txt"), "s").to_string(), "Files/a.txt:s");
    }

    #[test]
    fn a_stream_follows_the_last_name_and_a_drive_is_none() {
        let windows = |text| split_stream(text, Os::Windows);
        assert_eq!(windows(r"C:\a\b.txt:s"), (r"C:\a\b.txt", Some("s")));
        assert_eq!(windows(r"C:\a\b.txt"), (r"C:\a\b.txt", None));
        assert_eq!(windows(r"C:b.txt:s:$DATA"), ("C:b.txt", Some("s")));
        assert_eq!(windows("Files/a:$x"), ("Files/a", Some("$x")));
        assert_eq!(split_stream("a:b", Os::Linux), ("a:b", None));
    }
}
