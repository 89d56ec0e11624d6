//! `pull`.

use std::io::Read;
use std::time::Instant;

use layerstone_oci::{Descriptor, ResolvedImage, SourceLayer};
use layerstone_registry::{Content, Select};
use layerstone_store::import::{ImportedLayer, LayerBlobs, Limits};
use layerstone_store::{ImportOptions, Progress, Result as StoreResult, Store};
use serde::Serialize;

use super::App;
use super::import::{LayerOutcome, findings};
use super::registry::client;
use crate::args::registry::Pull;
use crate::error::Result;
use crate::ui::layers::LayerBars;
use crate::ui::text;

/// How many layers are fetched at once at least: one that waits for its registry should not let the others wait.
const LEAST_JOBS: usize = 3;

/// A registry as a source of layers.
struct Remote<'a>(&'a layerstone_registry::Pull);

impl LayerBlobs for Remote<'_> {
    fn open(&self, layer: &SourceLayer) -> StoreResult<Box<dyn Read + Send + '_>> {
        self.open_from(layer, 0)
    }

    fn open_from(&self, layer: &SourceLayer, offset: u64) -> StoreResult<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.0.blob(&layer.descriptor, offset)))
    }
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event<'a> {
    Resolved { reference: String, host: &'a str, manifest: String, media_type: &'a str, bytes: u64 },
    LayerStart { platform: &'a str, layer: usize, digest: String, size: u64 },
    Progress { platform: &'a str, layer: usize, bytes: u64, size: u64 },
    LayerDone { platform: &'a str, layer: usize, digest: String, fetched: bool },
    Done { image: &'a str, manifest: String, images: Vec<ImageOutcome<'a>>, skipped: usize },
    Artifact { image: &'a str, manifest: String, artifact_type: &'a str, bytes: u64 },
}

#[derive(Serialize)]
struct ImageOutcome<'a> {
    manifest: String,
    platform: String,
    layers: Vec<LayerOutcome<'a>>,
}

/// What runs on this host.
#[cfg(windows)]
fn host() -> Select {
    let build = layerstone_hcs::host::build();
    Select::WindowsHost(layerstone_oci::WindowsVersion::of_build(build.0))
}

/// What is for this host's system and processor.
#[cfg(not(windows))]
fn host() -> Select {
    Select::Host
}

pub(crate) fn run(app: &App, args: &Pull) -> Result<()> {
    let store = app.store()?;
    let client = client(app, &args.access)?;
    let select = match &args.platform {
        _ if args.all_platforms => Select::All,
        Some(platform) => Select::Platform(platform.clone()),
        None => host(),
    };
    let started = Instant::now();
    let pull = client.resolve(&args.reference, &select)?;
    let name = args.name.clone().unwrap_or_else(|| pull.reference().to_string());
    let document = pull.document();
    if app.json {
        let bytes =
            pull.images().iter().flat_map(|image| &image.layers).map(|layer| layer.descriptor.size).sum();
        app.event(&Event::Resolved {
            reference: pull.reference().to_string(),
            host: pull.host(),
            manifest: document.digest.to_string(),
            media_type: document.media_type.as_str(),
            bytes,
        })?;
    }
    if let Content::Artifact(manifest) = pull.content() {
        let open = |descriptor: &Descriptor| Box::new(pull.blob(descriptor, 0)) as Box<dyn Read + Send>;
        let bytes = store.import_artifact(manifest, &name, &open)?;
        let artifact_type =
            manifest.artifact_type().unwrap_or_else(|| manifest.config().media_type.as_str()).to_owned();
        return if app.json {
            let manifest = document.digest.to_string();
            app.event(&Event::Artifact { image: &name, manifest, artifact_type: &artifact_type, bytes })
        } else {
            app.print(&(), |out| {
                writeln!(out, "{name}  artifact of type {artifact_type}  {}", document.digest)?;
                writeln!(
                    out,
                    "{} in {}",
                    text::size(bytes),
                    text::count(manifest.layers().len() as u64, "blob")
                )
            })
        };
    }
    let imported = import(app, &store, &pull, &name, args)?;
    let images: Vec<ImageOutcome<'_>> = pull.images().iter().zip(&imported).map(ImageOutcome::of).collect();
    if app.json {
        let manifest = document.digest.to_string();
        return app.event(&Event::Done { image: &name, manifest, images, skipped: pull.skipped() });
    }
    let seconds = started.elapsed().as_secs_f64().max(0.001);
    app.print(&(), |out| {
        let platforms: Vec<&str> = images.iter().map(|image| image.platform.as_str()).collect();
        writeln!(out, "{name}  {}  {}", platforms.join(", "), document.digest)?;
        let layers: Vec<_> =
            pull.images().iter().flat_map(|image| &image.layers).zip(imported.iter().flatten()).collect();
        let fetched: Vec<_> = layers.iter().filter(|(_, layer)| layer.unpacked).collect();
        let bytes: u64 = fetched.iter().map(|(layer, _)| layer.descriptor.size).sum();
        let count = text::count(layers.len() as u64, "layer");
        if fetched.is_empty() {
            return writeln!(out, "{count}: all were there");
        }
        let rate = text::size((bytes as f64 / seconds) as u64);
        writeln!(
            out,
            "{count}: {} fetched, {} in {seconds:.1} s ({rate}/s)",
            fetched.len(),
            text::size(bytes)
        )
    })?;
    if pull.skipped() > 0 && args.all_platforms {
        app.detail(format_args!(
            "{} of the index left out: attestations, not images",
            text::count(pull.skipped() as u64, "entry")
        ));
    }
    imported.iter().for_each(|layers| findings(app, layers));
    Ok(())
}

/// Fetches and stores, with progress.
fn import(
    app: &App,
    store: &Store,
    pull: &layerstone_registry::Pull,
    name: &str,
    args: &Pull,
) -> Result<Vec<Vec<ImportedLayer>>> {
    let mut limits = Limits::default();
    limits.archive_bytes = args.max_layer_size.unwrap_or(limits.archive_bytes);
    limits.entries = args.max_layer_entries.unwrap_or(limits.entries);
    let mut options =
        ImportOptions { keep_blobs: args.keep_blobs, resume: true, limits, ..ImportOptions::default() };
    options.jobs =
        args.jobs.unwrap_or_else(|| options.jobs.max(LEAST_JOBS.try_into().unwrap_or(options.jobs)));
    let images = pull.images();
    let show = Show::new(app, images, name);
    let imported = match pull.content() {
        Content::Index(images) => {
            let document = pull.document();
            let index = (document.bytes.as_slice(), &document.media_type);
            store.import_index(&Remote(pull), index, images, name, &options, &|at, event| {
                show.hear(at, &event)
            })?
        }
        _ => {
            let mut imported = Vec::new();
            for (at, image) in images.iter().enumerate() {
                imported
                    .push(store.import_image(&Remote(pull), image, name, &options, &|event| {
                        show.hear(at, &event)
                    })?);
            }
            imported
        }
    };
    Ok(imported)
}

/// Progress for people or for programs.
struct Show<'a> {
    app: &'a App,
    images: &'a [ResolvedImage],
    platforms: Vec<String>,
    /// The number of the first layer of each image.
    first: Vec<usize>,
    bars: LayerBars,
}

