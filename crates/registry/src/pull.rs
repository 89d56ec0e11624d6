//! From a reference to an image: documents now, layers when somebody reads them.
//!
//! ```text
//! reference ─► mirrors, registry ─► manifest ──────────────────► configuration ─► ResolvedImage
//!                              └──► index ─► one for a platform ─┘
//! ```

use std::io::Read;

use layerstone_oci::limits::{MAX_CONFIG_SIZE, MAX_INDEX_DEPTH, MAX_INDEX_MANIFESTS};
use layerstone_oci::windows_version::{self, Isolation, Rule};
use layerstone_oci::{
    Descriptor, ImageConfig, Index, Manifest, MediaKind, Platform, ResolvedImage, WindowsVersion,
};

use crate::client::{Client, Document, Event, Referrer, RemoteBlob, Repository, Source};
use crate::error::{Error, Refusal, Result};
use crate::http::Url;
use crate::reference::Reference;

/// Most manifests and indexes below one index that are fetched to learn their platform.
const MAX_LOOKED_AT: usize = 256;

/// Which images of an index are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Select {
    /// The one for this machine: its operating system and processor. Of an index without any for its operating system, the
    /// one for its processor: on Linux, images of Windows are images like all others.
    #[default]
    Host,
    /// The one that runs, isolated by processes, on a Windows host of this version with this machine's processor.
    WindowsHost(WindowsVersion),
    /// The one for this platform. Windows versions are chosen as [`Platform::choose`] has it.
    Platform(Platform),
    /// All that are images. Attestations are left out.
    All,
}

/// What a reference stands for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Content {
    /// One image.
    Image(Box<ResolvedImage>),
    /// All images of an index.
    Index(Vec<ResolvedImage>),
    /// Something else that registries keep: a signature, an SBOM, a chart.
    Artifact(Box<Manifest>),
}

/// A reference that was looked up.
pub struct Pull {
    /// Where it was found, then where else its blobs may be.
    places: Vec<Repository>,
    reference: Reference,
    document: Document,
    content: Content,
    skipped: usize,
}

impl std::fmt::Debug for Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pull")
            .field("reference", &self.reference)
            .field("document", &self.document.digest)
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Looks up a name as it was typed.
    ///
    /// # Errors
    /// When it is no reference, is blocked, is nowhere, or has nothing for the platform; and when a registry gives something
    /// that is not right.
    pub fn resolve(&self, name: &str, select: &Select) -> Result<Pull> {
        let mut attempts = Vec::new();
        for reference in self.registries().candidates(name)? {
            let places = self.pull_places(&reference)?;
            for (at, place) in places.iter().enumerate() {
                match place.manifest(&reference.manifest()) {
                    Ok(document) => {
                        let mut ordered = vec![place.clone()];
                        ordered.extend(
                            places.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, p)| p.clone()),
                        );
                        return Pull::of(ordered, reference, document, select);
                    }
                    Err(error @ Error::Schema1 { .. }) => return Err(error),
                    Err(error) => {
                        let (place, reason) = (place.host().to_owned(), error.to_string());
                        attempts.push(error);
                        self.tell(Event::Next { place, reason });
                    }
                }
            }
        }
        match attempts.len() {
            1 => Err(attempts.remove(0)),
            _ => Err(Error::AllFailed { doing: format!("pull `{name}`"), attempts }),
        }
    }

    /// What refers to the manifest that a name stands for.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn referrers(&self, name: &str) -> Result<(Document, Vec<Referrer>)> {
        let mut last = None;
        for reference in self.registries().candidates(name)? {
            for place in self.pull_places(&reference)? {
                let found = place.manifest(&reference.manifest()).and_then(|document| {
                    let referrers = place.referrers(&document.digest)?;
                    Ok((document, referrers))
                });
                match found {
                    Ok(found) => return Ok(found),
                    Err(error) => last = Some(error),
                }
            }
        }
        Err(last.unwrap_or(Error::InvalidReference { text: name.to_owned(), reason: "it has no place" }))
    }
}

