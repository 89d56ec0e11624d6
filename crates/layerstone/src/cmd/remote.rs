//! `inspect` of what is in a registry, and of artifacts.

use layerstone_oci::{Manifest, Platform};
use layerstone_registry::{Content, Select};
use serde::Serialize;

use super::App;
use super::list::short;
use super::registry::client;
use crate::args::Inspect;
use crate::error::Result;
use crate::ui::table::Table;
use crate::ui::text;

#[derive(Serialize)]
struct Remote<'a> {
    kind: &'static str,
    reference: String,
    host: &'a str,
    digest: String,
    media_type: &'a str,
    images: Vec<Image<'a>>,
    skipped: usize,
}

#[derive(Serialize)]
struct Image<'a> {
    manifest: String,
    platform: String,
    layers: Vec<Blob>,
    config: &'a serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Blob {
    digest: String,
    media_type: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
}

/// What a registry has under a name: all platforms, or the one that was asked for.
pub(super) fn inspect(app: &App, args: &Inspect) -> Result<()> {
    let client = client(app, &args.registry)?;
    let select = args.platform.clone().map_or(Select::All, Select::Platform);
    let pull = client.resolve(&args.object, &select)?;
    if let Content::Artifact(manifest) = pull.content() {
        return artifact(app, &pull.reference().to_string(), manifest);
    }
    let images = pull.images().iter().map(|image| {
        let layers = image.layers.iter().map(|layer| Blob {
            digest: layer.descriptor.digest.to_string(),
            media_type: layer.descriptor.media_type.to_string(),
            size: layer.descriptor.size,
            diff_id: Some(layer.diff_id.to_string()),
            title: None,
        });
        Image {
            manifest: image.manifest.digest().to_string(),
            platform: image.platform.to_string(),
            layers: layers.collect(),
            config: image.config.raw(),
        }
    });
    let document = pull.document();
    let view = Remote {
        kind: "remote",
        reference: pull.reference().to_string(),
        host: pull.host(),
        digest: document.digest.to_string(),
        media_type: document.media_type.as_str(),
        images: images.collect(),
        skipped: pull.skipped(),
    };
    app.print(&view, |out| {
        writeln!(out, "reference  {}", view.reference)?;
        writeln!(out, "digest     {}", view.digest)?;
        writeln!(out, "type       {}", view.media_type)?;
        for image in &view.images {
            writeln!(out, "\nimage      {}  {}", image.platform, image.manifest)?;
            let mut table = Table::new(&["DIGEST", ">BLOB", "DIFF ID"]);
            for layer in &image.layers {
                let diff_id = layer.diff_id.as_deref().map(short).unwrap_or_default();
                table.row([short(&layer.digest), text::size(layer.size), diff_id]);
            }
            table.print(out)?;
        }
        if view.skipped > 0 {
            writeln!(out, "\nand {} that are no images", text::count(view.skipped as u64, "entry"))?;
        }
        Ok(())
    })
}

#[derive(Serialize)]
struct Referrer {
    digest: String,
    media_type: String,
    artifact_type: Option<String>,
    size: u64,
    platform: Option<Platform>,
    annotations: std::collections::BTreeMap<String, String>,
}

/// What refers to a manifest.
pub(super) fn referrers(app: &App, args: &Inspect) -> Result<()> {
    let client = client(app, &args.registry)?;
    let (document, found) = client.referrers(&args.object)?;
    let rows: Vec<Referrer> = found
        .into_iter()
        .map(|referrer| Referrer {
            digest: referrer.descriptor.digest.to_string(),
            media_type: referrer.descriptor.media_type.to_string(),
            artifact_type: referrer.artifact_type,
            size: referrer.descriptor.size,
            platform: referrer.descriptor.platform,
            annotations: referrer.descriptor.annotations,
        })
        .collect();
    #[derive(Serialize)]
    struct View<'a> {
        kind: &'static str,
        subject: String,
        referrers: &'a [Referrer],
    }
    let view = View { kind: "referrers", subject: document.digest.to_string(), referrers: &rows };
    app.print(&view, |out| {
        writeln!(out, "subject  {}", view.subject)?;
        let mut table = Table::new(&["DIGEST", "TYPE", ">SIZE"]);
        for row in &rows {
            let kind = row.artifact_type.clone().unwrap_or_else(|| row.media_type.clone());
            table.row([short(&row.digest), kind, text::size(row.size)]);
        }
        table.print(out)
    })
}

/// Something that is no image.
pub(super) fn artifact(app: &App, name: &str, manifest: &Manifest) -> Result<()> {
    #[derive(Serialize)]
    struct Artifact<'a> {
        kind: &'static str,
        name: &'a str,
        manifest: String,
        artifact_type: &'a str,
        subject: Option<String>,
        config: Blob,
        blobs: Vec<Blob>,
        annotations: &'a std::collections::BTreeMap<String, String>,
    }
    let blob = |descriptor: &layerstone_oci::Descriptor| Blob {
        digest: descriptor.digest.to_string(),
        media_type: descriptor.media_type.to_string(),
        size: descriptor.size,
        diff_id: None,
        title: descriptor.annotations.get("org.opencontainers.image.title").cloned(),
    };
    let view = Artifact {
        kind: "artifact",
        name,
        manifest: manifest.digest().to_string(),
        artifact_type: manifest.artifact_type().unwrap_or_else(|| manifest.config().media_type.as_str()),
        subject: manifest.subject().map(|subject| subject.digest.to_string()),
        config: blob(manifest.config()),
        blobs: manifest.layers().iter().map(blob).collect(),
        annotations: manifest.annotations(),
    };
    app.print(&view, |out| {
        writeln!(out, "artifact  {}", view.name)?;
        writeln!(out, "manifest  {}", view.manifest)?;
        writeln!(out, "type      {}", view.artifact_type)?;
        if let Some(subject) = &view.subject {
            writeln!(out, "subject   {subject}")?;
        }
        writeln!(out)?;
        let mut table = Table::new(&["DIGEST", ">SIZE", "TYPE", "TITLE"]);
        for blob in &view.blobs {
            table.row([
                short(&blob.digest),
                text::size(blob.size),
                blob.media_type.clone(),
                blob.title.clone().unwrap_or_default(),
            ]);
        }
        table.print(out)
    })
}
