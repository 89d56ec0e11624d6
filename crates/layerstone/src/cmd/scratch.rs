//! `scratch`, `diff` and `commit`.

use layerstone_layer::diff::{Change, Difference};
use layerstone_oci::Platform;
use serde::Serialize;

use super::App;
use super::object::{self, Object};
use crate::args::{Commit, Diff};
use crate::error::{Error, Result};
use crate::ui::table::Table;
use crate::ui::text;

pub(crate) fn create(app: &App, name: &str, image: &str, platform: Option<&Platform>) -> Result<()> {
    let store = app.existing_store()?;
    let image = store.image(image, platform)?;
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
            return Err(Error::Usage(format!("`{}` is no scratch: give a second image to compare with", args.a)));
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
