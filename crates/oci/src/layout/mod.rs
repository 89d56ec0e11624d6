//! OCI image layouts: a directory with `oci-layout`, `index.json` and `blobs/`.

mod blob;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::limits::MAX_INDEX_SIZE;
use crate::{Descriptor, Digest, Error, Index, Result, VerifyingReader, sys};

pub use blob::BlobWriter;

/// Content of a new `oci-layout` file.
pub(crate) const LAYOUT_FILE: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// Begins the name of every file that is being written. Such names are no digests, so readers of the layout skip them.
pub const TEMPORARY_PREFIX: &str = ".tmp-";
/// Held locked while `index.json` is replaced. It is a file of its own because a lock on `index.json` would stay with
/// the old file when the new one takes its place.
const LOCK_FILE: &str = ".index.lock";

/// A directory in the form of
/// [image-spec, image-layout.md](https://github.com/opencontainers/image-spec/blob/main/image-layout.md), which skopeo,
/// umoci and buildx read and write as well.
///
/// Files appear whole or not at all: each is written under a temporary name, synced, and renamed. `index.json` is changed
/// under a lock, so several processes can work on a layout at once.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

/// An image of a layout: a name, and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// The annotation `org.opencontainers.image.ref.name`.
    pub name: String,
    /// The entry of `index.json`.
    pub descriptor: Descriptor,
}

