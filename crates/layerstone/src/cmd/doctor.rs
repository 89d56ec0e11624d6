//! `doctor`: what this host can do.

#[cfg(windows)]
mod windows;

use serde::Serialize;

use super::App;
use crate::error::Result;

#[derive(Serialize)]
struct Line {
    name: String,
    ok: bool,
    /// Something does not work without it that this system is there for.
    required: bool,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

pub(crate) fn run(app: &App) -> Result<()> {
    let mut lines = vec![store_line(app)];
    #[cfg(windows)]
    lines.extend(windows::lines(&app.root));
    for capability in layerstone_store::attach::probe() {
        lines.push(Line {
            name: capability.name.to_string(),
            ok: capability.available,
            // On Windows layers are attached in another way.
            required: capability.required && !cfg!(windows),
            detail: capability.detail,
            hint: capability.hint,
        });
    }
    #[cfg(target_os = "linux")]
    lines.push(containers_line());
    app.print(&lines, |out| {
        for line in &lines {
            let state = if line.ok { "ok     " } else { "missing" };
            let optional = if line.ok || line.required { "" } else { " (not required)" };
            writeln!(out, "{state}  {}{optional}: {}", line.name, line.detail)?;
            if let Some(hint) = &line.hint {
                writeln!(out, "         {hint}")?;
            }
        }
        Ok(())
    })
}

/// Whether the store can be written to.
fn store_line(app: &App) -> Line {
    let name = "store".to_owned();
    let place = app.root.display();
    if !app.root.exists() {
        let detail = format!("{place} does not exist yet; the first import makes it");
        return Line { name, ok: true, required: true, detail, hint: None };
    }
    match app.existing_store().and_then(|store| Ok(store.stage().map(drop)?)) {
        Ok(()) => Line {
            name,
            ok: true,
            required: true,
            detail: format!("{place} can be read and written"),
            hint: None,
        },
        Err(error) => Line {
            name,
            ok: false,
            required: true,
            detail: format!("{place}: {error}"),
            hint: Some("choose another store with --root, or run as its owner".into()),
        },
    }
}

/// Whether containers can be run.
#[cfg(target_os = "linux")]
fn containers_line() -> Line {
    let missing = layerstone_agent::missing();
    let ok = missing.is_empty();
    Line {
        name: "containers".to_owned(),
        ok,
        required: false,
        detail: if ok { "they can be run".to_owned() } else { missing.join("; ") },
        hint: (!ok).then(|| "run it as root, on a host or in a sandbox that has these".to_owned()),
    }
}
