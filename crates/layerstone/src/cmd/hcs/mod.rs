//! `hcs`: each operation of layer storage by itself.
//!
//! One function does them all over [`LayerStorage`]: with the Host Compute Service where there is one, with the portable
//! engine on request.

mod chain;
mod disk;
mod scratch;
#[cfg(all(test, windows))]
mod tests;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use layerstone_hcs::{ExportLayerOptions, LayerChain, OsLayerOptions, OsLayerType, WritableLayerOptions};
use layerstone_store::storage::{
    BaseOptions, ImportArchiveOptions, Imported, LayerStorage, Portable, import_archive, process_base_layer,
};
use serde::Serialize;

use self::chain::Parents;
use super::App;
use crate::args::hcs::{Hcs, HcsOp, ImportArchive};
use crate::error::{IoContext as _, Result};
use crate::ui::text;

/// What an operation did.
#[derive(Debug, Default, Serialize)]
struct Done {
    operation: &'static str,
    backend: &'static str,
    /// What it was done to.
    path: String,
    /// The parents that were named, nearest first; for operations that take them.
    #[serde(skip_serializing_if = "Option::is_none")]
    parents: Option<Vec<Parent>>,
    /// The layer's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Where files or a volume are.
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_path: Option<String>,
    /// There is a utility VM, which was set up too.
    #[serde(skip_serializing_if = "Option::is_none")]
    utility_vm: Option<bool>,
    /// What was unusual about an archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<layerstone_layer::Report>,
    /// Folders of the work that could not be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_behind: Option<String>,
}

#[derive(Debug, Serialize)]
struct Parent {
    id: String,
    path: String,
}

impl Done {
    fn to(operation: &'static str, path: &Path) -> Self {
        Done { operation, path: path.display().to_string(), ..Done::default() }
    }

    fn over(mut self, chain: &LayerChain) -> Self {
        let parents = chain.parents().iter();
        let parent =
            |p: &layerstone_hcs::Parent| Parent { id: p.id.to_string(), path: p.path.display().to_string() };
        self.parents = Some(parents.map(parent).collect());
        self
    }

    fn at(mut self, path: &Path) -> Self {
        self.mount_path = Some(path.display().to_string());
        self
    }
}

pub(crate) fn run(app: &App, args: &Hcs) -> Result<()> {
    let mut done;
    if args.portable {
        done = perform(app, &Portable::new(), &args.op)?;
        done.backend = "portable";
    } else {
        done = by_the_service(app, &args.op)?;
        done.backend = "hcs";
    }
    app.print(&done, |out| {
        // What a caller wants to go on with.
        let line = done.id.as_ref().or(done.mount_path.as_ref()).unwrap_or(&done.path);
        writeln!(out, "{line}")
    })?;
    if let Some(findings) = done.findings.as_ref().filter(|_| !app.json) {
        for (finding, count) in findings.iter().filter(|(finding, _)| !finding.is_benign()) {
            app.remark(format_args!("note: {} {finding}", count.count));
        }
    }
    if let Some(folder) = &done.left_behind {
        app.remark(format_args!("note: `{folder}` could not be removed; the layer is complete"));
    }
    Ok(())
}

#[cfg(windows)]
fn by_the_service(app: &App, op: &HcsOp) -> Result<Done> {
    perform(app, &layerstone_store::storage::Hcs::system(), op)
}

#[cfg(not(windows))]
fn by_the_service(_app: &App, _op: &HcsOp) -> Result<Done> {
    Err(crate::error::Error::NoService)
}

