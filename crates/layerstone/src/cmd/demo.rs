//! `demo`: the main job, from end to end, on the samples that are in the program.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use layerstone_layer::diff::Change;
use layerstone_oci::{ArchiveFormat, ImageSource, SourceOptions};
use layerstone_store::attach::{self, AttachOptions};
use layerstone_store::{
    CommitOptions, ExportDest, ExportOptions, FsckOptions, ImportOptions, Scratch, Store, StoredImage,
};
use serde::Serialize;

use super::App;
use crate::args::Demo;
use crate::error::{Error, IoContext as _, Result};
use crate::ui::text;

/// Two images of two layers each. `samples/make.py` made them.
const SAMPLES: [(&str, &[u8]); 2] = [
    ("windows", include_bytes!("../../samples/windows.oci.tar")),
    ("linux", include_bytes!("../../samples/linux.oci.tar")),
];

/// When the demo's commits claim to have been made: the same digests every time.
const CREATED: &str = "2024-01-01T00:00:00Z";

#[derive(Serialize)]
struct Step {
    image: &'static str,
    step: &'static str,
    result: String,
    milliseconds: f64,
}

/// Does the steps, times them, and prints each when it is done.
struct Runner<'a> {
    app: &'a App,
    steps: Vec<Step>,
}

impl Runner<'_> {
    fn step<T>(
        &mut self,
        image: &'static str,
        step: &'static str,
        work: impl FnOnce() -> Result<(String, T)>,
    ) -> Result<T> {
        let started = Instant::now();
        let (result, value) = work()?;
        let milliseconds = started.elapsed().as_secs_f64() * 1e3;
        if !self.app.json {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{image:<8} {step:<10} {milliseconds:>7.1} ms  {result}")
                .map_err(super::stdout_failed)?;
        }
        self.steps.push(Step { image, step, result, milliseconds });
        Ok(value)
    }
}

pub(crate) fn run(app: &App, args: &Demo) -> Result<()> {
    let temporary = match &args.keep {
        Some(_) => None,
        None => Some(tempfile::tempdir().doing("create", std::env::temp_dir())?),
    };
    let base = match (&args.keep, &temporary) {
        (Some(keep), _) => keep.clone(),
        (None, Some(temporary)) => temporary.path().to_path_buf(),
        (None, None) => return Err(Error::Demo("there is no directory to work in".into())),
    };
    if base.join("store").exists() {
        return Err(Error::Usage(format!(
            "`{}` holds a demo already: choose another directory",
            base.display()
        )));
    }
    fs::create_dir_all(&base).doing("create", &base)?;
    let mut runner = Runner { app, steps: Vec::new() };
    for (name, archive) in SAMPLES {
        image(&mut runner, &base, name, archive)?;
    }
    let store = Store::open(base.join("store"))?;
    runner.step("both", "fsck", || {
        let outcome = store.fsck(FsckOptions { verify_content: true, ..FsckOptions::default() }, &|_| ())?;
        must(outcome.problems.is_empty(), || format!("fsck found {:?}", outcome.problems))?;
        Ok((format!("nothing wrong, {} on disk", text::size(store.df(&[])?.total)), ()))
    })?;
    if app.json {
        app.print(&runner.steps, |_| Ok(()))?;
    } else if let Some(keep) = &args.keep {
        println!("\nkept: LAYERSTONE_ROOT={} layerstone images", keep.join("store").display());
    } else {
        println!("\nall of it worked; nothing was left behind (--keep DIR leaves it there)");
    }
    Ok(())
}

fn must(fine: bool, message: impl FnOnce() -> String) -> Result<()> {
    if fine { Ok(()) } else { Err(Error::Demo(message())) }
}

/// The life of one image.
fn image(runner: &mut Runner<'_>, base: &Path, name: &'static str, archive: &[u8]) -> Result<()> {
    let file = base.join(format!("{name}.oci.tar"));
    fs::write(&file, archive).doing("write", &file)?;
    let store = Store::create(base.join("store"))?;
    let image = runner.step(name, "import", || import(&store, &file, &format!("demo/{name}:base")))?;
    runner.step(name, "verify", || verify(&store, &image))?;
    let scratch = runner.step(name, "scratch", || {
        let scratch = store.create_scratch(name, &image)?;
        Ok(("a writable layer over it".into(), scratch))
    })?;
    let changed = match can_change(&store, &scratch) {
        Ok(()) => {
            change(runner, name, &store, &scratch, &base.join("mnt"))?;
            commit(runner, name, &store, &scratch)?
        }
        Err(missing) => {
            runner
                .step(name, "attach", || Ok((format!("left out, with changes and commit: {missing}"), ())))?;
            image
        }
    };
    let exported = base.join(format!("{name}-changed.oci.tar"));
    runner.step(name, "export", || {
        let output = fs::File::create(&exported).doing("create", &exported)?;
        let dest = ExportDest::Archive(Box::new(output), ArchiveFormat::Oci);
        let outcome = store.export(&changed, dest, &ExportOptions::default())?;
        let size = fs::metadata(&exported).doing("look at", &exported)?.len();
        Ok((format!("OCI archive, {}, manifest {}", text::size(size), outcome.manifest.short()), ()))
    })?;
    runner.step(name, "verify", || {
        let second = Store::create(base.join("second"))?;
        let (_, again) = import(&second, &exported, &format!("demo/{name}:again"))?;
        must(again.config.diff_ids() == changed.config.diff_ids(), || "the export has other DiffIDs".into())?;
        let (result, ()) = verify(&second, &again)?;
        Ok((format!("imported into a second store: {result}"), ()))
    })?;
    store.remove_scratch(name)?;
    Ok(())
}

