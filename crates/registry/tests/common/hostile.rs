//! Pulls that have to fail, or not.

use layerstone_store::{ImportOptions, Store};

use super::image::Image;
use super::server::{Content, Reply, Seen, Server};
use super::{assert_sound, client, pull, told};

pub(crate) fn image() -> Image {
    Image::new("linux/amd64", &[40_000, 90_000], layerstone_oci::Compression::Gzip)
}

pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("store")).unwrap();
    (dir, store)
}

/// Pulls `app:1` from a server with this handler, which has to fail with these words and leave the store sound and empty.
pub(crate) fn fails(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static, words: &[&str]) {
    let server = Server::start(handler);
    let (_dir, store) = store();
    let error =
        pull(&client(), &store, &format!("{}/app:1", server.host()), &ImportOptions::default()).unwrap_err();
    let text = told(&*error);
    for word in words {
        assert!(text.contains(word), "`{text}` does not say `{word}`");
    }
    assert_sound(&store);
    assert!(store.images().unwrap().is_empty());
}

/// A handler that answers for one part of the paths, and lets a good registry answer for the rest.
pub(crate) fn but(
    image: &Image,
    part: impl Into<String>,
    reply: impl Fn(&Seen, &Content) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let (content, part) = (Content::with(image, "1"), part.into());
    move |seen| if seen.path.contains(&part) { reply(seen, &content) } else { content.reply(seen) }
}

/// Proves all layers of an image.
pub(crate) trait VerifyImage {
    fn verify_image(&self, name: &str) -> bool;
}

impl VerifyImage for Store {
    fn verify_image(&self, name: &str) -> bool {
        let chain_ids = self.image(name, None).unwrap().chain_ids();
        chain_ids.iter().all(|chain| {
            let layer = self.layer(chain).unwrap();
            let mut reader = layer.archive_reader();
            let mut hasher = layerstone_oci::Sha256Hasher::new();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
            hasher.update(&bytes);
            hasher.finish() == layer.description().diff_id.0
        })
    }
}
