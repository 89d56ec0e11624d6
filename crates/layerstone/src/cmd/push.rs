//! `push`.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, SeekFrom};
use std::time::Instant;

use layerstone_oci::{Descriptor, Digest, Index, Manifest, MediaType};
use layerstone_registry::{BlobSource, PushOptions, PushProgress, Reference, Uploaded};
use layerstone_store::{ExportOptions, Prepared, Store, StoredImage};
use serde::Serialize;

use super::App;
use super::list::short;
use super::registry::client;
use crate::args::{self, registry::Push};
use crate::error::{Error, Result};
use crate::ui::layers::LayerBars;
use crate::ui::text;

/// Images that are ready to be sent.
struct Blobs<'a>(&'a [Prepared]);

impl BlobSource for Blobs<'_> {
    fn open(&self, descriptor: &Descriptor, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for prepared in self.0 {
            match prepared.open(&descriptor.digest) {
                Ok(mut blob) => {
                    blob.seek(SeekFrom::Start(offset))?;
                    return Ok(blob);
                }
                Err(error) => last = io::Error::other(error),
            }
        }
        Err(last)
    }
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event<'a> {
    Prepared {
        reference: String,
        manifest: String,
        recompressed: usize,
    },
    Progress {
        digest: String,
        bytes: u64,
        size: u64,
    },
    Blob {
        digest: String,
        size: u64,
        how: &'static str,
    },
    Manifest {
        digest: String,
    },
    Done {
        image: &'a str,
        reference: String,
        manifest: String,
        sent: usize,
        sent_bytes: u64,
        existed: usize,
        mounted: usize,
        left_nondistributable: Vec<String>,
    },
}

pub(crate) fn run(app: &App, args: &Push) -> Result<()> {
    let store = app.existing_store()?;
    let client = client(app, &args.access)?;
    let (images, index) = if args.all_platforms {
        store.platforms(&args.image)?
    } else {
        (vec![store.image(&args.image, args.platform.as_ref())?], None)
    };
    let name = images.first().map_or("", |image| &image.name).to_owned();
    let reference = match &args.reference {
        Some(text) => single(client.registries().candidates(text)?, text)?,
        None if Digest::parse(&name).is_ok() => {
            return Err(Error::Usage("the image has no name: say where to push it to".into()));
        }
        None => single(client.registries().candidates(&name)?, &name)?,
    };
    let options = ExportOptions {
        compression: args::Compression::or_gzip(args.compression),
        recompress: args.compression.is_some() || args.level.is_some(),
        level: args.level,
        leave_nondistributable: !args.allow_nondistributable_artifacts,
        ..ExportOptions::default()
    };
    let started = Instant::now();
    let mut prepared = Vec::new();
    for image in &images {
        let ready = store.prepare(image, &options)?;
        let recompressed = ready.layers.iter().filter(|layer| !layer.kept).count();
        if recompressed > 0 {
            app.remark(format_args!(
                "{} compressed again, because no blob was kept (`pull --keep-blobs` keeps them): the digests of blobs and manifest are new, the DiffIDs stay",
                text::count(recompressed as u64, "layer"),
            ));
        }
        if app.json {
            let manifest = ready.manifest.digest().to_string();
            app.event(&Event::Prepared { reference: reference.to_string(), manifest, recompressed })?;
        }
        prepared.push(ready);
    }
    let index = match &index {
        Some((entry, bytes)) => {
            Some((index_of(app, (entry, bytes), &images, &prepared)?, entry.media_type.clone()))
        }
        None if args.all_platforms && images.len() > 1 => {
            Some((new_index(&images, &prepared)?, MediaType::new(MediaType::OCI_INDEX)))
        }
        None => None,
    };
    let manifests: Vec<&Manifest> = prepared.iter().map(|ready| &ready.manifest).collect();
    let push = PushOptions {
        jobs: args.jobs,
        allow_nondistributable: args.allow_nondistributable_artifacts,
        chunk: args.chunk_size,
        mount_from: mount_from(&store, &reference)?,
    };
    let layers: BTreeMap<Digest, u64> = manifests
        .iter()
        .flat_map(|manifest| manifest.layers())
        .map(|layer| (layer.digest, layer.size))
        .collect();
    let order: HashMap<Digest, usize> = layers.keys().enumerate().map(|(at, digest)| (*digest, at)).collect();
    let labels = layers.iter().map(|(digest, size)| (short(&digest.to_string()), *size)).collect();
    let bars = LayerBars::new(format!("pushing {reference}"), labels, app.shows_progress());
    let progress = |event: PushProgress<'_>| {
        let told = match event {
            PushProgress::Bytes { descriptor, sent } => {
                let Some(at) = order.get(&descriptor.digest) else { return };
                bars.start_once(*at);
                let due = bars.set(*at, sent);
                due.then(|| Event::Progress {
                    digest: descriptor.digest.to_string(),
                    bytes: sent,
                    size: descriptor.size,
                })
            }
            PushProgress::Blob { descriptor, how } => {
                if let Some(at) = order.get(&descriptor.digest) {
                    bars.done(*at, how == Uploaded::Sent);
                }
                let how = match how {
                    Uploaded::Existed => "existed",
                    Uploaded::Mounted => "mounted",
                    Uploaded::Sent => "sent",
                };
                Some(Event::Blob { digest: descriptor.digest.to_string(), size: descriptor.size, how })
            }
            PushProgress::Manifest { digest } => Some(Event::Manifest { digest: digest.to_string() }),
            _ => None,
        };
        if let (true, Some(event)) = (app.json, told) {
            let _ = app.event(&event);
        }
    };
    let pushed_index = index.as_ref().map(|(bytes, media_type)| (bytes.as_slice(), media_type));
    let outcome = client.push(&reference, &manifests, pushed_index, &Blobs(&prepared), &push, &progress)?;
    drop(bars);
    let manifest = match &index {
        Some((bytes, _)) => Digest::of(bytes),
        None => manifests
            .first()
            .map(|manifest| manifest.digest())
            .ok_or_else(|| Error::Usage("nothing to push".into()))?,
    };
    if app.json {
        return app.event(&Event::Done {
            image: &name,
            reference: reference.to_string(),
            manifest: manifest.to_string(),
            sent: outcome.sent,
            sent_bytes: outcome.sent_bytes,
            existed: outcome.existed,
            mounted: outcome.mounted,
            left_nondistributable: outcome.left.iter().map(ToString::to_string).collect(),
        });
    }
    if !outcome.left.is_empty() {
        app.remark(format_args!(
            "{} not sent, because they may not be distributed (--allow-nondistributable-artifacts sends them): {}",
            text::count(outcome.left.len() as u64, "layer"),
            outcome.left.iter().map(|digest| short(&digest.to_string())).collect::<Vec<_>>().join(", "),
        ));
    }
    app.print(&(), |out| {
        let seconds = started.elapsed().as_secs_f64().max(0.001);
        writeln!(out, "{reference}  {manifest}")?;
        writeln!(
            out,
            "{} sent, {} in {seconds:.1} s; {} were there, {} taken from other repositories",
            text::count(outcome.sent as u64, "blob"),
            text::size(outcome.sent_bytes),
            outcome.existed,
            outcome.mounted,
        )
    })
}

