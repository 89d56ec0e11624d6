//! Windows layers with everything that an archive can hold, stored: the image gives back what the archive has, and the archive itself to
//! the byte.

#[path = "../../layer/tests/common/layers.rs"]
mod layers;
mod proof;
#[path = "../../layer/tests/common/rich.rs"]
mod rich;

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;

use layerstone_layer::tar::TarWriter;
use layerstone_layer::view::{LayerView as _, NodeKind};
use layerstone_layer::{EntryKind, LayerPath, Os};
use layerstone_store::Store;
use proof::image::{Layer, WINDOWS, import, verify_all};
use proptest::prelude::*;
use rich::{Item, fits_tar, layer, through_tar};

fn archive(items: &[Item]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for item in items {
        let ((entry, bytes), _) = through_tar(item);
        writer.entry(&entry).unwrap();
        writer.data(&bytes).unwrap();
    }
    writer.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(windows) { 8 } else { 48 }) })]

    #[test]
    fn a_stored_layer_gives_back_all_that_its_archive_says(items in layer()) {
        let items: Vec<Item> = items.into_iter().filter(|(entry, _)| fits_tar(entry)).collect();
        let archive = archive(&items);
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path()).unwrap();
        let imported = import(&store, WINDOWS, &[Layer::tar(&archive)]).unwrap();
        // The DiffID is computed from what is stored.
        prop_assert_eq!(verify_all(&store), 1);
        let stored = store.layer(&imported[0].description.chain_id).unwrap();
        let mut again = Vec::new();
        stored.write_archive(&mut again).unwrap();
        prop_assert!(again == archive, "the archive is another one");

        let (entries, _) = layers::entries(&archive, Os::Windows);
        let mut inodes = HashMap::new();
        let mut streams = BTreeMap::<LayerPath, Vec<(Vec<u8>, u64)>>::new();
        for (entry, bytes) in &entries {
            let mut id = stored.root();
            let mut found = true;
            for name in entry.path.components() {
                match stored.lookup(&id, name).unwrap() {
                    Some(child) => id = child,
                    None => found = false,
                }
            }
            if entry.kind == EntryKind::Whiteout {
                // One that hides nothing is not in the view; what it names is not there in any case.
                let is_gone = !found || stored.node(&id).unwrap().kind == NodeKind::Whiteout;
                prop_assert!(is_gone, "{}", entry.path);
                continue;
            }
            prop_assert!(found, "{} is not there", entry.path);
            let node = stored.node(&id).unwrap();
            match &entry.kind {
                EntryKind::Directory => prop_assert!(node.kind.is_directory()),
                EntryKind::Symlink { .. } => {
                    let is_link = matches!(node.kind, NodeKind::Symlink { .. });
                    prop_assert!(is_link, "{:?}", node.kind);
                }
                EntryKind::File { size, .. } => {
                    prop_assert_eq!(&node.kind, &NodeKind::File { size: *size });
                    let mut read = Vec::new();
                    stored.open(&id, None).unwrap().read_to_end(&mut read).unwrap();
                    prop_assert_eq!(&read, bytes);
                    inodes.insert(entry.path.clone(), node.inode);
                }
                EntryKind::HardLink { target } => {
                    prop_assert_eq!(Some(&node.inode), inodes.get(target), "{} is another file", entry.path);
                    continue;
                }
                EntryKind::Stream { name, size } => {
                    let mut read = Vec::new();
                    stored.open(&id, Some(name)).unwrap().read_to_end(&mut read).unwrap();
                    prop_assert_eq!(&read, bytes);
                    streams.entry(entry.path.clone()).or_default().push((name.clone(), *size));
                    continue;
                }
                kind => prop_assert!(false, "{:?}", kind),
            }
            prop_assert_eq!(&node.meta, &entry.meta, "{}", entry.path);
        }
        for (path, mut expected) in streams {
            let id = path.components().fold(stored.root(), |id, name| stored.lookup(&id, name).unwrap().unwrap());
            let mut found = stored.node(&id).unwrap().streams;
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
        }
    }
}
