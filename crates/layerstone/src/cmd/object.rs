//! What a word on the command line means: an image, a layer, a scratch; and a path inside of it.

use layerstone_layer::merge::{Merged, MergedNode};
use layerstone_layer::view::LayerView;
use layerstone_layer::{LayerPath, Os};
use layerstone_oci::Platform;
use layerstone_store::{Scratch, Store, StoredImage, StoredLayer};

use crate::error::{Error, Result};

/// A thing of the store.
pub(super) enum Object {
    Image(Box<StoredImage>),
    Layer(StoredLayer),
    Scratch(Scratch),
}

/// Finds what `name` means: an image's name first, then a scratch's, then an id.
pub(super) fn find(store: &Store, name: &str, platform: Option<&Platform>) -> Result<Object> {
    let not_an_image = match store.image(name, platform) {
        Ok(image) => return Ok(Object::Image(Box::new(image))),
        Err(error @ layerstone_store::Error::NoImage(_)) => error,
        Err(error) => return Err(error.into()),
    };
    match store.scratch(name) {
        Ok(scratch) => return Ok(Object::Scratch(scratch)),
        Err(layerstone_store::Error::NoScratch(_) | layerstone_store::Error::ScratchName(_)) => {}
        Err(error) => return Err(error.into()),
    }
    match store.layer_by_prefix(name)? {
        Some(layer) => Ok(Object::Layer(layer)),
        None => Err(not_an_image.into()),
    }
}

/// A path as the user types it. For Windows, `C:\Windows\x` and `Windows/x` mean `Files/Windows/x`, unless the path starts
/// with one of the layer's own roots.
pub(super) fn path_in(text: &str, os: Os) -> Result<LayerPath> {
    let usage =
        |error: layerstone_layer::path::PathError| Error::Usage(format!("the path `{text}`: {error}"));
    if os != Os::Windows {
        return Ok(LayerPath::normalise(text.as_bytes()).map_err(usage)?.0);
    }
    let mut text = text.replace('\\', "/");
    let drive = text.len() >= 2 && text.as_bytes()[0].is_ascii_alphabetic() && text.as_bytes()[1] == b':';
    if drive {
        text.drain(..2);
    }
    let (path, _) = LayerPath::normalise(text.as_bytes()).map_err(usage)?;
    let rooted = path.components().next().is_some_and(layerstone_layer::tar::source::is_windows_root);
    if !drive && (path.is_root() || rooted) {
        return Ok(path);
    }
    let mut full = LayerPath::from("Files");
    for name in path.components() {
        full = full.join(name);
    }
    Ok(full)
}

/// The node at `path`, or an error that says where it was looked for.
pub(super) fn node_at<V: LayerView<Error = layerstone_store::Error>>(
    view: &Merged<V>,
    path: &LayerPath,
    follow: bool,
    place: &str,
) -> Result<(LayerPath, MergedNode<V::Id>)> {
    view.resolve_spelled(path, follow)?.ok_or_else(|| {
        layerstone_store::Error::NoPath { path: path.clone(), place: format!("`{place}`") }.into()
    })
}
