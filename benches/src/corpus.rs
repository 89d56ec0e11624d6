//! Images made from the host's `/usr`, in an OCI layout that every contender reads.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use layerstone_oci::compress::Encoder;
use layerstone_oci::{
    Compression, Descriptor, HistoryEntry, ImageConfig, Layout, Manifest, MediaType, Platform, Sha256Hasher,
};

use crate::Result;

/// Bytes of files in the image of one layer.
const SIZE: u64 = 1280 << 20;
/// How many times that the large image is.
const TIMES: u64 = 4;
/// Layers of the image that is the same files cut in parts.
const PARTS: usize = 8;
/// Where the files come from.
const SOURCE: &str = "/usr";

/// One layer of 1.25 GiB of files.
pub const ONE: &str = "one";
/// One layer, four times as large, as far as `/usr` goes.
pub const LARGE: &str = "large";
/// The files of [`ONE`] in eight layers.
pub const EIGHT: &str = "eight";
/// [`ONE`] with a small layer on top.
pub const CHILD: &str = "child";
/// Sixty-four small layers.
pub const MANY: &str = "many";

/// The images and what belongs to them.
#[derive(Debug, Clone)]
pub struct Corpus {
    directory: PathBuf,
}

/// A layer's blob and sizes.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The compressed file.
    pub path: PathBuf,
    /// Its size.
    pub compressed: u64,
    /// Size of the archive in it.
    pub archive: u64,
}

impl Corpus {
    /// The corpus, made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open() -> Result<Self> {
        let corpus = Corpus { directory: directory() };
        fs::create_dir_all(&corpus.directory)?;
        corpus.make()?;
        Ok(corpus)
    }

    /// An uncompressed archive of at least a GiB of files of all sizes, made if it is not there. It needs nothing else of the corpus.
    ///
    /// # Errors
    /// When it cannot be made, or the machine has not as many files.
    pub fn archive() -> Result<PathBuf> {
        const LEAST: u64 = 1 << 30;
        let corpus = Corpus { directory: directory() };
        fs::create_dir_all(&corpus.directory)?;
        let path = corpus.directory.join("plain.tar");
        if !path.exists() {
            eprintln!("making {} (once)", path.display());
            let part = path.with_extension("part");
            let (list, mut tar) = corpus.tar(&take(&files()?, SIZE))?;
            let mut archive = tar.stdout.take().ok_or("tar has no output")?;
            io::copy(&mut archive, &mut File::create(&part)?)?;
            drop(list);
            if !tar.wait()?.success() {
                return Err("tar failed".into());
            }
            fs::rename(part, &path)?;
        }
        match fs::metadata(&path)?.len() {
            LEAST.. => Ok(path),
            found => Err(format!("{SOURCE} has {found} bytes of files, {LEAST} are needed").into()),
        }
    }

    /// The OCI layout.
    pub fn layout(&self) -> PathBuf {
        self.directory.join("layout")
    }

    /// An empty directory for one run, beside the corpus: on the same file system.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn work(&self) -> Result<tempfile::TempDir> {
        Ok(tempfile::Builder::new().prefix("work-").tempdir_in(&self.directory)?)
    }

    /// The layers of an image.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn layers(&self, name: &str) -> Result<Vec<Blob>> {
        let layout = Layout::open(self.layout())?;
        let source = layerstone_oci::open_source(&self.layout(), &self.directory)?;
        let image = source.resolve(Some(name), None)?;
        let blob = |layer: &layerstone_oci::SourceLayer| {
            let archive = layer.descriptor.annotations.get(ARCHIVE_SIZE).and_then(|size| size.parse().ok());
            Ok(Blob {
                path: layout.blob_path(&layer.descriptor.digest),
                compressed: layer.descriptor.size,
                archive: archive.ok_or("a layer without its size: delete the corpus")?,
            })
        };
        image.layers.iter().map(blob).collect()
    }

    fn make(&self) -> Result<()> {
        let layout = Layout::create(self.layout())?;
        if layout.find(MANY)?.is_some() {
            return Ok(());
        }
        eprintln!("making the corpus in {} (once)", self.directory.display());
        let files = files()?;
        let one = take(&files, SIZE);
        let small: Vec<_> = files[one.len()..].iter().take(200).cloned().collect();
        let base = self.layer(&layout, &one)?;
        self.image(&layout, ONE, vec![base.clone()])?;
        let top = self.layer(&layout, &small)?;
        self.image(&layout, CHILD, vec![base, top])?;
        let mut parts: [(u64, Vec<Found>); PARTS] = Default::default();
        for file in one {
            // The smallest part grows.
            if let Some(part) = parts.iter_mut().min_by_key(|part| part.0) {
                part.0 += file.size;
                part.1.push(file);
            }
        }
        let parts: Result<Vec<_>> = parts.iter().map(|(_, files)| self.layer(&layout, files)).collect();
        self.image(&layout, EIGHT, parts?)?;
        self.image(&layout, LARGE, vec![self.layer(&layout, &take(&files, SIZE * TIMES))?])?;
        let many: Result<Vec<_>> = small.chunks(3).take(64).map(|files| self.layer(&layout, files)).collect();
        self.image(&layout, MANY, many?)
    }

    /// GNU tar packing files, and the list that it reads, which has to outlive it.
    fn tar(&self, files: &[Found]) -> Result<(tempfile::NamedTempFile, Child)> {
        let mut names = BTreeSet::new();
        for file in files {
            names.extend(file.path.ancestors().filter(|path| path.parent().is_some()));
        }
        let mut list = tempfile::NamedTempFile::new_in(&self.directory)?;
        for name in names {
            list.write_all(name.strip_prefix("/")?.as_os_str().as_bytes())?;
            list.write_all(b"\0")?;
        }
        list.flush()?;
        let tar = Command::new("tar")
            .args(["--create", "--directory=/", "--no-recursion", "--null", "--format=pax", "--files-from"])
            .arg(list.path())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok((list, tar))
    }

    /// Packs files with GNU tar, and compresses at gzip's level 6.
    fn layer(&self, layout: &Layout, files: &[Found]) -> Result<Layer> {
        let (_list, mut tar) = self.tar(files)?;
        let mut archive = tar.stdout.take().ok_or("tar has no output")?;
        let mut encoder = Encoder::new(Compression::Gzip, Some(6), None, layout.blob_writer()?)?;
        let mut hasher = Sha256Hasher::new();
        let mut size = 0;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let n = archive.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            encoder.write_all(&buffer[..n])?;
            size += n as u64;
        }
        if !tar.wait()?.success() {
            return Err("tar failed".into());
        }
        let (digest, compressed) = encoder.finish()?.commit()?;
        let mut descriptor = Descriptor::new(MediaType::OCI_LAYER_GZIP, digest, compressed);
        descriptor.annotations.insert(ARCHIVE_SIZE.into(), size.to_string());
        Ok((descriptor, hasher.finish()))
    }

    fn image(&self, layout: &Layout, name: &str, layers: Vec<Layer>) -> Result<()> {
        let mut config = ImageConfig::new(&Platform::parse("linux/amd64")?);
        for (_, diff_id) in &layers {
            let history = HistoryEntry { created_by: Some("bench".into()), ..HistoryEntry::default() };
            config = config.append_layer(&(*diff_id).into(), history)?;
        }
        layout.put_blob_bytes(config.bytes())?;
        let descriptors = layers.into_iter().map(|(descriptor, _)| descriptor).collect();
        let manifest = Manifest::build(config.descriptor(), descriptors, Default::default())?;
        layout.put_blob_bytes(manifest.bytes())?;
        Ok(layout.set_image(name, &manifest.descriptor())?)
    }
}

