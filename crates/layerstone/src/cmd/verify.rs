//! `verify`.

use layerstone_store::StoredLayer;
use serde::Serialize;

use super::App;
use super::object::{self, Object};
use crate::args::Verify;
use crate::error::{Error, Result};
use crate::ui::progress::Bar;
use crate::ui::text;

#[derive(Serialize)]
struct Row {
    chain_id: String,
    diff_id: String,
    bytes: u64,
    damage: Vec<String>,
}

pub(crate) fn run(app: &App, args: &Verify) -> Result<()> {
    let store = app.existing_store()?;
    let chain_ids = match args.object.as_deref() {
        None => store.layer_ids()?,
        Some(name) => match object::find(&store, name, None)? {
            Object::Image(image) => image.chain_ids(),
            Object::Layer(layer) => vec![*layer.chain_id()],
            Object::Scratch(scratch) => scratch.description().chain_ids.clone(),
        },
    };
    let layers: Vec<StoredLayer> =
        chain_ids.iter().map(|chain| store.layer(chain)).collect::<Result<_, _>>()?;
    let total = layers.iter().map(|layer| layer.description().archive_size).sum();
    let bar = Bar::new("verifying", total, layers.len(), app.shows_progress());
    let mut rows = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let verified = layer.verify(&|bytes| bar.set(index, bytes))?;
        bar.set(index, layer.description().archive_size);
        rows.push(Row {
            chain_id: layer.chain_id().0.to_string(),
            diff_id: layer.description().diff_id.0.to_string(),
            bytes: verified.bytes,
            damage: verified.damage.iter().map(ToString::to_string).collect(),
        });
    }
    drop(bar);
    app.print(&rows, |out| {
        for row in &rows {
            let state = if row.damage.is_empty() { "ok" } else { "DAMAGED" };
            writeln!(out, "{state:<8} {}  {}", row.diff_id, text::size(row.bytes))?;
            for damage in &row.damage {
                writeln!(out, "         {damage}")?;
            }
        }
        Ok(())
    })?;
    let damaged = rows.iter().filter(|row| !row.damage.is_empty()).count();
    if damaged > 0 {
        return Err(Error::Damage(format!(
            "{} of {} damaged",
            damaged,
            text::count(rows.len() as u64, "layer")
        )));
    }
    Ok(())
}