impl<'a> Show<'a> {
    fn new(app: &'a App, images: &'a [ResolvedImage], name: &str) -> Self {
        let mut first = Vec::new();
        let mut layers = Vec::new();
        for image in images {
            first.push(layers.len());
            layers.extend(image.layers.iter().map(|layer| {
                (super::list::short(&layer.descriptor.digest.to_string()), layer.descriptor.size)
            }));
        }
        let platforms = images.iter().map(|image| image.platform.to_string()).collect();
        let bars = LayerBars::new(format!("pulling {name}"), layers, app.shows_progress());
        Self { app, images, platforms, first, bars }
    }

    fn hear(&self, image: usize, event: &Progress<'_>) {
        let told = match event {
            Progress::Start { index, descriptor } => {
                self.bars.start(self.first[image] + index);
                let (digest, size) = (descriptor.digest.to_string(), descriptor.size);
                Some(Event::LayerStart { platform: &self.platforms[image], layer: *index, digest, size })
            }
            Progress::Bytes { index, read } => {
                let due = self.bars.set(self.first[image] + index, *read);
                let size = self.images[image].layers[*index].descriptor.size;
                let event =
                    Event::Progress { platform: &self.platforms[image], layer: *index, bytes: *read, size };
                due.then_some(event)
            }
            Progress::Done { index, unpacked } => {
                self.bars.done(self.first[image] + index, *unpacked);
                let digest = self.images[image].layers[*index].descriptor.digest.to_string();
                let event = Event::LayerDone {
                    platform: &self.platforms[image],
                    layer: *index,
                    digest,
                    fetched: *unpacked,
                };
                Some(event)
            }
            _ => return,
        };
        if let (true, Some(event)) = (self.app.json, told) {
            // Who does not listen any more is told by the last line.
            let _ = self.app.event(&event);
        }
    }
}

impl<'a> ImageOutcome<'a> {
    fn of((image, layers): (&ResolvedImage, &'a Vec<ImportedLayer>)) -> Self {
        Self {
            manifest: image.manifest.digest().to_string(),
            platform: image.platform.to_string(),
            layers: layers.iter().map(LayerOutcome::of).collect(),
        }
    }
}