/// A short name may stand for several registries, and an image is sent to one only.
fn single(mut candidates: Vec<Reference>, text: &str) -> Result<Reference> {
    let several = candidates.len() > 1;
    match candidates.pop() {
        Some(only) if !several => {
            if only.tag().is_none() {
                return Err(Error::Usage(format!(
                    "push `{text}` to a tag, not to a digest: what a digest names is given by the content"
                )));
            }
            Ok(only)
        }
        _ => Err(Error::Usage(format!(
            "`{text}` may be in several registries (registries.conf): write it with its registry"
        ))),
    }
}

/// The index as it was published, when all that it lists is pushed as it was published; or else a new one of what is pushed.
fn index_of(
    app: &App,
    (entry, bytes): (&Descriptor, &[u8]),
    images: &[StoredImage],
    prepared: &[Prepared],
) -> Result<Vec<u8>> {
    let mut index = Index::parse(bytes, &format!("index {}", entry.digest))?;
    let mut left_out = 0;
    let mut changed = false;
    let mut kept = Vec::new();
    for old in std::mem::take(&mut index.manifests) {
        let at = images.iter().position(|image| image.descriptor.digest == old.digest);
        match at {
            Some(at) => {
                let new = prepared[at].manifest.descriptor();
                changed |= new.digest != old.digest;
                let media_type =
                    if new.digest == old.digest { old.media_type.clone() } else { new.media_type };
                kept.push(Descriptor { media_type, digest: new.digest, size: new.size, ..old });
            }
            None => left_out += 1,
        }
    }
    if left_out == 0 && !changed {
        return Ok(bytes.to_vec());
    }
    if left_out > 0 {
        app.remark(format_args!(
            "the index is a new one: {} of the published one not stored here (attestations, other platforms)",
            text::count(left_out, "entry"),
        ));
    }
    index.manifests = kept;
    Ok(index.to_bytes()?)
}

fn new_index(images: &[StoredImage], prepared: &[Prepared]) -> Result<Vec<u8>> {
    let mut index = Index::new();
    for (image, ready) in images.iter().zip(prepared) {
        index.manifests.push(ready.manifest.descriptor().with_platform(image.config.platform()));
    }
    Ok(index.to_bytes()?)
}

/// Repositories of the same registry that images here came from, by their blobs.
fn mount_from(store: &Store, reference: &Reference) -> Result<HashMap<Digest, Vec<String>>> {
    /// Asking costs a request each.
    const MOST: usize = 2;
    let mut found: HashMap<Digest, Vec<String>> = HashMap::new();
    for image in store.images()? {
        let Ok(own) = Reference::parse(&image.name) else { continue };
        if own.registry() != reference.registry() || own.repository() == reference.repository() {
            continue;
        }
        for descriptor in image.manifest.layers().iter().chain([image.manifest.config()]) {
            let places = found.entry(descriptor.digest).or_default();
            if places.len() < MOST && !places.iter().any(|place| place == own.repository()) {
                places.push(own.repository().to_owned());
            }
        }
    }
    Ok(found)
}
