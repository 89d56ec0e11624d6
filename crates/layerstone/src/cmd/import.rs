//! `import`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use layerstone_layer::report::Count;
use layerstone_layer::{Finding, Report};
use layerstone_oci::{ImageSource, ResolvedImage, SourceOptions};
use layerstone_store::import::{ImportedLayer, Limits};
use layerstone_store::{ImportOptions, Progress, Store};
use serde::Serialize;

use super::App;
use crate::args::Import;
use crate::error::{Error, IoContext as _, Result};
use crate::ui::progress::Bar;
use crate::ui::text;

#[derive(Serialize)]
struct Outcome<'a> {
    image: &'a str,
    manifest: String,
    platform: String,
    layers: Vec<LayerOutcome<'a>>,
}

#[derive(Serialize)]
pub(super) struct LayerOutcome<'a> {
    chain_id: String,
    diff_id: String,
    unpacked: bool,
    entries: u64,
    bytes: u64,
    findings: &'a Report,
}

pub(crate) fn run(app: &App, args: &Import) -> Result<()> {
    let store = app.store()?;
    let source = open(&store, &args.source)?;
    let image = source.resolve(args.image.as_deref(), args.platform.as_ref())?;
    let name = match (&args.name, image.names.first()) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => name.clone(),
        (None, None) => name_from_path(&args.source)?,
    };
    let mut limits = Limits::default();
    limits.archive_bytes = args.max_layer_size.unwrap_or(limits.archive_bytes);
    limits.entries = args.max_layer_entries.unwrap_or(limits.entries);
    let mut options = ImportOptions { keep_blobs: args.keep_blobs, limits, ..ImportOptions::default() };
    options.jobs = args.jobs.unwrap_or(options.jobs);
    let started = Instant::now();
    let layers = import(app, &store, &source, &image, &name, &options)?;

    let outcome = Outcome {
        image: &name,
        manifest: image.manifest.digest().to_string(),
        platform: image.config.platform().to_string(),
        layers: layers.iter().map(LayerOutcome::of).collect(),
    };
    app.print(&outcome, |out| {
        let unpacked: Vec<_> = layers.iter().filter(|layer| layer.unpacked).collect();
        let bytes: u64 = unpacked.iter().map(|layer| layer.description.archive_size).sum();
        let seconds = started.elapsed().as_secs_f64();
        writeln!(out, "{name}  {}  {}", outcome.platform, outcome.manifest)?;
        writeln!(
            out,
            "{}: {} unpacked, {} in {seconds:.1} s ({}/s)",
            text::count(layers.len() as u64, "layer"),
            unpacked.len(),
            text::size(bytes),
            text::size((bytes as f64 / seconds.max(0.001)) as u64),
        )
    })?;
    if !app.json {
        findings(app, &layers);
    }
    Ok(())
}

/// Opens an image source; an archive on standard input is kept in the store's staging directory meanwhile.
pub(super) fn open(store: &Store, path: &Path) -> Result<ImageSource> {
    let options = SourceOptions::new(store.staging_root());
    if path == Path::new("-") {
        return Ok(ImageSource::from_reader(&mut std::io::stdin(), "standard input", &options)?);
    }
    std::fs::metadata(path).doing("open", path)?;
    Ok(ImageSource::open(path, &options)?)
}

/// Imports with a progress display.
pub(super) fn import(
    app: &App,
    store: &Store,
    source: &ImageSource,
    image: &ResolvedImage,
    name: &str,
    options: &ImportOptions,
) -> Result<Vec<ImportedLayer>> {
    let total = image.layers.iter().map(|layer| layer.descriptor.size).sum();
    let bar = Bar::new(format!("importing {name}"), total, image.layers.len(), app.shows_progress());
    let progress = |event: Progress<'_>| match event {
        Progress::Bytes { index, read } => bar.set(index, read),
        Progress::Done { index, unpacked } => {
            bar.set(index, image.layers[index].descriptor.size);
            app.detail(format_args!(
                "layer {index}: {} {}",
                image.layers[index].diff_id.0,
                if unpacked { "unpacked" } else { "was there" }
            ));
        }
        _ => {}
    };
    Ok(store.import_image(source, image, name, options, &progress)?)
}

impl<'a> LayerOutcome<'a> {
    pub(super) fn of(layer: &'a ImportedLayer) -> Self {
        let description = &layer.description;
        LayerOutcome {
            chain_id: description.chain_id.0.to_string(),
            diff_id: description.diff_id.0.to_string(),
            unpacked: layer.unpacked,
            entries: description.counts.entries,
            bytes: description.counts.bytes,
            findings: &description.report,
        }
    }
}

/// Tells what was out of the ordinary, summed over the layers.
pub(super) fn findings(app: &App, layers: &[ImportedLayer]) {
    let mut sums: BTreeMap<Finding, Count> = BTreeMap::new();
    for layer in layers.iter().filter(|layer| layer.unpacked) {
        for (finding, count) in layer.description.report.iter() {
            let sum = sums.entry(finding).or_default();
            sum.count += count.count;
            sum.examples.extend(count.examples.iter().cloned());
        }
    }
    for (finding, count) in sums {
        let line = format!("note: {} {finding}", count.count);
        if finding.is_benign() {
            app.detail(line);
        } else {
            let example = count.examples.first().map(|e| format!(", first: {e}")).unwrap_or_default();
            app.remark(format_args!("{line}{example}"));
        }
    }
}

/// A name for an image that has none: that of its file.
fn name_from_path(path: &Path) -> Result<String> {
    let stem = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = stem.split(".tar").next().unwrap_or_default().to_ascii_lowercase();
    let name: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .collect();
    if name.is_empty() || name == "-" {
        return Err(Error::Usage("the image has no name in its source: give one with --name".into()));
    }
    Ok(format!("{name}:latest"))
}
