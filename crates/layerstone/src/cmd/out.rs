//! `export` and `unpack`.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use layerstone_oci::ArchiveFormat;
use layerstone_store::{ExportDest, ExportOptions, ExportOutcome, Store, StoredImage, UnpackOptions};
use serde::Serialize;

use super::App;
use super::list::short;
use crate::args::{self, Export, Format, Unpack};
use crate::error::{Error, IoContext as _, Result};

pub(crate) fn export(app: &App, args: &Export) -> Result<()> {
    let store = app.existing_store()?;
    let image = store.image(&args.image, args.platform.as_ref())?;
    let options = ExportOptions {
        compression: args::Compression::or_gzip(args.compression),
        recompress: args.compression.is_some() || args.level.is_some(),
        level: args.level,
        ..ExportOptions::default()
    };
    let to_stdout = args.dest == Path::new("-");
    let outcome = match archive_format(args, to_stdout)? {
        None => store.export(&image, ExportDest::OciLayout(args.dest.clone()), &options)?,
        Some(format) if to_stdout => {
            let out = BufWriter::new(io::stdout().lock());
            store.export(&image, ExportDest::Archive(Box::new(out), format), &options)?
        }
        Some(format) => archive(&store, &image, &args.dest, format, &options)?,
    };
    if to_stdout {
        app.detail(format_args!("manifest {}", outcome.manifest));
        return Ok(());
    }
    #[derive(Serialize)]
    struct Row {
        dest: String,
        manifest: String,
        config: String,
        layers: Vec<Layer>,
    }
    #[derive(Serialize)]
    struct Layer {
        digest: String,
        size: u64,
        kept: bool,
    }
    let layers = outcome.layers.iter().map(|layer| Layer {
        digest: layer.descriptor.digest.to_string(),
        size: layer.descriptor.size,
        kept: layer.kept,
    });
    let row = Row {
        dest: args.dest.display().to_string(),
        manifest: outcome.manifest.to_string(),
        config: image.config.digest().to_string(),
        layers: layers.collect(),
    };
    app.print(&row, |out| {
        for layer in &row.layers {
            let how = if layer.kept { "as it was published" } else { "compressed again" };
            writeln!(out, "layer {}  {}  {how}", short(&layer.digest), crate::ui::text::size(layer.size))?;
        }
        writeln!(out, "{}  {}", row.dest, row.manifest)
    })?;
    if outcome.manifest != image.manifest.digest() {
        app.detail("the manifest's digest differs from the published one: not every blob was kept (DiffIDs are equal)");
    }
    Ok(())
}

fn archive_format(args: &Export, to_stdout: bool) -> Result<Option<ArchiveFormat>> {
    let named_tar = args.dest.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tar"));
    Ok(match args.format {
        Some(Format::Oci) if to_stdout => {
            return Err(Error::Usage("a layout is a directory: standard output takes an archive".into()));
        }
        Some(Format::Oci) => None,
        Some(Format::OciArchive) => Some(ArchiveFormat::Oci),
        Some(Format::DockerArchive) => Some(ArchiveFormat::Docker),
        None if to_stdout || named_tar => Some(ArchiveFormat::Oci),
        None => None,
    })
}

/// Writes an archive so that it is either there in full or not at all.
fn archive(
    store: &Store,
    image: &StoredImage,
    path: &Path,
    format: ArchiveFormat,
    options: &ExportOptions,
) -> Result<ExportOutcome> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).doing("create a file in", directory)?;
    let outcome = {
        let mut out = BufWriter::with_capacity(1 << 20, file.as_file_mut());
        let outcome = store.export(image, ExportDest::Archive(Box::new(&mut out), format), options)?;
        out.flush().doing("write", path)?;
        outcome
    };
    // Temporary files are private; an archive is for others to read.
    #[cfg(unix)]
    file.as_file()
        .set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .doing("set the mode of", path)?;
    file.as_file().sync_all().doing("sync", path)?;
    file.persist(path).map_err(|error| error.error).doing("write", path)?;
    Ok(outcome)
}

pub(crate) fn unpack(app: &App, args: &Unpack) -> Result<()> {
    let store = app.existing_store()?;
    let image = store.image(&args.image, args.platform.as_ref())?;
    let report = store.unpack(&image, &args.dir, &UnpackOptions { raw: args.raw })?;
    app.print(&report, |out| writeln!(out, "{}", args.dir.display()))?;
    if !app.json {
        for (finding, count) in report.iter() {
            let example = count.examples.first().map(|e| format!(", first: {e}")).unwrap_or_default();
            app.remark(format_args!("note: {} {finding}{example}", count.count));
        }
    }
    Ok(())
}