impl Pull {
    fn of(
        places: Vec<Repository>,
        reference: Reference,
        document: Document,
        select: &Select,
    ) -> Result<Self> {
        let mut pull = Self { places, reference, content: Content::Index(Vec::new()), document, skipped: 0 };
        match pull.document.media_type.kind() {
            MediaKind::Index => pull.content = pull.choose(select)?,
            MediaKind::Manifest => {
                let manifest = Manifest::parse(pull.document.bytes.clone())?;
                pull.content = if manifest.is_image() {
                    let image = pull.image(manifest, None)?;
                    if let Select::Platform(wanted) = select
                        && !wanted.matches(&image.platform)
                    {
                        return Err(pull.no_platform(wanted.to_string(), vec![image.platform.to_string()]));
                    }
                    Content::Image(Box::new(image))
                } else {
                    Content::Artifact(Box::new(manifest))
                };
            }
            _ => {
                let (reference, found) = (pull.reference.to_string(), pull.document.media_type.to_string());
                return Err(Error::NotAnImage { reference, what: "manifest", found });
            }
        }
        Ok(pull)
    }

    /// The reference, complete.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The host that has it.
    pub fn host(&self) -> &str {
        self.places.first().map_or("", Repository::host)
    }

    /// The manifest or index that the reference stands for.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// What that is.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The images.
    pub fn images(&self) -> &[ResolvedImage] {
        match &self.content {
            Content::Image(image) => std::slice::from_ref(image),
            Content::Index(images) => images,
            Content::Artifact(_) => &[],
        }
    }

    /// Entries of the index that are no images: attestations and the like.
    pub const fn skipped(&self) -> usize {
        self.skipped
    }

    /// A blob, from byte `offset` on. It connects at the first read, and again when the connection breaks. The errors of the
    /// reader hold an [`Error`]; digest and size have to be checked by whoever reads.
    ///
    /// A layer that may not be distributed is asked for at the registry first, then at the addresses of its descriptor.
    pub fn blob(&self, descriptor: &Descriptor, offset: u64) -> impl Read + Send + use<> {
        let mut sources: Vec<Source> = self.places.iter().cloned().map(Source::Repository).collect();
        if let Some(place) = self.places.first() {
            let urls = descriptor.urls.iter().filter_map(|url| Url::parse(url));
            sources.extend(urls.map(|url| Source::Foreign(place.client().clone(), url)));
        }
        RemoteBlob::new(sources, descriptor, offset)
    }

