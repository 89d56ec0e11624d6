//! Stacks of hives, against a model that lays one hive over another at a time.

use std::collections::BTreeMap;

use layerstone_nt::hive::{
    Error, Hive, HiveWriter, KeyTree, Layer, LayerSemantics, MAX_DEPTH, Merged, MergedKey, ValueTree,
    ValueType, Version,
};
use layerstone_nt::name::upcase;
use layerstone_nt::{FileTime, WideString};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use LayerSemantics::{Merge, SupersedeLocal, SupersedeTree, Tombstone};

fn written(tree: &KeyTree) -> Hive<'static> {
    Hive::open(HiveWriter::new(Version::V1_6).write(tree).unwrap()).unwrap()
}

/// A key with a value `name` = the number, and subkeys.
fn key(name: &str, semantics: LayerSemantics, number: u32, subkeys: Vec<KeyTree>) -> KeyTree {
    let mut key = KeyTree::new(name);
    key.layer = Layer { semantics, inherit_class: false };
    if semantics != Tombstone {
        key.values.push(ValueTree::dword("value", number));
        key.values.push(ValueTree::dword(format!("of {number}").as_str(), number));
    }
    key.subkeys = subkeys;
    key
}

/// The values that are shown and where they come from.
fn shown(key: &MergedKey<'_>) -> Vec<(String, usize)> {
    let (values, errors) = key.values();
    assert_eq!(errors, []);
    values.iter().map(|value| (value.value.name().to_string(), value.hive)).collect()
}

fn names(key: &MergedKey<'_>) -> Vec<String> {
    key.subkeys().0.iter().map(|key| key.name().to_string()).collect()
}