/// Whether this host can change a scratch at all, or what it lacks.
fn can_change(store: &Store, scratch: &Scratch) -> std::result::Result<(), String> {
    match store.scratch_view(scratch) {
        Err(layerstone_store::Error::Unsupported { missing, .. }) => Err(missing),
        // Any other failure is for the step that needs the view.
        _ => Ok(()),
    }
}

/// Shows what has changed and makes an image of it.
fn commit(
    runner: &mut Runner<'_>,
    name: &'static str,
    store: &Store,
    scratch: &Scratch,
) -> Result<StoredImage> {
    runner.step(name, "diff", || diff(store, scratch))?;
    runner.step(name, "commit", || {
        let options = CommitOptions {
            author: Some("layerstone demo".into()),
            message: Some("the demo's change".into()),
            created: CREATED.into(),
            ..CommitOptions::default()
        };
        let outcome = store.commit(scratch, &format!("demo/{name}:changed"), &options)?;
        let layers = outcome.image.chain_ids().len();
        Ok((format!("{} of {layers} layers", outcome.image.name), outcome.image))
    })
}

fn import(store: &Store, file: &Path, name: &str) -> Result<(String, StoredImage)> {
    let source = ImageSource::open(file, &SourceOptions::new(store.staging_root()))?;
    let resolved = source.resolve(None, None)?;
    let layers = store.import_image(&source, &resolved, name, &ImportOptions::default(), &|_| ())?;
    let entries: u64 = layers.iter().map(|layer| layer.description.counts.entries).sum();
    let image = store.image(name, None)?;
    Ok((format!("{name}: {} layers, {entries} entries", layers.len()), image))
}

fn verify(store: &Store, image: &StoredImage) -> Result<(String, ())> {
    let mut bytes = 0;
    for chain in image.chain_ids() {
        let verified = store.layer(&chain)?.verify(&|_| ())?;
        must(verified.damage.is_empty(), || format!("{:?}", verified.damage))?;
        bytes += verified.bytes;
    }
    Ok((format!("{} of original archives written again, digests equal", text::size(bytes)), ()))
}

/// Changes the scratch: through a mount where the host can, else by a new file in its upper directory.
fn change(
    runner: &mut Runner<'_>,
    name: &'static str,
    store: &Store,
    scratch: &Scratch,
    target: &Path,
) -> Result<()> {
    let missing: Vec<_> = attach::probe().into_iter().filter(|c| c.required && !c.available).collect();
    if let Some(missing) = missing.first() {
        return runner.step(name, "change", || {
            let upper = if name == "windows" { scratch.upper().join("Files") } else { scratch.upper() };
            fs::create_dir_all(&upper).doing("create", &upper)?;
            write_file(&upper, "added.txt")?;
            Ok((format!("a new file, without a mount: {}", missing.detail), ()))
        });
    }
    fs::create_dir_all(target).doing("create", target)?;
    runner.step(name, "attach", || {
        store.attach_scratch(scratch, target, AttachOptions::default())?;
        Ok(("the kernel shows the merged layers".into(), ()))
    })?;
    let attached = Attached { store, target };
    runner.step(name, "change", || {
        write_file(target, "added.txt")?;
        let (edited, removed) =
            if name == "windows" { ("Windows/app.exe", "editor.exe") } else { ("etc/app.conf", "bin/su") };
        let edited = target.join(edited);
        let mut file = fs::OpenOptions::new().append(true).open(&edited).doing("open", &edited)?;
        file.write_all(b"changed\n").doing("write", &edited)?;
        let removed = target.join(removed);
        fs::remove_file(&removed).doing("remove", &removed)?;
        Ok(("one file added, one edited, one removed".into(), ()))
    })?;
    runner.step(name, "detach", || {
        store.detach(attached.target)?;
        Ok(("gone".into(), ()))
    })
}

/// Detaches when a step failed in between.
struct Attached<'a> {
    store: &'a Store,
    target: &'a Path,
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        let _ = self.store.detach(self.target);
    }
}

fn write_file(directory: &Path, name: &str) -> Result<()> {
    let path: PathBuf = directory.join(name);
    fs::write(&path, "added by the demo\n").doing("write", path)
}

fn diff(store: &Store, scratch: &Scratch) -> Result<(String, ())> {
    let differences = store.diff_scratch(scratch)?;
    let shown: Vec<String> = differences
        .iter()
        .filter(|d| d.change != Change::Metadata)
        .map(|d| format!("{:?} {}", d.change, d.path))
        .collect();
    must(!shown.is_empty(), || "the scratch shows no change".into())?;
    Ok((shown.join(", "), ()))
}