/// Where the corpus is kept.
fn directory() -> PathBuf {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    };
    target.join("bench-corpus")
}

/// Annotation of a layer: bytes of its archive.
const ARCHIVE_SIZE: &str = "bench.archive-size";

/// A blob, and the digest of what is in it.
type Layer = (Descriptor, layerstone_oci::Digest);

#[derive(Debug, Clone)]
struct Found {
    path: PathBuf,
    size: u64,
}

/// The files and links below the source, mixed: any beginning of the list has files of every kind and size.
fn files() -> Result<Vec<Found>> {
    let mut files = Vec::new();
    let mut todo = vec![PathBuf::from(SOURCE)];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                todo.push(entry.path());
            } else if metadata.is_file() || metadata.is_symlink() {
                // Above this one file would be a good part of the corpus.
                if metadata.len() <= SIZE / 16 {
                    files.push(Found { path: entry.path(), size: metadata.len() });
                }
            }
        }
    }
    files.sort_by_cached_key(|file| {
        let mut hasher = DefaultHasher::new();
        file.path.hash(&mut hasher);
        (hasher.finish(), file.path.clone())
    });
    Ok(files)
}

/// As many files as make `size`.
fn take(files: &[Found], size: u64) -> Vec<Found> {
    let mut left = size;
    let taken = files.iter().take_while(|file| {
        let more = left > 0;
        left = left.saturating_sub(file.size);
        more
    });
    taken.cloned().collect()
}

/// Reads a file, so that whoever reads it next finds it in memory.
///
/// # Errors
/// When it cannot be read.
pub fn warm(path: &Path) -> Result<()> {
    io::copy(&mut File::open(path)?, &mut io::sink())?;
    Ok(())
}