impl Layout {
    /// Opens a layout. Its version must be `1.0.0`, the only one there is.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let path = root.join("oci-layout");
        let not_a_layout = |reason: &str| Error::NotALayout { path: root.clone(), reason: reason.to_owned() };
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(not_a_layout("it has no file oci-layout"));
            }
            result => result.map_err(Error::file("open", &path))?,
        };
        check_layout_file(&read_bounded(file, &path, 4096)?).map_err(|reason| not_a_layout(&reason))?;
        Ok(Self { root })
    }

    /// Opens a layout, and makes one first if there is none: the directory, `oci-layout`, `index.json`, `blobs/sha256`.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let layout = Self { root };
        let blobs = layout.blobs_dir();
        fs::create_dir_all(&blobs).map_err(Error::file("create directory", &blobs))?;
        let _lock = layout.lock()?;
        let index = layout.root.join("index.json");
        let marker = layout.root.join("oci-layout");
        if !marker.try_exists().map_err(Error::file("look for", &marker))? {
            // Where the marker is, an index that is missing was lost: an empty one would let a collection remove
            // everything.
            if !index.try_exists().map_err(Error::file("look for", &index))? {
                layout.write_root_file("index.json", &Index::new().to_bytes()?)?;
            }
            // Last, because its presence says that the rest is there.
            layout.write_root_file("oci-layout", LAYOUT_FILE.as_bytes())?;
        }
        Self::open(layout.root)
    }

    /// Whether [`set_image`](Self::set_image) takes this name.
    pub fn check_name(name: &str) -> Result<()> {
        check_name(name)
    }

    /// The layout at `root`, whatever is there: for tools that look for damage and mend it.
    pub fn unchecked(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the blob with this digest is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// The size of a blob, if it is there.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("look for", &path)(error)),
        }
    }

    /// Whether the blob is there.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        Ok(self.blob_size(digest)?.is_some())
    }

    /// Opens a blob's file. What is read from it is not verified: see [`blob_reader`](Self::blob_reader).
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::BlobMissing { digest: *digest, place: self.root.display().to_string() })
            }
            result => result.map_err(Error::file("open", &path)),
        }
    }

    /// Reads a blob, failing at its end unless digest and size are right.
    pub fn blob_reader(&self, descriptor: &Descriptor) -> Result<VerifyingReader<File>> {
        VerifyingReader::new(self.open_blob(&descriptor.digest)?, descriptor.digest, Some(descriptor.size))
    }

    /// A verified blob of at most `limit` bytes.
    pub fn read_small_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        read_small(descriptor, limit, || self.open_blob(&descriptor.digest))
    }

    /// Stores a blob, unless it is there already.
    pub fn put_blob_bytes(&self, content: &[u8]) -> Result<Digest> {
        let digest = Digest::of(content);
        let present = self.blob_size(&digest)? == Some(content.len() as u64)
            && self.blob_reader(&Descriptor::new("", digest, content.len() as u64))?.verify_to_end().is_ok();
        if !present {
            let mut writer = self.blob_writer()?;
            writer.write_all(content).map_err(Error::file("write", &self.blob_path(&digest)))?;
            writer.commit()?;
        }
        Ok(digest)
    }

    /// Begins a blob; its temporary file is beside the other blobs.
    pub fn blob_writer(&self) -> Result<BlobWriter> {
        BlobWriter::new(self.clone(), &self.blobs_dir())
    }

    /// Begins a blob; its temporary file is in `staging`, which must be on the same file system.
    pub fn blob_writer_in(&self, staging: &Path) -> Result<BlobWriter> {
        BlobWriter::new(self.clone(), staging)
    }

    /// Removes a blob, and says whether it was there. Nothing checks whether an image still needs it.
    pub fn remove_blob(&self, digest: &Digest) -> Result<bool> {
        let path = self.blob_path(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::file("remove", &path)(error)),
        }
    }

    /// The sha256 blobs that are there. Names that are not digests are passed over.
    pub fn blobs(&self) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for_each_name(&self.blobs_dir(), |name, _| {
            digests.extend(Digest::parse(&format!("sha256:{name}")));
            Ok(())
        })?;
        digests.sort();
        Ok(digests)
    }

    /// Removes temporary files that a killed process left, if nothing has written to them for `age`; says how many.
    pub fn remove_stale_temporaries(&self, age: Duration) -> Result<usize> {
        let mut removed = 0;
        for dir in [self.blobs_dir(), self.root.clone()] {
            for_each_name(&dir, |name, path| {
                let stale = |modified: SystemTime| modified.elapsed().is_ok_and(|idle| idle >= age);
                if name.starts_with(TEMPORARY_PREFIX)
                    && fs::metadata(path).and_then(|m| m.modified()).is_ok_and(stale)
                {
                    match fs::remove_file(path) {
                        Ok(()) => removed += 1,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(Error::file("remove", path)(error)),
                    }
                }
                Ok(())
            })?;
        }
        Ok(removed)
    }

    /// `index.json` as it is now.
    pub fn index(&self) -> Result<Index> {
        let path = self.root.join("index.json");
        let file = sys::open_replaced(&path).map_err(Error::file("open", &path))?;
        let bytes = read_bounded(file, &path, MAX_INDEX_SIZE)?;
        Index::parse(&bytes, &path.display().to_string())
    }

    /// Changes `index.json`: reads it, lets `change` change it, and puts the result in its place, all under a lock that
    /// other processes wait for. When `change` fails, nothing is written; its error type must take this crate's.
    pub fn update_index<T, E: From<Error>>(
        &self,
        change: impl FnOnce(&mut Index) -> Result<T, E>,
    ) -> Result<T, E> {
        let _lock = self.lock()?;
        let before = self.index()?;
        let mut index = before.clone();
        let result = change(&mut index)?;
        if index != before {
            self.write_root_file("index.json", &index.to_bytes()?)?;
        }
        Ok(result)
    }

    /// Puts `index` in the place of `index.json`, whatever that was: for mending a layout whose index cannot be read.
    pub fn replace_index(&self, index: &Index) -> Result<()> {
        let _lock = self.lock()?;
        self.write_root_file("index.json", &index.to_bytes()?)
    }

    /// The named images, in the order of `index.json`. Entries without a name are in [`index`](Self::index).
    pub fn images(&self) -> Result<Vec<NamedImage>> {
        let named =
            |descriptor: Descriptor| Some(NamedImage { name: descriptor.ref_name()?.to_owned(), descriptor });
        Ok(self.index()?.manifests.into_iter().filter_map(named).collect())
    }

    /// The image of that name.
    pub fn find(&self, name: &str) -> Result<Option<Descriptor>> {
        Ok(self.index()?.find(name).cloned())
    }

    /// Makes `name` stand for a manifest or an index whose blob is stored.
    pub fn set_image(&self, name: &str, descriptor: &Descriptor) -> Result<()> {
        check_name(name)?;
        if !self.has_blob(&descriptor.digest)? {
            let place = self.root.display().to_string();
            return Err(Error::BlobMissing { digest: descriptor.digest, place });
        }
        self.update_index(|index| {
            index.set(name, descriptor.clone());
            Ok(())
        })
    }

    /// Removes a name, and says whether it was there. The blobs stay.
    pub fn remove_image(&self, name: &str) -> Result<bool> {
        self.update_index(|index| Ok(index.remove(name)))
    }

    fn blobs_dir(&self) -> PathBuf {
        self.root.join("blobs").join("sha256")
    }

    fn lock(&self) -> Result<File> {
        let path = self.root.join(LOCK_FILE);
        let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let file = open.map_err(Error::file("open", &path))?;
        file.lock().map_err(Error::file("lock", &path))?;
        Ok(file)
    }

    fn write_root_file(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.root.join(name);
        let mut temporary =
            sys::temporary_file(&self.root, TEMPORARY_PREFIX).map_err(Error::file("write beside", &path))?;
        let written = temporary.write_all(content).and_then(|()| temporary.as_file().sync_all());
        written.map_err(Error::file("write", &path))?;
        sys::replace(temporary, &path).map_err(Error::file("replace", &path))?;
        sys::sync_directory(&self.root).map_err(Error::file("sync", &self.root))
    }
}

