//! Mending. What may be somebody's data is never removed, only moved to `damaged/`.

use std::fs;
use std::path::{Path, PathBuf};

use layerstone_oci::{
    ChainId, Descriptor, Digest, Index, Layout, Manifest, MediaType, SourceOptions, durable, limits,
};

use super::scan::Found;
use super::{LayerDamage, Problem, Remedy, Repaired};
use crate::error::{IoContext, Result};
use crate::import::ImportOptions;
use crate::leftovers::Leftover;
use crate::root::{Store, read_dir_or_empty, sync_directory};

/// Mends what can be of what a scan found. The store is held alone.
pub(super) fn repair(store: &Store, found: &Found, leftovers: &mut [Leftover]) -> Result<Vec<Repaired>> {
    let mut mender = Mender { store, repaired: Vec::new() };
    for problem in &found.problems {
        mender.frame(problem)?;
    }
    for problem in &found.problems {
        mender.blobs(problem)?;
    }
    for problem in &found.problems {
        mender.layers(problem, found)?;
    }
    for leftover in leftovers {
        leftover.remove()?;
        mender.done(&Problem::leftover(leftover), Remedy::Removed);
    }
    Ok(mender.repaired)
}

struct Mender<'a> {
    store: &'a Store,
    repaired: Vec<Repaired>,
}

