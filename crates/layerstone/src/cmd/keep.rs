//! `rmi`, `gc`, `df` and `fsck`: what keeps a store in order.

use std::cell::Cell;

use layerstone_oci::ChainId;
use layerstone_store::fsck::FsckStep;
use layerstone_store::{FsckOptions, Store};
use serde::Serialize;

use super::App;
use super::list::short;
use crate::args::{Fsck, Gc, Rmi};
use crate::error::{Error, Result};
use crate::ui::progress::Bar;
use crate::ui::table::Table;
use crate::ui::text;

pub(crate) fn rmi(app: &App, args: &Rmi) -> Result<()> {
    let store = app.existing_store()?;
    for reference in &args.images {
        let removed = store.remove_image(reference, args.force)?;
        #[derive(Serialize)]
        struct Row {
            names: Vec<String>,
            digests: Vec<String>,
            scratches: Vec<String>,
        }
        let digests = removed.digests.iter().map(ToString::to_string).collect();
        let row = Row { names: removed.names, digests, scratches: removed.scratches };
        app.print(&row, |out| {
            for name in &row.names {
                writeln!(out, "{name}")?;
            }
            Ok(())
        })?;
        if !row.scratches.is_empty() {
            app.remark(format_args!(
                "its layers stay as long as these scratches: {}",
                row.scratches.join(", ")
            ));
        }
    }
    Ok(())
}

/// Layers that must stay because they are attached.
fn attached(store: &Store) -> Result<Vec<ChainId>> {
    Ok(store.attached_chain_ids()?.into_iter().collect())
}

pub(crate) fn gc(app: &App, args: &Gc) -> Result<()> {
    let store = app.existing_store()?;
    if !args.dry_run {
        store.sweep_attachments()?;
    }
    // Alone before looking what is attached: nothing can be attached in between.
    let lock = store.lock_exclusive()?;
    let keep = attached(&store)?;
    let outcome = store.gc_holding(&lock, args.dry_run, &keep, &|_| ())?;
    drop(lock);
    #[derive(Serialize)]
    struct Row {
        dry_run: bool,
        layers: Vec<String>,
        blobs: Vec<String>,
        staging: usize,
        locks: usize,
        bytes_freed: u64,
    }
    let row = Row {
        dry_run: args.dry_run,
        layers: outcome.layers.iter().map(|(chain, _)| chain.0.to_string()).collect(),
        blobs: outcome.blobs.iter().map(|(digest, _)| digest.to_string()).collect(),
        staging: outcome.staging.len(),
        locks: outcome.locks,
        bytes_freed: outcome.bytes_freed,
    };
    app.print(&row, |out| {
        let lists = outcome.layers.iter().map(|(chain, bytes)| ("layer", chain.0.to_string(), *bytes));
        for (what, id, bytes) in
            lists.chain(outcome.blobs.iter().map(|(d, bytes)| ("blob", d.to_string(), *bytes)))
        {
            writeln!(out, "{what:<6} {}  {}", short(&id), text::size(bytes))?;
        }
        let verb = if args.dry_run { "would free" } else { "freed" };
        writeln!(
            out,
            "{verb} {}: {}, {}",
            text::size(outcome.bytes_freed),
            text::count(outcome.layers.len() as u64, "layer"),
            text::count(outcome.blobs.len() as u64, "blob"),
        )
    })
}

pub(crate) fn df(app: &App) -> Result<()> {
    let store = app.existing_store()?;
    let usage = store.df(&attached(&store)?)?;
    #[derive(Serialize)]
    struct Layer {
        chain_id: String,
        bytes: u64,
        shared: bool,
        images: Vec<String>,
    }
    #[derive(Serialize)]
    struct Scratch {
        name: String,
        bytes: u64,
    }
    #[derive(Serialize)]
    struct Row {
        total: u64,
        layers: Vec<Layer>,
        scratches: Vec<Scratch>,
        blobs: u64,
        staging: u64,
        damaged: u64,
        reclaimable: Option<u64>,
    }
    let layer_bytes = usage.layer_bytes();
    let scratch_bytes = usage.scratch_bytes();
    let row = Row {
        total: usage.total,
        layers: usage
            .layers
            .into_iter()
            .map(|l| Layer {
                chain_id: l.chain.0.to_string(),
                bytes: l.bytes,
                shared: l.shared,
                images: l.images,
            })
            .collect(),
        scratches: usage.scratches.into_iter().map(|s| Scratch { name: s.name, bytes: s.bytes }).collect(),
        blobs: usage.blobs,
        staging: usage.staging,
        damaged: usage.damaged,
        reclaimable: usage.reclaimable,
    };
    app.print(&row, |out| {
        let mut table = Table::new(&["WHAT", ">COUNT", ">SIZE"]);
        let mut add = |what: &str, count: Option<usize>, bytes: u64| {
            table.row([what.to_owned(), count.map(|n| n.to_string()).unwrap_or_default(), text::size(bytes)]);
        };
        add("layers", Some(row.layers.len()), layer_bytes);
        add("scratches", Some(row.scratches.len()), scratch_bytes);
        add("blobs", None, row.blobs);
        add("staging", None, row.staging);
        if row.damaged > 0 {
            add("damaged", None, row.damaged);
        }
        add("total", None, row.total);
        table.print(out)?;
        match row.reclaimable {
            Some(bytes) => writeln!(out, "`layerstone gc` would free {}", text::size(bytes)),
            None => writeln!(out, "something is damaged: `layerstone fsck` tells what"),
        }
    })
}

pub(crate) fn fsck(app: &App, args: &Fsck) -> Result<()> {
    let store = Store::open_damaged(&app.root)?;
    let options = FsckOptions { repair: args.repair, verify_content: !args.quick };
    let bar = Bar::new("checking", 0, 1, app.shows_progress());
    // Bytes of finished layers, and of the one at hand.
    let (done, current) = (Cell::new(0u64), Cell::new(0u64));
    let outcome = store.fsck(options, &|step| match step {
        FsckStep::Bytes { bytes } => {
            current.set(bytes);
            bar.set(0, done.get() + bytes);
        }
        FsckStep::Blob { size, .. } => done.set(done.get() + size),
        _ => done.set(done.get() + current.take()),
    })?;
    drop(bar);
    #[derive(Serialize)]
    struct Row {
        kind: &'static str,
        problem: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        repaired: Option<String>,
        advice: String,
    }
    let rows: Vec<Row> = outcome
        .problems
        .iter()
        .map(|problem| Row {
            kind: problem.kind(),
            problem: problem.to_string(),
            repaired: outcome.repaired.iter().find(|r| r.problem == *problem).map(|r| r.remedy.to_string()),
            advice: problem.advice(),
        })
        .collect();
    app.print(&rows, |out| {
        for row in &rows {
            writeln!(out, "{}", row.problem)?;
            match &row.repaired {
                Some(remedy) => writeln!(out, "  repaired: {remedy}")?,
                None => writeln!(out, "  {}", row.advice)?,
            }
        }
        writeln!(
            out,
            "{} and {} checked, {}",
            text::count(outcome.layers as u64, "layer"),
            text::count(outcome.blobs as u64, "blob"),
            if rows.is_empty() { "nothing wrong".into() } else { text::count(rows.len() as u64, "problem") },
        )
    })?;
    if outcome.is_sound() {
        return Ok(());
    }
    Err(Error::Damage(format!("{} left", text::count(outcome.remaining.len() as u64, "problem"))))
}