/// Says what is wrong with the content of an `oci-layout` file.
pub(crate) fn check_layout_file(content: &[u8]) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct LayoutFile {
        image_layout_version: String,
    }
    match serde_json::from_slice::<LayoutFile>(content) {
        Ok(file) if file.image_layout_version == "1.0.0" => Ok(()),
        Ok(file) => {
            Err(format!("its version is {:?}, and 1.0.0 is the only one known", file.image_layout_version))
        }
        Err(error) => Err(format!("its file oci-layout is not valid: {error}")),
    }
}

/// Reads a verified blob that must fit in memory.
pub(crate) fn read_small<R: Read>(
    descriptor: &Descriptor,
    limit: u64,
    open: impl FnOnce() -> Result<R>,
) -> Result<Vec<u8>> {
    let what = || format!("blob {}", descriptor.digest);
    if descriptor.size > limit {
        return Err(Error::TooLarge { what: what(), size: descriptor.size, limit });
    }
    let mut reader = VerifyingReader::new(open()?, descriptor.digest, Some(descriptor.size))?;
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(Error::stream("read", what()))?;
    Ok(bytes)
}

fn read_bounded(file: File, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::file("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge { what: path.display().to_string(), size: bytes.len() as u64, limit });
    }
    Ok(bytes)
}

fn for_each_name(dir: &Path, mut visit: impl FnMut(&str, &Path) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::file("list", dir))? {
        let entry = entry.map_err(Error::file("list", dir))?;
        if let Some(name) = entry.file_name().to_str() {
            visit(name, &entry.path())?;
        }
    }
    Ok(())
}

/// image-spec, annotations.md bounds `ref.name` to letters, digits and `-._:@/+`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let invalid = |reason| Error::InvalidName { name: name.chars().take(300).collect(), reason };
    match name {
        "" => Err(invalid("it is empty")),
        _ if name.len() > 255 => Err(invalid("it is longer than 255 characters")),
        _ if name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:@/+".contains(&b)) => Ok(()),
        _ => Err(invalid("only letters, digits and -._:@/+ may be used")),
    }
}