fn perform<S: LayerStorage>(app: &App, storage: &S, op: &HcsOp) -> Result<Done> {
    match op {
        HcsOp::Import { layer, source, chain } => {
            let (layer, source) = (absolute(layer)?, absolute(source)?);
            let chain = Parents::of(&layer, chain)?.tell(app).chain(storage)?;
            storage.import_layer(&layer, &source, &chain)?;
            Ok(Done::to("import", &layer).over(&chain))
        }
        HcsOp::ImportArchive(args) => archive(app, storage, args),
        HcsOp::Export { layer, dest, writable, chain } => {
            let (layer, dest) = (volume(layer)?, absolute(dest)?);
            let chain = Parents::of(&layer, chain)?.tell(app).chain(storage)?;
            let options = ExportLayerOptions { is_writable_layer: *writable };
            let made = make_folder(&dest)?;
            let exported = storage.export_layer(&layer, &dest, &chain, &options);
            if exported.is_err() && made {
                // Fails when something is in it, which is for the user to look at.
                let _ = fs::remove_dir(&dest);
            }
            exported?;
            Ok(Done::to("export", &layer).over(&chain).at(&dest))
        }
        HcsOp::Destroy { layer } => {
            let layer = absolute(layer)?;
            storage.destroy_layer(&layer)?;
            Ok(Done::to("destroy", &layer))
        }
        HcsOp::SetupBase { layer, vm } => disk::set_up_base(storage, &absolute(layer)?, vm.as_deref()),
        HcsOp::SetupVolume { layer, volume: on } => {
            let (layer, on) = (absolute(layer)?, volume(on)?);
            let options =
                OsLayerOptions { layer_type: Some(OsLayerType::Container), ..OsLayerOptions::default() };
            storage.setup_base_os_volume(&layer, &on, &options)?;
            Ok(Done::to("setup-volume", &layer).at(&on))
        }
        HcsOp::ProcessBase { layer, scratch_size } => {
            let layer = absolute(layer)?;
            let mut options = BaseOptions::default();
            if let Some(size) = scratch_size {
                options.scratch_size = *size;
            }
            let base = process_base_layer(storage, &layer, &options)?;
            Ok(Done { utility_vm: Some(base.utility_vm), ..Done::to("process-base", &layer) })
        }
        HcsOp::Initialize { layer, chain } => {
            let layer = volume(layer)?;
            let chain = Parents::of(&layer, chain)?.tell(app).chain(storage)?;
            storage.initialize_writable_layer(&layer, &chain, &WritableLayerOptions::default())?;
            Ok(Done::to("initialize", &layer).over(&chain))
        }
        HcsOp::Attach { layer, chain } => {
            let layer = volume(layer)?;
            let chain = Parents::of(&layer, chain)?.tell(app).chain(storage)?;
            storage.attach_layer_storage_filter(&layer, &chain)?;
            Ok(Done::to("attach", &layer).over(&chain).at(&storage.scratch_files(&layer)))
        }
        HcsOp::Detach { layer } => {
            let layer = volume(layer)?;
            storage.detach_layer_storage_filter(&layer)?;
            Ok(Done::to("detach", &layer))
        }
        HcsOp::Format { vhd } => {
            disk::with(storage, "format", vhd, |disk| storage.format_writable_layer_vhd(disk))
        }
        HcsOp::MountPath { vhd } => disk::mount_path(storage, vhd),
        HcsOp::CreateVhd(args) => disk::create(storage, args),
        HcsOp::AttachVhd { vhd } => disk::with(storage, "attach-vhd", vhd, |disk| storage.attach_disk(disk)),
        HcsOp::DetachVhd { vhd } => disk::with(storage, "detach-vhd", vhd, |disk| storage.detach_disk(disk)),
        HcsOp::Expand { folder, size } => {
            let folder = absolute(folder)?;
            storage.expand_scratch(&folder, *size)?;
            Ok(Done::to("expand", &folder))
        }
        HcsOp::Id { layer } => {
            let layer = absolute(layer)?;
            let id = storage.layer_id(&layer)?.to_string();
            Ok(Done { id: Some(id), ..Done::to("id", &layer) })
        }
        HcsOp::Scratch(op) => scratch::perform(app, storage, op),
    }
}

/// Makes a layer from its archive, however that is compressed.
fn archive<S: LayerStorage>(app: &App, storage: &S, args: &ImportArchive) -> Result<Done> {
    let layer = absolute(&args.layer)?;
    let chain = Parents::of(&layer, &args.chain)?.tell(app).chain(storage)?;
    let empty_hive = match &args.empty_hive {
        Some(file) => Some(fs::read(file).doing("read", file)?),
        None => None,
    };
    let path = &args.archive;
    let input: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).doing("open", path)?)
    };
    let mut input = BufReader::with_capacity(1 << 20, input);
    let compression = layerstone_oci::sniff_compression(input.fill_buf().doing("read", path)?);
    let tar = layerstone_oci::compress::decoder(compression, input).doing("read", path)?;
    let options = ImportArchiveOptions { empty_hive, ..ImportArchiveOptions::default() };
    let Imported { report, utility_vm, hard_links, left_behind } =
        import_archive(storage, &layer, tar, &chain, &options)?;
    app.detail(format_args!("{} made", text::count(hard_links, "hard link")));
    Ok(Done {
        utility_vm: Some(utility_vm),
        findings: Some(report),
        left_behind: left_behind.map(|folder| folder.display().to_string()),
        ..Done::to("import-archive", &layer).over(&chain)
    })
}

/// A path that means the same to every process: the service has another working directory.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).doing("resolve", path)
}

/// The path of a folder, or of a volume as `mount-path` prints it. The calls want a backslash at the end of that.
fn volume(path: &Path) -> Result<PathBuf> {
    let is_volume = path.to_str().is_some_and(|text| text.starts_with(r"\\?\Volume{") && text.ends_with('}'));
    if is_volume {
        let mut path = path.as_os_str().to_owned();
        path.push(r"\");
        return Ok(path.into());
    }
    absolute(path)
}

/// Makes a folder where there is nothing; whether it did.
fn make_folder(path: &Path) -> Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).doing("create", path),
    }
}
