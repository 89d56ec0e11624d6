//! `images` and `layers`.

use serde::Serialize;

use super::App;
use crate::error::Result;
use crate::ui::table::Table;
use crate::ui::text;

#[derive(Serialize)]
struct ImageRow {
    name: String,
    manifest: String,
    config: String,
    platform: String,
    layers: usize,
    /// Bytes of the layers' archives.
    size: u64,
    created: Option<String>,
}

pub(crate) fn images(app: &App) -> Result<()> {
    let store = app.existing_store()?;
    let mut rows = Vec::new();
    for image in store.images()? {
        let mut size = 0;
        for chain in image.chain_ids() {
            if store.has_layer(&chain)? {
                size += store.layer(&chain)?.description().archive_size;
            }
        }
        rows.push(ImageRow {
            name: image.name.clone(),
            manifest: image.manifest.digest().to_string(),
            config: image.config.digest().to_string(),
            platform: image.config.platform().to_string(),
            layers: image.chain_ids().len(),
            size,
            created: image.config.created().map(str::to_owned),
        });
    }
    app.print(&rows, |out| {
        let mut table = Table::new(&["IMAGE", "ID", "PLATFORM", ">LAYERS", ">SIZE", "CREATED"]);
        for row in &rows {
            table.row([
                row.name.clone(),
                short(&row.config),
                row.platform.clone(),
                row.layers.to_string(),
                text::size(row.size),
                row.created.as_deref().map(|c| c.chars().take(19).collect()).unwrap_or_default(),
            ]);
        }
        table.print(out)
    })
}

#[derive(Serialize)]
struct LayerRow {
    chain_id: String,
    diff_id: String,
    parent: Option<String>,
    os: layerstone_layer::Os,
    entries: u64,
    archive_size: u64,
    disk: u64,
    images: Vec<String>,
}

pub(crate) fn layers(app: &App) -> Result<()> {
    let store = app.existing_store()?;
    let images = store.images()?;
    let mut rows = Vec::new();
    for id in store.layer_ids()? {
        let layer = store.layer(&id)?;
        let description = layer.description();
        let users = images.iter().filter(|image| image.chain_ids().contains(&id));
        rows.push(LayerRow {
            chain_id: id.0.to_string(),
            diff_id: description.diff_id.0.to_string(),
            parent: description.parent.as_ref().map(|parent| parent.0.to_string()),
            os: description.os,
            entries: description.counts.entries,
            archive_size: description.archive_size,
            disk: layer.disk_usage()?,
            images: users.map(|image| image.name.clone()).collect(),
        });
    }
    app.print(&rows, |out| {
        let mut table =
            Table::new(&["CHAIN ID", "DIFF ID", "PARENT", "OS", ">ENTRIES", ">SIZE", ">DISK", "IMAGES"]);
        for row in &rows {
            table.row([
                short(&row.chain_id),
                short(&row.diff_id),
                row.parent.as_deref().map_or_else(|| "-".into(), short),
                format!("{:?}", row.os).to_lowercase(),
                row.entries.to_string(),
                text::size(row.archive_size),
                text::size(row.disk),
                row.images.join(", "),
            ]);
        }
        table.print(out)
    })
}

/// The first twelve digits of a digest.
pub(super) fn short(digest: &str) -> String {
    digest.trim_start_matches("sha256:").chars().take(12).collect()
}
