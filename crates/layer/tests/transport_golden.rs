//! Comparison with the recorded answers of Microsoft's hcsshim (`golden/transport-folder.json`): what its writer lays out for a
//! layer tar, and what its reader makes of that folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layerstone_layer::tar::{Event, TarReader, TarWriter};
use layerstone_layer::transport::{
    HandedBack, Outcome, ReadOptions, TransportReader, TransportWriter, WriteOptions, copy_from_tar_with,
    copy_to_tar,
};
use serde_json::Value;

fn vectors() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/transport-folder.json");
    let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value["b64"].as_str().unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Everything below a directory: names with `/`, and the bytes of files.
fn tree(root: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![(root.to_path_buf(), String::new())];
    while let Some((directory, prefix)) = todo.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                todo.push((entry.path(), format!("{name}/")));
                found.insert(name, None);
            } else {
                found.insert(name, Some(fs::read(entry.path()).unwrap()));
            }
        }
    }
    found
}

fn recorded_tree(nodes: &Value) -> BTreeMap<String, Option<Vec<u8>>> {
    let node = |node: &Value| {
        let data = (node["dir"].as_bool() != Some(true)).then(|| bytes(&node["data"]));
        (text(&node["path"]).replace('\\', "/"), data)
    };
    list(nodes).iter().map(node).collect()
}

/// Lays a vector's tar out; what was handed back comes with its bytes.
fn lay_out(vector: &Value, root: &Path, options: WriteOptions) -> (Outcome, BTreeMap<String, Vec<u8>>) {
    let tar = bytes(&vector["tar"]);
    let writer = TransportWriter::create(root, options).unwrap();
    let mut handed: Vec<(String, Vec<u8>)> = Vec::new();
    let outcome = copy_from_tar_with(&mut TarReader::new(tar.as_slice()), writer, &mut |piece| {
        match piece {
            HandedBack::Entry(entry) => handed.push((entry.path.to_string(), Vec::new())),
            HandedBack::Data(bytes) => handed.last_mut().unwrap().1.extend_from_slice(bytes),
        }
        Ok(())
    });
    (outcome.unwrap(), handed.into_iter().collect())
}

#[test]
fn each_recorded_tar_is_laid_out_as_hcsshim_lays_it_out() {
    let mut agreed = 0;
    for vector in vectors() {
        let case = text(&vector["case"]);
        let directory = tempfile::tempdir().unwrap();
        let (outcome, handed) = lay_out(&vector, directory.path(), WriteOptions::hcsshim());
        assert_eq!(tree(directory.path()), recorded_tree(&vector["write"]["tree"]), "{case}");

        let links: Vec<_> = outcome
            .hard_links
            .iter()
            .map(|link| (link.name.to_string(), link.target.to_string(), link.target_in_layer))
            .collect();
        let recorded: Vec<_> = list(&vector["write"]["links"])
            .iter()
            .map(|link| {
                (text(&link["Path"]).replace('\\', "/"), text(&link["Target"]).replace('\\', "/"), true)
            })
            .collect();
        assert_eq!(links, recorded, "{case}");

        // What hcsshim writes into the destination is handed back. The rest there is the parent's.
        let parents: Vec<_> =
            list(&vector["parents"]).iter().map(|file| text(&file["path"]).replace('\\', "/")).collect();
        let destination: BTreeMap<_, _> = recorded_tree(&vector["write"]["dest"])
            .into_iter()
            .filter(|(name, _)| !parents.contains(name))
            .map(|(name, data)| (name, data.unwrap_or_default()))
            .collect();
        assert_eq!(handed, destination, "{case}");
        assert!(outcome.tombstones.is_empty(), "{case}");
        agreed += 1;
    }
    let found = format!("{agreed} layouts of {} to the byte, written and read.", vectors().len());
    layerstone_testing::documented("deviations.md", "folders", &found);
}

/// A header of the tar that the reader's entries make.
#[derive(Debug, PartialEq)]
struct Header {
    typeflag: String,
    name: String,
    linkname: String,
    size: u64,
    mode: u64,
    /// Without times, which the recordings do not have.
    records: BTreeMap<String, String>,
    data: Vec<u8>,
}

const TIMES: [&str; 4] = ["LIBARCHIVE.creationtime", "atime", "ctime", "mtime"];

fn headers(archive: &[u8]) -> Vec<Header> {
    let mut reader = TarReader::new(archive);
    let mut found: Vec<Header> = Vec::new();
    let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    loop {
        match reader.next_event().unwrap() {
            Event::Raw(_) => {}
            Event::Member(member) => found.push(Header {
                typeflag: char::from(member.typeflag).to_string(),
                name: string(&member.name),
                linkname: string(&member.link_name),
                size: member.size,
                mode: member.mode.into(),
                records: member
                    .records
                    .iter()
                    .map(|(key, value)| (string(key), string(value)))
                    .filter(|(key, _)| !TIMES.contains(&key.as_str()))
                    .collect(),
                data: Vec::new(),
            }),
            Event::Data(bytes) => found.last_mut().unwrap().data.extend_from_slice(bytes),
            Event::End => return found,
        }
    }
}

fn recorded_header(header: &Value) -> Header {
    let records = header["pax"].as_object().unwrap();
    Header {
        typeflag: text(&header["typeflag"]).to_owned(),
        name: text(&header["name"]).to_owned(),
        linkname: text(&header["linkname"]).to_owned(),
        size: header["size"].as_u64().unwrap(),
        mode: header["mode"].as_u64().unwrap(),
        records: records
            .iter()
            .map(|(key, value)| (key.clone(), text(value).to_owned()))
            .filter(|(key, _)| !TIMES.contains(&key.as_str()))
            .collect(),
        data: bytes(&header["data"]),
    }
}

#[test]
fn each_recorded_folder_reads_as_hcsshim_reads_it() {
    let mut agreed = 0;
    for vector in vectors() {
        let case = text(&vector["case"]);
        assert_eq!(text(&vector["read"]["error"]), "", "{case}");
        // The recorded folder, not one that our writer made.
        let directory = tempfile::tempdir().unwrap();
        let nodes = recorded_tree(&vector["write"]["tree"]);
        for (name, data) in &nodes {
            let path = directory.path().join(name);
            match data {
                None => fs::create_dir_all(path).unwrap(),
                Some(data) => fs::write(path, data).unwrap(),
            }
        }
        let options = ReadOptions { require_sidecars: true, ..ReadOptions::lenient() };
        let mut reader = TransportReader::open(directory.path(), options).unwrap();
        let mut tar = TarWriter::new(Vec::new());
        copy_to_tar(&mut reader, &mut tar).unwrap_or_else(|error| panic!("{case}: {error:?}"));
        let ours = headers(&tar.finish().unwrap());
        let theirs: Vec<_> = list(&vector["read"]["headers"]).iter().map(recorded_header).collect();
        assert_eq!(ours, theirs, "{case}");
        agreed += 1;
    }
    assert_eq!(agreed, 5);
}
