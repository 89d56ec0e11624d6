//! Every kind of damage is found and named; repair mends it or sets it aside, and never loses a file.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Fixture, layer, noise};
use layerstone_oci::{ChainId, Digest};
use layerstone_store::fsck::{Document, LayerDamage, Remedy};
use layerstone_store::verify::Damage;
use layerstone_store::{FsckOptions, FsckOutcome, GcOptions, Problem, Store};

const DEEP: FsckOptions = FsckOptions { repair: false, verify_content: true };
const REPAIR: FsckOptions = FsckOptions { repair: true, verify_content: true };

fn fsck(store: &Store, options: FsckOptions) -> FsckOutcome {
    let outcome = store.fsck(options, &|_| {}).unwrap();
    for problem in &outcome.problems {
        assert!(!problem.to_string().is_empty() && !problem.advice().is_empty());
    }
    outcome
}

fn kinds(problems: &[Problem]) -> Vec<&'static str> {
    let mut kinds: Vec<_> = problems.iter().map(Problem::kind).collect();
    kinds.sort_unstable();
    kinds
}

/// One image of two layers; gives their ids.
fn one_image(keep_blobs: bool) -> (Fixture, Vec<ChainId>) {
    let fixture = Fixture::new();
    let base = layer(&[("etc/base", &noise(1, 100_000)), ("etc/small", b"small")]);
    let top = layer(&[("top/file", &noise(2, 50_000))]);
    let chains = fixture.add("a:1", &[base, top], keep_blobs);
    assert_eq!(fsck(&fixture.store, DEEP).problems, []);
    (fixture, chains)
}

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    let at = usize::try_from(at).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Ways to damage the base layer, with the check that finds it.
type Harm = (&'static str, fn(&Path), fn(&LayerDamage) -> bool);

const HARMS: [Harm; 9] = [
    (
        "a bit of a file",
        |d| flip(&d.join("layer.erofs"), 50_000),
        |damage| matches!(damage, LayerDamage::Content(Damage::File { .. })),
    ),
    (
        "a bit of the metadata",
        |d| {
            let json: serde_json::Value =
                serde_json::from_slice(&fs::read(d.join("layer.json")).unwrap()).unwrap();
            flip(&d.join("layer.erofs"), json["image_size"].as_u64().unwrap() - 1);
        },
        |damage| {
            matches!(
                damage,
                LayerDamage::Metadata | LayerDamage::Image { .. } | LayerDamage::Content(Damage::Metadata)
            )
        },
    ),
    (
        "a bit of the superblock",
        |d| flip(&d.join("layer.erofs"), 1024),
        |damage| matches!(damage, LayerDamage::Image { .. }),
    ),
    (
        "a bit of the split stream",
        |d| flip(&d.join("layer.split"), 20),
        |damage| {
            matches!(
                damage,
                LayerDamage::Split { .. }
                    | LayerDamage::Content(
                        Damage::Unreadable { .. } | Damage::DiffId { .. } | Damage::File { .. }
                    )
            )
        },
    ),
    ("a cut image", |d| cut(&d.join("layer.erofs")), |damage| matches!(damage, LayerDamage::Size { .. })),
    (
        "a cut split stream",
        |d| cut(&d.join("layer.split")),
        |damage| matches!(damage, LayerDamage::Split { .. }),
    ),
    (
        "a cut description",
        |d| cut(&d.join("layer.json")),
        |damage| matches!(damage, LayerDamage::Description { .. }),
    ),
    (
        "no split stream",
        |d| fs::remove_file(d.join("layer.split")).unwrap(),
        |damage| matches!(damage, LayerDamage::MissingFile { name: "layer.split" }),
    ),
    (
        "a wrong parent",
        |d| {
            let path = d.join("layer.json");
            let text = fs::read_to_string(&path).unwrap();
            let parent = format!("\"parent\": \"sha256:{}\"", "0".repeat(64));
            let changed = text.replace("\"parent\": null", &parent);
            assert_ne!(text, changed);
            fs::write(path, changed).unwrap();
        },
        |damage| matches!(damage, LayerDamage::Identity { .. }),
    ),
];

#[test]
fn a_damaged_layer_is_set_aside_and_its_image_comes_back_by_importing_it_again() {
    for (what, harm, found) in HARMS {
        let (fixture, chains) = one_image(false);
        harm(&fixture.store.layer_path(&chains[0]));
        let outcome = fsck(&fixture.store, DEEP);
        let damage = outcome.problems.iter().find_map(|problem| match problem {
            Problem::DamagedLayer { chain, damage } if *chain == chains[0] => Some(damage),
            _ => None,
        });
        assert!(damage.is_some_and(|damage| damage.iter().any(found)), "{what}: {:?}", outcome.problems);
        assert!(!outcome.is_sound());

        let outcome = fsck(&fixture.store, REPAIR);
        let aside = fixture.store.damaged_root().join(format!("{}-0", chains[0].hex()));
        assert!(aside.is_dir(), "{what}: the damaged layer is still there to be looked at");
        assert_eq!(kinds(&outcome.remaining), ["missing-layers", "missing-parent"], "{what}");
        assert_eq!(outcome.remaining, fsck(&fixture.store, DEEP).problems);

        fixture.import_to(&fixture.store, "a:1", false);
        assert_eq!(fsck(&fixture.store, DEEP).problems, [], "{what}");
    }
}

#[test]
fn a_damaged_layer_whose_blob_is_kept_is_unpacked_again() {
    for (what, harm, _) in HARMS {
        let (fixture, chains) = one_image(true);
        harm(&fixture.store.layer_path(&chains[0]));
        let outcome = fsck(&fixture.store, REPAIR);
        assert!(
            outcome
                .repaired
                .iter()
                .any(|done| done.problem.kind() == "damaged-layer" && done.remedy == Remedy::Unpacked),
            "{what}: {:?}",
            outcome.repaired
        );
        assert_eq!(outcome.remaining, [], "{what}");
        assert_eq!(fsck(&fixture.store, DEEP).problems, [], "{what}");
        assert_eq!(fs::read_dir(fixture.store.damaged_root()).unwrap().count(), 0);
    }
}

#[test]
fn content_is_only_read_when_asked_for() {
    let (fixture, chains) = one_image(false);
    flip(&fixture.store.layer_path(&chains[0]).join("layer.erofs"), 50_000);
    assert_eq!(fsck(&fixture.store, FsckOptions::default()).problems, []);
    assert_eq!(kinds(&fsck(&fixture.store, DEEP).problems), ["damaged-layer"]);
}

#[test]
fn a_layer_under_a_wrong_name_gets_its_own_back() {
    let (fixture, chains) = one_image(false);
    let wrong = ChainId(Digest::of(b"no layer"));
    fs::rename(fixture.store.layer_path(&chains[1]), fixture.store.layer_path(&wrong)).unwrap();
    let outcome = fsck(&fixture.store, DEEP);
    assert_eq!(kinds(&outcome.problems), ["damaged-layer", "missing-layers"]);
    let outcome = fsck(&fixture.store, REPAIR);
    assert!(outcome.repaired.iter().any(|done| matches!(done.remedy, Remedy::Renamed { .. })));
    assert_eq!(outcome.remaining, []);
    assert_eq!(fixture.store.layer(&chains[1]).unwrap().chain_id(), &chains[1]);
}

#[test]
fn a_missing_layer_is_reported_with_its_image_and_unpacked_again_when_its_blob_is_kept() {
    for keep_blobs in [false, true] {
        let (fixture, chains) = one_image(keep_blobs);
        fs::remove_dir_all(fixture.store.layer_path(&chains[0])).unwrap();
        let outcome = fsck(&fixture.store, DEEP);
        assert_eq!(kinds(&outcome.problems), ["missing-layers", "missing-parent"]);
        assert!(outcome.problems.iter().any(|problem| problem.advice().contains("import `a:1` again")));
        let outcome = fsck(&fixture.store, REPAIR);
        assert_eq!(outcome.remaining.is_empty(), keep_blobs, "{:?}", outcome.remaining);
    }
}

#[test]
fn an_image_without_its_documents_is_taken_out_of_the_index() {
    type Harmed = fn(&layerstone_store::StoredImage) -> Digest;
    let documents: [(Document, Harmed); 2] = [
        (Document::Manifest, |image| image.manifest.digest()),
        (Document::Config, |image| image.config.digest()),
    ];
    for (wanted, digest) in documents {
        for missing in [true, false] {
            let (fixture, _) = one_image(false);
            fixture.add("other", &[layer(&[("o", b"o")])], false);
            let digest = digest(&fixture.store.image("a:1", None).unwrap());
            let path = fixture.store.layout().blob_path(&digest);
            if missing {
                fs::remove_file(&path).unwrap()
            } else {
                flip(&path, 3)
            }
            let outcome = fsck(&fixture.store, DEEP);
            let [
                Problem::MissingDocument { document, digest: found, .. }
                | Problem::DamagedDocument { document, digest: found, .. },
            ] = &outcome.problems[..]
            else {
                panic!("{:?}", outcome.problems)
            };
            assert_eq!((*document, *found), (wanted, digest));
            let outcome = fsck(&fixture.store, REPAIR);
            assert_eq!(outcome.remaining, []);
            assert!(outcome.repaired.iter().any(|done| done.remedy == Remedy::EntryRemoved));
            let aside = fixture.store.damaged_root().join(format!("blob-{}-0", digest.hex()));
            assert_eq!(aside.exists(), !missing);
            assert_eq!(fixture.store.images().unwrap().len(), 1);
            fixture.store.gc(GcOptions::default(), &[], &|_| {}).unwrap();
            assert_eq!(fsck(&fixture.store, DEEP).problems, []);
        }
    }
}

#[test]
fn a_damaged_layer_blob_is_set_aside() {
    let (fixture, _) = one_image(true);
    let digest = fixture.store.image("a:1", None).unwrap().manifest.layers()[1].digest;
    flip(&fixture.store.layout().blob_path(&digest), 1000);
    let outcome = fsck(&fixture.store, REPAIR);
    assert_eq!(kinds(&outcome.problems), ["damaged-blob"]);
    assert!(fixture.store.damaged_root().join(format!("blob-{}-0", digest.hex())).is_file());
    assert_eq!(outcome.remaining, []);
}

#[test]
fn a_lost_index_is_made_again_from_the_manifests() {
    let harms: [fn(&Path); 3] =
        [|path| fs::remove_file(path).unwrap(), |path| fs::write(path, b"").unwrap(), cut];
    for harm in harms {
        let (fixture, _) = one_image(false);
        fixture.add("other", &[layer(&[("o", b"o")])], false);
        fixture.store.create_scratch("work", &fixture.store.image("other", None).unwrap()).unwrap();
        let digests: Vec<Digest> =
            fixture.store.images().unwrap().iter().map(|image| image.manifest.digest()).collect();
        harm(&fixture.root().join("index.json"));
        assert_eq!(kinds(&fsck(&fixture.store, DEEP).problems), ["index"]);
        let outcome = fsck(&fixture.store, REPAIR);
        assert_eq!(outcome.remaining, []);
        let images = fixture.store.images().unwrap();
        assert_eq!(images.len(), 2);
        assert!(images.iter().all(|image| digests.contains(&image.manifest.digest())));
        assert!(images.iter().any(|image| image.name == "other"), "the scratch knows the name");
        let freed = fixture.store.gc(GcOptions::default(), &[], &|_| {}).unwrap();
        assert_eq!((freed.layers, freed.blobs), (vec![], vec![]));
    }
}

#[test]
fn names_that_a_damaged_index_still_holds_are_kept() {
    let (fixture, _) = one_image(false);
    let path = fixture.root().join("index.json");
    let mut bytes = fs::read(&path).unwrap();
    bytes.pop();
    fs::write(&path, bytes).unwrap();
    assert_eq!(fsck(&fixture.store, REPAIR).remaining, []);
    assert_eq!(fixture.store.images().unwrap()[0].name, "a:1");
}

#[test]
fn the_frame_of_a_store_is_made_again() {
    let (fixture, _) = one_image(false);
    let root = fixture.root().to_path_buf();
    fs::remove_file(root.join("oci-layout")).unwrap();
    for directory in ["staging", "locks", "scratch"] {
        fs::remove_dir_all(root.join(directory)).unwrap();
    }
    assert!(Store::open(&root).is_err());
    let store = Store::open_damaged(&root).unwrap();
    let expected = ["layout-file", "missing-directory", "missing-directory", "missing-directory"];
    assert_eq!(kinds(&fsck(&store, DEEP).problems), expected);
    assert_eq!(fsck(&store, REPAIR).remaining, []);
    assert_eq!(fsck(&Store::open(&root).unwrap(), DEEP).problems, []);
    assert!(Store::open_damaged(fixture.dir.path()).is_err());
}

#[test]
fn foreign_files_are_set_aside_and_not_removed() {
    let (fixture, _) = one_image(false);
    let root = fixture.root();
    let places: Vec<PathBuf> =
        ["layers/notes.txt", "layers/dir", "blobs/readme", "blobs/sha256/readme", "blobs/sha256/ABC"]
            .iter()
            .map(|place| root.join(place))
            .collect();
    for (at, place) in places.iter().enumerate() {
        if at == 1 { fs::create_dir(place).unwrap() } else { fs::write(place, b"mine").unwrap() }
    }
    let outcome = fsck(&fixture.store, DEEP);
    assert_eq!(kinds(&outcome.problems), ["foreign"; 5]);
    assert!(outcome.is_sound(), "untidy is not damaged");
    let outcome = fsck(&fixture.store, REPAIR);
    assert_eq!(outcome.remaining, []);
    assert_eq!(fs::read_dir(fixture.store.damaged_root()).unwrap().count(), 5);
}

#[test]
fn scratches_that_cannot_be_read_are_set_aside_with_their_files() {
    let (fixture, chains) = one_image(false);
    let image = fixture.store.image("a:1", None).unwrap();
    let scratch = fixture.store.create_scratch("work", &image).unwrap();
    fs::write(scratch.upper().join("mine"), b"mine").unwrap();
    cut(&scratch.path().join("scratch.json"));
    let error = fixture.store.gc(GcOptions::default(), &[], &|_| {}).unwrap_err();
    assert!(error.to_string().contains("fsck"), "{error}");
    assert_eq!(kinds(&fsck(&fixture.store, DEEP).problems), ["damaged-scratch"]);
    assert_eq!(fsck(&fixture.store, REPAIR).remaining, []);
    let aside = fixture.store.damaged_root().join("scratch-work-0/upper/mine");
    assert_eq!(fs::read(aside).unwrap(), b"mine");

    fixture.store.create_scratch("second", &image).unwrap();
    fs::remove_dir_all(fixture.store.layer_path(&chains[1])).unwrap();
    assert_eq!(kinds(&fsck(&fixture.store, REPAIR).remaining), ["missing-layers", "scratch-layers"]);
    fixture.import_to(&fixture.store, "a:1", false);
    fixture.store.remove_image("a:1", true).unwrap();
    fs::remove_file(fixture.store.layout().blob_path(&image.manifest.digest())).unwrap();
    assert_eq!(kinds(&fsck(&fixture.store, DEEP).problems), ["scratch-manifest"]);
}

#[test]
fn a_layer_of_a_later_version_is_left_alone() {
    let (fixture, chains) = one_image(false);
    let path = fixture.store.layer_path(&chains[1]).join("layer.json");
    let text = fs::read_to_string(&path).unwrap().replace("\"format\": 1", "\"format\": 99");
    fs::write(&path, text).unwrap();
    let outcome = fsck(&fixture.store, REPAIR);
    assert_eq!(kinds(&outcome.remaining), ["newer-layer"]);
    assert!(outcome.repaired.is_empty() && path.exists());
}

#[test]
fn leftovers_are_removed_by_repair() {
    let (fixture, _) = one_image(false);
    fs::create_dir(fixture.store.staging_root().join("dead")).unwrap();
    fs::write(fixture.root().join("blobs/sha256/.tmp-half"), b"half").unwrap();
    assert_eq!(kinds(&fsck(&fixture.store, DEEP).problems), ["leftover"; 2]);
    let outcome = fsck(&fixture.store, REPAIR);
    assert_eq!((outcome.repaired.len(), outcome.remaining.len()), (2, 0));
    assert_eq!(fs::read_dir(fixture.store.staging_root()).unwrap().count(), 0);
}
