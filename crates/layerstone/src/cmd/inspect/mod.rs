//! `inspect`.

mod windows;

use layerstone_store::{Description, Store, StoredImage};
use serde::Serialize;

use super::App;
use super::list::short;
use super::object::{self, Object};
use super::remote;
use crate::args::Inspect;
use crate::error::{Error, Result};
use crate::ui::table::Table;
use crate::ui::text;
use windows::Windows;

#[derive(Serialize)]
struct Image<'a> {
    kind: &'static str,
    name: &'a str,
    manifest: String,
    media_type: Option<&'a str>,
    platform: String,
    os_version: Option<&'a str>,
    #[serde(flatten)]
    windows: Windows,
    config_digest: String,
    layers: Vec<ImageLayer>,
    config: &'a serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct ImageLayer {
    digest: String,
    media_type: String,
    compressed_size: u64,
    blob_kept: bool,
    diff_id: String,
    chain_id: String,
    stored: Option<Description>,
}

pub(crate) fn run(app: &App, args: &Inspect) -> Result<()> {
    if args.referrers {
        return remote::referrers(app, args);
    }
    if args.remote {
        return remote::inspect(app, args);
    }
    let store = app.existing_store()?;
    if let Some(manifest) = store.artifact(&args.object)? {
        return remote::artifact(app, &args.object, &manifest);
    }
    let found = match object::find(&store, &args.object, args.platform.as_ref()) {
        Err(Error::Store(layerstone_store::Error::NoImage(_))) if super::container::inspect(app, args)? => {
            return Ok(());
        }
        found => found?,
    };
    match found {
        Object::Image(image) => inspect_image(app, &store, &image),
        Object::Layer(layer) => inspect_layer(app, layer.description(), layer.disk_usage()?),
        Object::Scratch(scratch) => {
            let usage = layerstone_store::usage::of(scratch.path())?;
            let description = scratch.description();
            #[derive(Serialize)]
            struct Row<'a> {
                kind: &'static str,
                name: &'a str,
                disk: u64,
                #[serde(flatten)]
                description: &'a layerstone_store::ScratchDescription,
            }
            let row = Row { kind: "scratch", name: scratch.name(), disk: usage, description };
            app.print(&row, |out| {
                writeln!(out, "scratch    {}", scratch.name())?;
                writeln!(out, "image      {}", description.image)?;
                writeln!(out, "manifest   {}", description.manifest)?;
                writeln!(out, "layers     {}", description.chain_ids.len())?;
                writeln!(out, "directory  {}", scratch.path().display())?;
                writeln!(out, "disk       {}", text::size(usage))
            })
        }
    }
}

fn inspect_image(app: &App, store: &Store, image: &StoredImage) -> Result<()> {
    let mut layers = Vec::new();
    let parts = image.manifest.layers().iter().zip(image.config.diff_ids()).zip(image.chain_ids());
    for ((descriptor, diff_id), chain) in parts {
        let stored =
            if store.has_layer(&chain)? { Some(store.layer(&chain)?.description().clone()) } else { None };
        layers.push(ImageLayer {
            digest: descriptor.digest.to_string(),
            media_type: descriptor.media_type.to_string(),
            compressed_size: descriptor.size,
            blob_kept: store.layout().has_blob(&descriptor.digest)?,
            diff_id: diff_id.0.to_string(),
            chain_id: chain.0.to_string(),
            stored,
        });
    }
    let media_type = image.descriptor.media_type.as_str();
    let view = Image {
        kind: "image",
        name: &image.name,
        manifest: image.manifest.digest().to_string(),
        media_type: Some(media_type),
        platform: image.config.platform().to_string(),
        os_version: image.config.os_version(),
        windows: Windows::of(app, store, image),
        config_digest: image.config.digest().to_string(),
        layers,
        config: image.config.raw(),
    };
    app.print(&view, |out| {
        writeln!(out, "image     {}", view.name)?;
        writeln!(out, "manifest  {}", view.manifest)?;
        writeln!(out, "config    {}", view.config_digest)?;
        writeln!(out, "platform  {}", view.platform)?;
        view.windows.print(out, view.os_version)?;
        if let Some(created) = image.config.created() {
            writeln!(out, "created   {created}")?;
        }
        for (what, words) in [("entry", image.config.entrypoint()), ("command", image.config.cmd())] {
            if let Some(words) = words {
                writeln!(out, "{what:<9} {}", words.join(" "))?;
            }
        }
        writeln!(out)?;
        let mut table = Table::new(&["DIGEST", ">BLOB", "KEPT", "DIFF ID", "CHAIN ID", ">ENTRIES", ">SIZE"]);
        for layer in &view.layers {
            table.row([
                short(&layer.digest),
                text::size(layer.compressed_size),
                if layer.blob_kept { "yes" } else { "no" }.into(),
                short(&layer.diff_id),
                short(&layer.chain_id),
                layer.stored.as_ref().map_or_else(|| "missing".into(), |s| s.counts.entries.to_string()),
                layer.stored.as_ref().map_or_else(String::new, |s| text::size(s.archive_size)),
            ]);
        }
        table.print(out)
    })
}

fn inspect_layer(app: &App, description: &Description, disk: u64) -> Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        kind: &'static str,
        disk: u64,
        #[serde(flatten)]
        description: &'a Description,
    }
    app.print(&Row { kind: "layer", disk, description }, |out| {
        let counts = &description.counts;
        writeln!(out, "chain id  {}", description.chain_id.0)?;
        writeln!(out, "diff id   {}", description.diff_id.0)?;
        if let Some(parent) = &description.parent {
            writeln!(out, "parent    {}", parent.0)?;
        }
        writeln!(out, "archive   {}", text::size(description.archive_size))?;
        writeln!(out, "disk      {}", text::size(disk))?;
        let parts = [
            (counts.files, "file"),
            (counts.directories, "directory"),
            (counts.symlinks, "symlink"),
            (counts.hard_links, "hard link"),
            (counts.special, "device"),
            (counts.streams, "stream"),
            (counts.whiteouts, "whiteout"),
        ];
        let parts: Vec<String> =
            parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| text::count(*n, what)).collect();
        writeln!(out, "entries   {} ({})", counts.entries, parts.join(", "))?;
        for (finding, count) in description.report.iter() {
            writeln!(out, "note      {} {finding}", count.count)?;
            for example in &count.examples {
                writeln!(out, "            {example}")?;
            }
        }
        Ok(())
    })
}