#[test]
fn each_of_the_semantics_does_what_the_table_says() {
    let base = written(&key(
        "",
        Merge,
        1,
        ["merged", "gone", "local", "tree"]
            .map(|name| key(name, Merge, 1, vec![key("below", Merge, 1, vec![])]))
            .to_vec(),
    ));
    let mut root = KeyTree::new("ROOT");
    root.subkeys = vec![
        key("MERGED", Merge, 2, vec![key("new", Merge, 2, vec![])]),
        key("gone", Tombstone, 2, vec![]),
        key("local", SupersedeLocal, 2, vec![key("new", Merge, 2, vec![])]),
        key("tree", SupersedeTree, 2, vec![key("new", Merge, 2, vec![])]),
    ];
    let delta = written(&root);
    let merged = Merged::new([&base, &delta]).unwrap();
    assert_eq!(names(&merged.root().unwrap().unwrap()), ["local", "MERGED", "tree"]);
    assert!(merged.key("gone").unwrap().is_none());
    assert!(merged.key(r"gone\below").unwrap().is_none());

    let key = |path: &str| merged.key(path).unwrap().unwrap();
    assert_eq!(names(&key("merged")), ["below", "new"]);
    assert_eq!(names(&key("local")), ["below", "new"]);
    assert_eq!(names(&key("tree")), ["new"]);
    let of = |list: &[(&str, usize)]| {
        list.iter().map(|(name, hive)| ((*name).to_owned(), *hive)).collect::<Vec<_>>()
    };
    assert_eq!(shown(&key("merged")), of(&[("of 1", 0), ("of 2", 1), ("value", 1)]));
    assert_eq!(shown(&key("local")), of(&[("of 2", 1), ("value", 1)]));
    assert_eq!(shown(&key("tree")), of(&[("of 2", 1), ("value", 1)]));
    assert_eq!(shown(&key(r"local\below")), of(&[("of 1", 0), ("value", 0)]));
    assert_eq!(key("merged").hive(), 1);
    assert_eq!(key(r"merged\below").hive(), 0);
    assert_eq!(key("merged").parts().map(|(hive, _)| hive).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn a_key_can_come_back_above_its_tombstone_without_what_it_had() {
    let base = written(&key("", Merge, 1, vec![key("a", Merge, 1, vec![key("old", Merge, 1, vec![])])]));
    let removed = written(&key("", Merge, 2, vec![key("a", Tombstone, 2, vec![])]));
    let again = written(&key("", Merge, 3, vec![key("a", Merge, 3, vec![])]));
    let merged = Merged::new([&base, &removed, &again]).unwrap();
    let key = merged.key("A").unwrap().unwrap();
    assert_eq!((shown(&key).len(), names(&key)), (2, vec![]));
    assert_eq!(key.parts().count(), 1);
}

#[test]
fn a_value_tombstone_hides_the_value_below_and_not_the_one_above() {
    let base = written(&key("", Merge, 1, vec![]));
    let mut root = KeyTree::root("");
    root.values = vec![ValueTree::tombstone("VALUE")];
    let removed = written(&root);
    let value = removed.root().unwrap().value("value").unwrap().unwrap();
    assert!(value.is_tombstone());
    assert_eq!((value.value_type(), value.data_size()), (ValueType::None, 0));
    let above = written(&key("", Merge, 3, vec![]));

    let two = Merged::new([&base, &removed]).unwrap().root().unwrap().unwrap();
    assert_eq!(shown(&two), [("of 1".to_owned(), 0)]);
    assert!(two.value("value").unwrap().is_none());
    let three = Merged::new([&base, &removed, &above]).unwrap().root().unwrap().unwrap();
    assert_eq!(three.value("Value").unwrap().unwrap().hive, 2);
    assert_eq!(shown(&three).len(), 3);
}

#[test]
fn the_class_is_inherited_where_the_key_says_so() {
    let with = |class: &str, inherit_class| {
        let mut root = KeyTree::root("");
        root.class = (!class.is_empty()).then(|| class.into());
        root.layer.inherit_class = inherit_class;
        written(&root)
    };
    let (base, inherits, own, none) =
        (with("low", false), with("no", true), with("own", false), with("", false));
    let class = |hives: &[&Hive<'static>]| {
        // The hives outlive the merge.
        Merged::new(hives.iter().copied()).unwrap().root().unwrap().unwrap().class().unwrap()
    };
    assert_eq!(class(&[&base, &inherits]), Some("low".into()));
    assert_eq!(class(&[&base, &inherits, &inherits]), Some("low".into()));
    assert_eq!(class(&[&base, &own]), Some("own".into()));
    assert_eq!(class(&[&base, &none, &inherits]), None);
    assert_eq!(class(&[&inherits]), None);
}

#[test]
fn an_empty_delta_changes_nothing() {
    let base = written(&key("", Merge, 1, vec![key("a", Merge, 1, vec![])]));
    let delta = Hive::open(HiveWriter::empty_delta().unwrap()).unwrap();
    let alone = Merged::new([&base]).unwrap();
    let merged = Merged::new([&base, &delta, &delta]).unwrap();
    let paths = |merged: &Merged<'_>| merged.walk().map(|key| shown(&key.unwrap())).collect::<Vec<_>>();
    assert_eq!(paths(&merged), paths(&alone));
}

#[test]
fn a_stack_has_one_to_128_hives() {
    let hive = Hive::open(HiveWriter::empty_delta().unwrap()).unwrap();
    assert!(Merged::new(std::iter::repeat_n(&hive, 128)).is_ok());
    assert_eq!(
        Merged::new(std::iter::repeat_n(&hive, 129)).unwrap_err(),
        Error::StackSize { found: 129, limit: 128 }
    );
    assert_eq!(Merged::new([]).unwrap_err(), Error::StackSize { found: 0, limit: 128 });
}

/// A merged key in the model.
#[derive(Debug, Clone, PartialEq, Default)]
struct Model {
    name: WideString,
    hive: usize,
    class: Option<WideString>,
    last_written: FileTime,
    values: BTreeMap<Vec<u16>, (WideString, usize, Vec<u8>)>,
    subkeys: BTreeMap<Vec<u16>, Model>,
}

fn folded(name: &WideString) -> Vec<u16> {
    name.units().iter().map(|&unit| upcase(unit)).collect()
}

/// What a hive's key makes of the merged key below it.
fn lay(below: Option<Model>, key: &KeyTree, hive: usize) -> Option<Model> {
    let below = match key.layer.semantics {
        Tombstone => return None,
        SupersedeTree => None,
        Merge | SupersedeLocal => below,
    };
    let mut model = below.unwrap_or_default();
    if key.layer.semantics == SupersedeLocal {
        model.values.clear();
    }
    model.name = key.name.clone();
    model.hive = hive;
    model.last_written = model.last_written.max(key.last_written);
    if !key.layer.inherit_class {
        model.class = key.class.clone();
    }
    for value in &key.values {
        if value.tombstone {
            model.values.remove(&folded(&value.name));
        } else {
            model.values.insert(folded(&value.name), (value.name.clone(), hive, value.data.clone()));
        }
    }
    for subkey in &key.subkeys {
        let name = folded(&subkey.name);
        let below = model.subkeys.remove(&name);
        if let Some(laid) = lay(below, subkey, hive) {
            model.subkeys.insert(name, laid);
        }
    }
    Some(model)
}

/// The same, as the merged view has it; by names and by look-ups.
fn seen(key: &MergedKey<'_>) -> Model {
    let (subkeys, errors) = key.subkeys();
    assert_eq!(errors, []);
    let (values, errors) = key.values();
    assert_eq!(errors, []);
    let values = values.iter().map(|value| {
        let name = value.value.name().to_wide();
        let found = key.value(&name.to_string()).unwrap().unwrap();
        assert_eq!((found.hive, found.value.cell()), (value.hive, value.value.cell()));
        (folded(&name), (name, value.hive, value.value.data().unwrap().into_owned()))
    });
    let subkeys_model = subkeys.iter().map(|subkey| {
        let name = subkey.name().to_wide();
        let found = key.subkey(&name.to_string()).unwrap().unwrap();
        assert_eq!(found.top().cell(), subkey.top().cell());
        (folded(&name), seen(subkey))
    });
    Model {
        name: key.name().to_wide(),
        hive: key.hive(),
        class: key.class().unwrap(),
        last_written: key.last_written(),
        values: values.collect(),
        subkeys: subkeys_model.collect(),
    }
}

fn count(model: &Model) -> usize {
    1 + model.subkeys.values().map(count).sum::<usize>()
}

fn value() -> impl Strategy<Value = ValueTree> {
    (select(&["", "x", "X", "y", "é", "É"][..]), option::of(vec(any::<u8>(), 0..8))).prop_map(
        |(name, data)| match data {
            Some(data) => ValueTree::new(name, ValueType::Binary, data),
            None => ValueTree::tombstone(name),
        },
    )
}

fn tree() -> impl Strategy<Value = KeyTree> {
    let node = || {
        (
            select(&["a", "A", "b", "B", "ç", "Ç", "abc"][..]),
            select(&[Merge, Merge, Merge, Tombstone, SupersedeLocal, SupersedeTree][..]),
            any::<bool>(),
            option::of(select(&["one", "two"][..])),
            0..1000_i64,
            vec(value(), 0..4),
        )
            .prop_map(|(name, semantics, inherit_class, class, time, values)| {
                let mut key = KeyTree::new(name);
                key.layer = Layer { semantics, inherit_class };
                key.class = class.map(WideString::from);
                key.last_written = FileTime(time);
                for value in values {
                    key.set_value(value);
                }
                key
            })
    };
    node().prop_recursive(4, 40, 5, move |below| {
        (node(), vec(below, 0..5)).prop_map(|(mut key, subkeys)| {
            let mut known = Vec::new();
            for subkey in subkeys {
                if !known.contains(&folded(&subkey.name)) {
                    known.push(folded(&subkey.name));
                    key.subkeys.push(subkey);
                }
            }
            key
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(windows) { 64 } else { 512 }))]

    #[test]
    fn a_merged_view_is_what_laying_hive_upon_hive_gives(trees in vec(tree(), 1..5)) {
        let hives: Vec<_> = trees.iter().map(written).collect();
        let merged = Merged::new(&hives).unwrap();
        let model = trees.iter().enumerate().fold(None, |below, (hive, tree)| lay(below, tree, hive));
        let root = merged.root().unwrap();
        prop_assert_eq!(root.as_ref().map(seen), model.clone());
        let walked: Vec<_> = merged.walk().collect();
        prop_assert!(walked.iter().all(Result::is_ok));
        prop_assert_eq!(walked.len(), model.as_ref().map_or(0, count));
    }
}

#[test]
fn a_walk_of_a_stack_knows_the_path_it_is_at() {
    let base = written(&key(
        "",
        Merge,
        1,
        vec![key("a", Merge, 1, vec![key("b", Merge, 1, vec![])]), key("c", Merge, 1, vec![])],
    ));
    let delta = written(&key("", Merge, 2, vec![key("A", Merge, 2, vec![key("d", Merge, 2, vec![])])]));
    let merged = Merged::new([&base, &delta]).unwrap();
    let (mut walk, mut paths) = (merged.walk(), Vec::new());
    while let Some(key) = walk.next() {
        key.unwrap();
        paths.push(walk.path().iter().map(|key| key.name().to_string()).collect::<Vec<_>>().join("\\"));
    }
    assert_eq!(paths, ["", "A", r"A\b", r"A\d", "c"]);
    let (mut walk, mut paths) = (base.walk(), Vec::new());
    while let Some(key) = walk.next() {
        if key.unwrap().name().to_string() == "a" {
            walk.skip_subkeys();
        }
        paths.push(walk.path().map(|key| key.name().to_string()).collect::<Vec<_>>().join("\\"));
    }
    assert_eq!(paths, ["", "a", "c"]);
}

#[test]
fn keys_at_the_deepest_level_are_found() {
    let mut deepest = KeyTree::new("last");
    for _ in 1..MAX_DEPTH {
        let mut above = KeyTree::new("k");
        above.subkeys.push(deepest);
        deepest = above;
    }
    let mut root = KeyTree::root("");
    root.subkeys.push(deepest);
    let hive = written(&root);
    let path = format!("{}last", r"k\".repeat(usize::from(MAX_DEPTH) - 1));
    assert_eq!(hive.key(&path).unwrap().unwrap().depth(), MAX_DEPTH);
    assert_eq!(hive.check().deepest, MAX_DEPTH);
    let mut above = KeyTree::root("");
    root.name = "k".into();
    above.subkeys.push(root);
    let error = HiveWriter::new(Version::V1_6).write(&above).unwrap_err();
    assert_eq!(error, Error::TooLarge { what: "the depth of keys", limit: 512, found: 513 });
}