    /// The image of a manifest.
    fn image(&self, manifest: Manifest, stated: Option<&Platform>) -> Result<ResolvedImage> {
        let place = self.places.first().ok_or(Error::Worker("looking up an image"))?;
        let config = ImageConfig::parse(place.small_blob(manifest.config(), MAX_CONFIG_SIZE)?)?;
        Ok(ResolvedImage::from_documents(vec![self.reference.to_string()], stated, manifest, config)?)
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Document> {
        let mut last = Error::Worker("fetching a manifest");
        for place in &self.places {
            match place.manifest(&descriptor.digest.to_string()) {
                Ok(document) => return Ok(document),
                Err(error) if error.refusal() == Some(Refusal::NotFound) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn choose(&mut self, select: &Select) -> Result<Content> {
        let mut walk = Walk { pull: self, entries: Vec::new(), skipped: 0, looked_at: 0 };
        let index = Index::parse(&walk.pull.document.bytes, &format!("index {}", walk.pull.document.digest))?;
        walk.collect(&index, 0)?;
        let Walk { entries, skipped, .. } = walk;
        self.skipped = skipped;
        if *select == Select::All {
            let mut images = Vec::new();
            for (descriptor, platform) in &entries {
                match self.image_of(descriptor, platform.as_ref()) {
                    Ok(image) => images.push(image),
                    Err(Error::NotAnImage { .. }) => self.skipped += 1,
                    Err(error) => return Err(error),
                }
            }
            if images.is_empty() {
                return Err(self.no_platform("any platform".into(), Vec::new()));
            }
            return Ok(Content::Index(images));
        }
        let known: Vec<_> = entries.iter().filter_map(|(d, p)| Some((d, p.clone()?))).collect();
        let platforms: Vec<Platform> = known.iter().map(|(_, platform)| platform.clone()).collect();
        let host = Platform::host_default();
        let (chosen, wanted) = match select {
            Select::Platform(wanted) => (wanted.choose(&platforms), wanted.to_string()),
            Select::WindowsHost(version) => {
                let wanted = Platform { os: "windows".into(), ..host.clone() };
                (choose_for_windows(version, &wanted, &platforms), format!("{wanted} on a host of {version}"))
            }
            _ => (choose_for_host(&host, &platforms), host.to_string()),
        };
        match chosen {
            Some(at) => {
                let (descriptor, platform) = &known[at];
                Ok(Content::Image(Box::new(self.image_of(descriptor, Some(platform))?)))
            }
            None => Err(self.no_platform(wanted, platforms.iter().map(Platform::to_string).collect())),
        }
    }

    fn image_of(&self, descriptor: &Descriptor, platform: Option<&Platform>) -> Result<ResolvedImage> {
        let document = self.fetch(descriptor)?;
        let manifest = Manifest::parse(document.bytes)?;
        if !manifest.is_image() {
            let (reference, found) = (self.reference.to_string(), manifest.config().media_type.to_string());
            return Err(Error::NotAnImage { reference, what: "configuration", found });
        }
        self.image(manifest, platform)
    }

    fn no_platform(&self, wanted: String, mut available: Vec<String>) -> Error {
        available.dedup();
        Error::NoMatchingPlatform { reference: self.reference.to_string(), wanted, available }
    }
}

/// The image for this machine, or for its processor when there is none for its operating system.
fn choose_for_host(host: &Platform, platforms: &[Platform]) -> Option<usize> {
    host.choose(platforms).or_else(|| {
        if platforms.iter().any(|platform| platform.os == host.os) {
            return None;
        }
        let os = &platforms.first()?.os;
        // Of two foreign systems none is the obvious one.
        let only = platforms.iter().all(|platform| platform.os == *os);
        only.then(|| Platform { os: os.clone(), ..host.clone() }.choose(platforms)).flatten()
    })
}

/// The best image that runs on a Windows host.
fn choose_for_windows(host: &WindowsVersion, wanted: &Platform, platforms: &[Platform]) -> Option<usize> {
    let fitting: Vec<_> = platforms.iter().enumerate().filter(|(_, image)| wanted.matches(image)).collect();
    let versions = fitting.iter().map(|(_, image)| image.os_version.as_deref());
    let at = windows_version::choose(host, versions, Isolation::Process(Rule::default()))?;
    Some(fitting[at].0)
}

/// Walks through an index and those nested in it.
struct Walk<'a> {
    pull: &'a Pull,
    entries: Vec<(Descriptor, Option<Platform>)>,
    skipped: usize,
    looked_at: usize,
}

impl Walk<'_> {
    fn collect(&mut self, index: &Index, depth: usize) -> Result<()> {
        let what = || format!("index {}", self.pull.document.digest);
        if depth > MAX_INDEX_DEPTH {
            let reason = "indexes are nested more than four deep";
            return Err(layerstone_oci::Error::Malformed { what: what(), reason }.into());
        }
        for entry in &index.manifests {
            if self.entries.len() >= MAX_INDEX_MANIFESTS {
                let (what, things) = (format!("index {}", self.pull.document.digest), "manifests");
                return Err(
                    layerstone_oci::Error::TooMany { what, things, limit: MAX_INDEX_MANIFESTS }.into()
                );
            }
            match entry.kind() {
                _ if entry.is_attestation() => self.skipped += 1,
                MediaKind::Index => {
                    self.look()?;
                    let document = self.pull.fetch(entry)?;
                    let nested = Index::parse(&document.bytes, &format!("index {}", entry.digest))?;
                    self.collect(&nested, depth + 1)?;
                }
                MediaKind::Manifest => match &entry.platform {
                    // An index may leave out what the configuration says.
                    Some(platform) if says_all(platform) => {
                        self.entries.push((entry.clone(), Some(platform.clone())))
                    }
                    stated => {
                        self.look()?;
                        match self.pull.image_of(entry, stated.as_ref()) {
                            Ok(image) => self.entries.push((entry.clone(), Some(image.platform))),
                            Err(Error::NotAnImage { .. }) => self.skipped += 1,
                            Err(error) => return Err(error),
                        }
                    }
                },
                _ => self.skipped += 1,
            }
        }
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        self.looked_at += 1;
        if self.looked_at > MAX_LOOKED_AT {
            let (what, things) = (format!("index {}", self.pull.document.digest), "entries without platform");
            return Err(layerstone_oci::Error::TooMany { what, things, limit: MAX_LOOKED_AT }.into());
        }
        Ok(())
    }
}

/// Whether an index entry says all that choosing needs: for Windows that is the version as well.
fn says_all(platform: &Platform) -> bool {
    !platform.os.is_empty() && (platform.os != "windows" || platform.os_version.is_some())
}
