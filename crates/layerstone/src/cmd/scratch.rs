//! `scratch`, `diff` and `commit`.

use layerstone_layer::diff::{Change, Difference};
use layerstone_store::CommitOptions;
use serde::Serialize;

use super::App;
use super::object::{self, Object};
use crate::args::{Commit, Diff, ScratchCreate};
use crate::error::{Error, Result};
use crate::ui::table::Table;
use crate::ui::text;

pub(crate) fn create(app: &App, args: &ScratchCreate) -> Result<()> {
    let store = app.existing_store()?;
    let name = args.name.as_str();
    let image = store.image(&args.image, args.platform.as_ref())?;
    let scratch = store.create_scratch(name, &image)?;
    #[derive(Serialize)]
    struct Row<'a> {
        name: &'a str,
        image: &'a str,
        directory: String,
    }
    let row = Row { name, image: &image.name, directory: scratch.path().display().to_string() };
    app.print(&row, |out| writeln!(out, "{name}"))
}

pub(crate) fn remove(app: &App, names: &[String]) -> Result<()> {
    let store = app.existing_store()?;
    for name in names {
        store.remove_scratch(name)?;
        app.print(name, |out| writeln!(out, "{name}"))?;
    }
    Ok(())
}

pub(crate) fn list(app: &App) -> Result<()> {
    #[derive(Serialize)]
    struct Row {
        name: String,
        image: String,
        os: layerstone_layer::Os,
        layers: usize,
        disk: u64,
    }
    let store = app.existing_store()?;
    let mut rows = Vec::new();
    for scratch in store.scratches()? {
        let description = scratch.description();
        rows.push(Row {
            name: scratch.name().to_owned(),
            image: description.image.clone(),
            os: description.os,
            layers: description.chain_ids.len(),
            disk: layerstone_store::usage::of(scratch.path())?,
        });
    }
    app.print(&rows, |out| {
        let mut table = Table::new(&["SCRATCH", "IMAGE", "OS", ">LAYERS", ">DISK"]);
        for row in &rows {
            table.row([
                row.name.clone(),
                row.image.clone(),
                format!("{:?}", row.os).to_lowercase(),
                row.layers.to_string(),
                text::size(row.disk),
            ]);
        }
        table.print(out)
    })
}

#[derive(Serialize)]
struct Changed {
    path: String,
    change: Change,
}

pub(crate) fn diff(app: &App, args: &Diff) -> Result<()> {
    let store = app.existing_store()?;
    let platform = args.platform.as_ref();
    let a = object::find(&store, &args.a, platform)?;
    let changes = match (a, &args.b) {
        (Object::Scratch(scratch), None) => changed(&store.diff_scratch(&scratch)?),
        (_, None) => {
            return Err(Error::Usage(format!(
                "`{}` is no scratch: give a second image to compare with",
                args.a
            )));
        }
        (Object::Image(a), Some(b)) => match object::find(&store, b, platform)? {
            Object::Image(b) => changed(&store.diff_images(&a, &b)?),
            _ => return Err(Error::Usage(format!("`{b}` is no image"))),
        },
        (_, Some(_)) => return Err(Error::Usage(format!("`{}` is no image", args.a))),
    };
    app.print(&changes, |out| {
        for Changed { path, change } in &changes {
            let letter = match change {
                Change::Added => 'A',
                Change::Removed => 'D',
                Change::Changed => 'C',
                Change::Metadata => 'M',
            };
            writeln!(out, "{letter} {path}")?;
        }
        Ok(())
    })
}

fn changed<Id>(differences: &[Difference<Id>]) -> Vec<Changed> {
    differences.iter().map(|d| Changed { path: d.path.to_string(), change: d.change }).collect()
}

pub(crate) fn commit(app: &App, args: &Commit) -> Result<()> {
    let store = app.existing_store()?;
    let scratch = store.scratch(&args.scratch)?;
    let options = CommitOptions {
        author: args.author.clone(),
        message: args.message.clone(),
        created: created(args.created.as_deref())?,
        keep_blobs: args.keep_blobs,
        ..CommitOptions::default()
    };
    let outcome = store.commit(&scratch, &args.name, &options)?;
    #[derive(Serialize)]
    struct Row {
        image: String,
        manifest: String,
        layer: Option<layerstone_store::Description>,
        findings: layerstone_layer::Report,
    }
    let row = Row {
        image: outcome.image.name.clone(),
        manifest: outcome.image.manifest.digest().to_string(),
        layer: outcome.layer,
        findings: outcome.report,
    };
    app.print(&row, |out| {
        match &row.layer {
            Some(layer) => writeln!(
                out,
                "layer {}  {}, {}",
                layer.diff_id.0,
                text::count(layer.counts.entries, "entry"),
                text::size(layer.archive_size)
            )?,
            None => writeln!(out, "nothing had changed: no layer was added")?,
        }
        writeln!(out, "{}  {}", row.image, row.manifest)
    })?;
    if !app.json {
        for (finding, count) in row.findings.iter().filter(|(finding, _)| !finding.is_benign()) {
            app.remark(format_args!("note: {} {finding}", count.count));
        }
    }
    Ok(())
}

/// The time of the commit: as given, else SOURCE_DATE_EPOCH (reproducible-builds.org), else now.
fn created(given: Option<&str>) -> Result<String> {
    let usage = |what: &str, error: jiff::Error| Error::Usage(format!("{what} is not a time: {error}"));
    let stamp = match (given, std::env::var("SOURCE_DATE_EPOCH")) {
        (Some(text), _) => text.parse::<jiff::Timestamp>().map_err(|error| usage(text, error))?,
        (None, Ok(seconds)) => {
            let number = seconds.parse().map_err(|_| {
                Error::Usage(format!("SOURCE_DATE_EPOCH is `{seconds}`, which is no number of seconds"))
            })?;
            jiff::Timestamp::from_second(number).map_err(|error| usage("SOURCE_DATE_EPOCH", error))?
        }
        (None, Err(_)) => jiff::Timestamp::now(),
    };
    Ok(stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