impl Mender<'_> {
    fn done(&mut self, problem: &Problem, remedy: Remedy) {
        self.repaired.push(Repaired { problem: problem.clone(), remedy });
    }

    /// What everything else stands on.
    fn frame(&mut self, problem: &Problem) -> Result<()> {
        match problem {
            Problem::MissingDirectory { path } => {
                if fs::symlink_metadata(path).is_ok() {
                    self.set_aside(path, &file_name(path))?;
                }
                fs::create_dir_all(path).doing("create", path)?;
                self.done(problem, Remedy::Created);
            }
            Problem::LayoutFile { .. } => {
                let path = self.store.root().join("oci-layout");
                if fs::symlink_metadata(&path).is_ok() {
                    self.set_aside(&path, "oci-layout")?;
                }
                // An index that is missing too is the next problem, not to be hidden by an empty one.
                crate::root::write_file(&path, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
                self.done(problem, Remedy::Rewritten);
            }
            Problem::Index { .. } => {
                let remedy = self.rebuild_index()?;
                self.done(problem, remedy);
            }
            Problem::Foreign { path } => {
                let to = self.set_aside(path, &format!("foreign-{}", file_name(path)))?;
                self.done(problem, Remedy::SetAside { to });
            }
            Problem::DamagedScratch { name, .. } => {
                let path = self.store.scratch_root().join(name);
                let to = self.set_aside(&path, &format!("scratch-{name}"))?;
                self.done(problem, Remedy::SetAside { to });
            }
            _ => {}
        }
        Ok(())
    }

    fn blobs(&mut self, problem: &Problem) -> Result<()> {
        match problem {
            Problem::DamagedBlob { digest, .. } => {
                if let Some(to) = self.set_blob_aside(digest)? {
                    self.done(problem, Remedy::SetAside { to });
                }
            }
            Problem::DamagedDocument { entry, manifest, digest, .. } => {
                let aside = self.set_blob_aside(digest)?;
                self.forget_image(problem, entry, manifest, aside)?;
            }
            Problem::MissingDocument { entry, manifest, .. } => {
                self.forget_image(problem, entry, manifest, None)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes an image that cannot be read out of the index. A manifest below another index is set aside instead: then that
    /// index lists a platform that is not stored, which is no damage.
    fn forget_image(
        &mut self,
        problem: &Problem,
        entry: &Digest,
        manifest: &Digest,
        aside: Option<PathBuf>,
    ) -> Result<()> {
        let remedy = if entry == manifest {
            self.store.layout().update_index(|index| {
                index.manifests.retain(|listed| listed.digest != *entry);
                Ok::<_, crate::error::Error>(())
            })?;
            Some(Remedy::EntryRemoved)
        } else {
            let manifest_aside = self.set_blob_aside(manifest)?;
            manifest_aside.or(aside).map(|to| Remedy::SetAside { to })
        };
        if let Some(remedy) = remedy {
            self.done(problem, remedy);
        }
        Ok(())
    }

    fn layers(&mut self, problem: &Problem, found: &Found) -> Result<()> {
        match problem {
            Problem::DamagedLayer { chain, damage } => {
                let path = self.store.layer_path(chain);
                let remedy = match self.own_place(damage)? {
                    Some(to) => {
                        self.store.publish(&path, &to)?;
                        Remedy::Renamed { to }
                    }
                    None => Remedy::SetAside { to: self.set_aside(&path, &chain.hex())? },
                };
                self.done(problem, remedy);
            }
            Problem::MissingLayers { manifest, layers, .. } => {
                if found.problems.iter().any(|problem| matches!(problem, Problem::DamagedLayer { .. })) {
                    // The next pass sees all that is missing when the damaged ones are out of the way.
                    return Ok(());
                }
                if self.unpack(manifest, layers)? {
                    self.done(problem, Remedy::Unpacked);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Where a layer belongs whose only fault is its directory's name, if that place is free.
    fn own_place(&self, damage: &[LayerDamage]) -> Result<Option<PathBuf>> {
        let [LayerDamage::WrongName { states }] = damage else { return Ok(None) };
        Ok(if self.store.has_layer(states)? { None } else { Some(self.store.layer_path(states)) })
    }

    /// Unpacks an image's missing layers from the blobs that are kept. False when that is not possible.
    fn unpack(&self, manifest: &Digest, missing: &[ChainId]) -> Result<bool> {
        let options = SourceOptions::new(self.store.staging_root());
        let image = layerstone_oci::ImageSource::open(self.store.root(), &options)
            .and_then(|source| Ok((source.resolve(Some(&manifest.to_string()), None)?, source)));
        let Ok((image, source)) = image else { return Ok(false) };
        let chain_ids = image.config.chain_ids();
        let kept = |chain: &ChainId| {
            let at = chain_ids.iter().position(|known| known == chain);
            at.is_some_and(|at| image.layers[at].is_present())
        };
        if !missing.iter().any(kept) {
            return Ok(false);
        }
        // Layers below the first one without a blob are stored even when this fails in the end.
        let result = self.store.import_layers(&source, &image, &ImportOptions::default(), &|_| {});
        match result {
            Ok(_) => Ok(true),
            Err(error @ crate::error::Error::Io { .. }) => Err(error),
            Err(_) => Ok(false),
        }
    }

    fn set_blob_aside(&self, digest: &Digest) -> Result<Option<PathBuf>> {
        let path = self.store.layout().blob_path(digest);
        if fs::symlink_metadata(&path).is_err() {
            return Ok(None);
        }
        self.set_aside(&path, &format!("blob-{}", digest.hex())).map(Some)
    }

    /// Moves something to `damaged/<name>-<n>`, durably.
    fn set_aside(&self, path: &Path, name: &str) -> Result<PathBuf> {
        let directory = self.store.damaged_root();
        fs::create_dir_all(&directory).doing("create", &directory)?;
        let mut n = 0;
        let to = loop {
            let to = directory.join(format!("{name}-{n}"));
            if fs::symlink_metadata(&to).is_err() {
                break to;
            }
            n += 1;
        };
        durable::rename(path, &to).doing("set aside", path)?;
        sync_directory(&directory)?;
        if let Some(parent) = path.parent() {
            sync_directory(parent)?;
        }
        Ok(to)
    }

    /// A new index of every image whose manifest and configuration are stored.
    fn rebuild_index(&self) -> Result<Remedy> {
        let path = self.store.root().join("index.json");
        let text = fs::read(&path).unwrap_or_default();
        let aside = match fs::symlink_metadata(&path) {
            Ok(_) => Some(self.set_aside(&path, "index.json")?),
            Err(_) => None,
        };
        let text = String::from_utf8_lossy(&text);
        let (manifests, nested) = self.stored_manifests()?;
        let mut index = Index::new();
        let mut images = Vec::new();
        for descriptor in manifests.into_iter().filter(|descriptor| !nested.contains(&descriptor.digest)) {
            let mut names = salvaged_names(&text, &descriptor.digest);
            if names.is_empty() {
                names.extend(self.scratch_image_name(&descriptor.digest));
            }
            if names.is_empty() {
                images.push(descriptor.digest.to_string());
                index.manifests.push(descriptor.clone());
            }
            for name in names {
                index.set(&name, descriptor.clone());
                images.push(name);
            }
        }
        self.store.layout().replace_index(&index)?;
        Ok(Remedy::IndexRebuilt { aside, images })
    }

    /// The manifests and indexes among the blobs, and what the indexes list.
    fn stored_manifests(&self) -> Result<(Vec<Descriptor>, Vec<Digest>)> {
        let layout = self.store.layout();
        let (mut manifests, mut nested) = (Vec::new(), Vec::new());
        let mut entries = read_dir_or_empty(&self.store.root().join("blobs").join("sha256"))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let Some(digest) =
                entry.file_name().to_str().and_then(|name| Digest::parse(&format!("sha256:{name}")).ok())
            else {
                continue;
            };
            let Some(size) = layout.blob_size(&digest)? else { continue };
            if size > limits::MAX_INDEX_SIZE || !starts_like_json(layout, &digest) {
                continue;
            }
            let descriptor = Descriptor::new("", digest, size);
            let Ok(bytes) = layout.read_small_blob(&descriptor, limits::MAX_INDEX_SIZE) else { continue };
            if let Ok(index) = Index::parse(&bytes, "a blob")
                && index.media_type.is_some()
                && !index.manifests.is_empty()
            {
                nested.extend(index.manifests.iter().map(|entry| entry.digest));
                let media_type = index.media_type.unwrap_or_else(|| MediaType::new(MediaType::OCI_INDEX));
                manifests.push(Descriptor::new(media_type, digest, size));
            } else if let Ok(manifest) = Manifest::parse(bytes)
                && layout.has_blob(&manifest.config().digest)?
            {
                let mut descriptor = manifest.descriptor();
                if manifest.is_image()
                    && let Ok(config) = layout
                        .read_small_blob(manifest.config(), limits::MAX_CONFIG_SIZE)
                        .and_then(layerstone_oci::ImageConfig::parse)
                {
                    descriptor.platform = Some(config.platform());
                }
                manifests.push(descriptor);
            }
        }
        Ok((manifests, nested))
    }

    /// A scratch remembers what its image was called.
    fn scratch_image_name(&self, manifest: &Digest) -> Option<String> {
        let entries = read_dir_or_empty(&self.store.scratch_root()).ok()?;
        entries
            .into_iter()
            .filter_map(|entry| self.store.scratch(entry.file_name().to_str()?).ok())
            .map(|scratch| scratch.description().clone())
            .find(|description| description.manifest == *manifest)
            .map(|description| description.image)
            .filter(|name| is_name(name) && !name.starts_with("sha256:"))
    }
}

/// The names that a damaged `index.json` still gives a manifest: each entry is written with its digest before its
/// annotations.
fn salvaged_names(text: &str, digest: &Digest) -> Vec<String> {
    let mut names = Vec::new();
    for (at, found) in text.match_indices(&digest.to_string()) {
        let rest = &text[at + found.len()..];
        let entry = &rest[..rest.find("\"digest\"").unwrap_or(rest.len())];
        let Some(key) = entry.find(layerstone_oci::REF_NAME_ANNOTATION) else { continue };
        let value = &entry[key + layerstone_oci::REF_NAME_ANNOTATION.len()..];
        // The closing quote of the key, then the quotes of the value; without the last, the name was cut.
        let mut parts = value.splitn(4, '"');
        let (_, _, name, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
        if let (Some(name), Some(_)) = (name, rest)
            && is_name(name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// As the image specification bounds names.
fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:@/+".contains(&b))
}

fn starts_like_json(layout: &Layout, digest: &Digest) -> bool {
    use std::io::Read as _;
    let mut start = [0; 1];
    let read = layout.open_blob(digest).is_ok_and(|mut file| file.read_exact(&mut start).is_ok());
    read && (start[0] == b'{' || start[0].is_ascii_whitespace())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
