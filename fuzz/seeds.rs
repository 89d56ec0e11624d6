//! Makes the inputs that the fuzz targets start from: `seeds DIRECTORY` fills a directory for each target. They are made
//! by the crates' own writers and taken from the recorded vectors of the tests, so none are kept in the repository.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use layerstone_erofs::{Content, FinishOptions, ImageWriter, Node, NodeId, Segment, Tree, Xattr};
use layerstone_layer::split::SplitWriter;
use layerstone_layer::tar::TarWriter;
use layerstone_layer::{Entry, EntryKind, LayerPath, Metadata, UnixTime};
use layerstone_nt::hive::{HiveWriter, KeyTree, LayerSemantics, ValueTree, ValueType, Version};
use layerstone_nt::{ReparsePoint, WideString, reparse};
// The coverage hooks in the crates are defined by libFuzzer.
use libfuzzer_sys as _;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: seeds DIRECTORY")?);
    let mut seeds = Seeds { directory, written: 0 };
    for golden in ["nt/tests/golden/backuptar.json", "layer/tests/golden/transport-folder.json"] {
        let crates = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates"));
        let vectors: serde_json::Value = serde_json::from_slice(&fs::read(crates.join(golden))?)?;
        for vector in vectors["vectors"].as_array().into_iter().flatten() {
            recorded(&mut seeds, vector)?;
        }
    }
    seeds.put("tar", &[&[0][..], &linux_tar()?].concat())?;
    for tar in dialects() {
        seeds.put("tar", &[&[0][..], &tar].concat())?;
    }
    seeds.put("split", &[&[0][..], &split()?].concat())?;
    seeds.put("split", b"\x01\x00\x05hello\x01\x03abc\x03\x02xy\x01\x00")?;
    for image in images()? {
        seeds.put("erofs_reader", &image)?;
    }
    for target in ["C:\\Windows\\System32", "..\\elsewhere", "\\\\server\\share"] {
        for kind in [reparse::TargetKind::MountPoint, reparse::TargetKind::Symlink] {
            let bytes = ReparsePoint::from_target(&WideString::from(target), kind).encode()?;
            seeds.put("nt", &[&[0][..], &bytes].concat())?;
        }
    }
    seeds.put(
        "nt",
        b"\x04MSWINDOWS.fileattr=32\nMSWINDOWS.rawsd=AQAEgBQAAAAkAAAAAAAAADAAAAA=\nMSWINDOWS.xattr.A=YmFy",
    )?;
    for input in hives()? {
        seeds.put("hive", &input)?;
    }
    for sddl in [
        "O:BAG:SYD:PAI(A;OICI;FA;;;BA)(OA;;RP;bf967aba-0de6-11d0-a285-00aa003049e2;;WD)S:(ML;;NW;;;HI)",
        "O:LAG:DU",
    ] {
        seeds.put("nt", &[&[3], sddl.as_bytes()].concat())?;
    }
    for (choice, text) in
        [(6, &b"Na\xED\xA0\x80me\xC3\xBF.txt"[..]), (7, b"-1700000000.1234567"), (7, &[0; 40])]
    {
        seeds.put("nt", &[&[choice], text].concat())?;
    }
    let view = |tag: u8, data: &[u8]| [&[8, tag][..], data].concat();
    let wci = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[7; 16], &[4, 0, b'a', 0, b'b', 0]].concat();
    seeds.put("nt", &view(0, &wci))?;
    seeds.put("nt", &view(2, &[1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]))?;
    seeds.put("nt", &view(3, b"\x03\0\0\0a\0\0\0b\0\0\0"))?;
    seeds.put("nt", &view(4, b"\x02\0\0\0../target"))?;
    seeds.put("nt", &view(9, b"\x01\x80\x04\0FeRp"))?;
    seeds.put("versions", b"10.0.20348.600\n10.0.20348.473\n10.0.26100.x\n\n10.0.17763.1")?;
    seeds.put("versions", b"windows/amd64:10.0.20348.x\nwindows(10.0.17763)/arm64/v8\nltsc2019")?;
    seeds.put("tar", &[&[1][..], &windows_tar()?].concat())?;
    for (choice, text) in REGISTRY {
        seeds.put("registry", &[&[choice][..], text.as_bytes()].concat())?;
    }
    Ok(())
}

/// A Windows layer as tools on Linux write it: backslashes, slashes behind names, targets with a prefix too many.
fn windows_tar() -> Result<Vec<u8>> {
    let mut writer = TarWriter::new(Vec::new());
    let entry = |name: &str, kind| Entry { path: path(name), kind, meta: Metadata::default() };
    writer.entry(&entry("Files/app", EntryKind::Directory))?;
    writer.entry(&entry("Files\\app\\a.txt", EntryKind::File { size: 3, segments: None }))?;
    writer.data(b"abc")?;
    writer.entry(&entry("Files\\app\\a.txt:s", EntryKind::File { size: 1, segments: None }))?;
    writer.data(b"d")?;
    writer.entry(&entry("Files/l", EntryKind::Symlink { target: b"Files//app/a.txt".to_vec() }))?;
    writer.entry(&entry("Files/h", EntryKind::HardLink { target: path("app/a.txt") }))?;
    writer.entry(&entry("Files/.wh.gone", EntryKind::File { size: 0, segments: None }))?;
    Ok(writer.finish()?)
}

/// What registries and administrators write, for each kind of text that the target reads.
const REGISTRY: [(u8, &str); 10] = [
    (0, "mcr.microsoft.com/windows/nanoserver:ltsc2022"),
    (0, "localhost:5000/a/b@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    (
        1,
        "Bearer realm=\"https://auth.example/token\",service=\"s\",scope=\"repository:a:pull,push\", Basic realm=x",
    ),
    (2, "bytes 5-9/20"),
    (2, "Sun, 06 Nov 1994 08:49:37 GMT"),
    (3, "</v2/a/referrers/x?n=1&last=b>; rel=\"next\""),
    (4, "../blobs/uploads/1?_state=abc"),
    (4, "https://storage.example/x?signature=y"),
    (
        5,
        "unqualified-search-registries = ['a.example', 'docker.io']\n[aliases]\nalpine = 'docker.io/library/alpine'",
    ),
    (
        5,
        "[[registry]]\nprefix = 'docker.io'\nlocation = 'm.example/hub'\n[[registry.mirror]]\nlocation = 'n.example'\npull-from-mirror = 'digest-only'",
    ),
];

struct Seeds {
    directory: PathBuf,
    written: usize,
}

impl Seeds {
    fn put(&mut self, target: &str, bytes: &[u8]) -> Result<()> {
        let directory = self.directory.join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("seed-{:03}", self.written)), bytes)?;
        self.written += 1;
        Ok(())
    }
}

/// One of the recorded answers of Microsoft's code.
fn recorded(seeds: &mut Seeds, vector: &serde_json::Value) -> Result<()> {
    let bytes = |field: &str| vector[field]["b64"].as_str().map(decode);
    if let Some(tar) = bytes("tar") {
        seeds.put("tar", &[&[1][..], &tar].concat())?;
    }
    // Layers, and the backup streams of what is in them.
    if let Some(tar) = bytes("tar").filter(|_| vector["op"] != "to_tar") {
        seeds.put("transport", &[&[0][..], &tar].concat())?;
    }
    for file in vector["files"].as_array().into_iter().flatten() {
        if let Some(stream) = file["stream"]["b64"].as_str().map(decode) {
            seeds.put("backup", &stream)?;
            let sidecar = [&[4, 0x10, 0, 0, 0][..], &[4, 0x10, 0, 0, 0]].concat();
            let removed = "\u{feff}Version 1.0\n\\d\\gone\n";
            let removed = [&[removed.len() as u8], removed.as_bytes()].concat();
            seeds.put("transport", &[&[2][..], &sidecar, &removed, &[0, 0x20, 0, 0, 0], &stream].concat())?;
        }
    }
    if let Some(sddl) = vector["sddl"].as_str() {
        seeds.put("nt", &[&[3], sddl.as_bytes()].concat())?;
    }
    if let Some(data) = bytes("data") {
        let tag = if vector["op"] == "encode_ea" { 2 } else { 1 };
        seeds.put("nt", &[&[tag][..], &data].concat())?;
    }
    Ok(())
}

/// Standard Base64; the vectors are well-formed.
fn decode(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for value in text.bytes().filter_map(digit) {
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// Hives of each version, a hive with its log, and stacks.
fn hives() -> Result<Vec<Vec<u8>>> {
    let hive = |version, semantics, number| {
        let mut root = KeyTree::root("ROOT");
        for name in ["a", "b", "\u{e9}\u{20ac}"] {
            let mut key = KeyTree::new(name);
            key.class = (name == "a").then(|| "class".into());
            key.values.push(ValueTree::dword("number", number));
            key.values.push(ValueTree::text("text", ValueType::Sz, "some text"));
            key.subkeys.push(KeyTree::new("below"));
            root.subkeys.push(key);
        }
        root.subkeys[1].layer.semantics = semantics;
        if semantics != LayerSemantics::Merge {
            root.subkeys[0].values[0] = ValueTree::tombstone("number");
        }
        HiveWriter::new(version).write(&root)
    };
    let mut big = KeyTree::root("ROOT");
    big.values.push(ValueTree::new("big", ValueType::Binary, vec![1; 17_000]));
    big.subkeys = (0..520).map(|n| KeyTree::new(format!("{n}").as_str())).collect();
    let mut inputs = Vec::new();
    for version in [Version::V1_3, Version::V1_4, Version::V1_5, Version::V1_6] {
        inputs.push([&[0][..], &hive(version, LayerSemantics::Merge, 1)?].concat());
        inputs.push([&[0][..], &HiveWriter::new(version).write(&big)?].concat());
    }
    let joined = |kind: u8, pieces: [&[u8]; 3]| {
        let lengths = [pieces[0].len() as u16, pieces[1].len() as u16].map(u16::to_le_bytes).concat();
        [&[kind][..], &lengths, pieces[0], pieces[1], pieces[2]].concat()
    };
    let base = hive(Version::V1_5, LayerSemantics::Merge, 1)?;
    for semantics in
        [LayerSemantics::Tombstone, LayerSemantics::SupersedeLocal, LayerSemantics::SupersedeTree]
    {
        let delta = hive(Version::V1_6, semantics, 2)?;
        inputs.push(joined(2, [&base, &delta, &base]));
    }
    // Dirty, with a log of the old format that has one page.
    let mut dirty = base.clone();
    dirty[4] = 2;
    let mut log = base[..512].to_vec();
    log[28] = 1;
    seal(&mut dirty);
    seal(&mut log);
    log.extend_from_slice(b"DIRT\x01\0\0\0");
    log.resize(1024, 0);
    log.extend_from_slice(&base[4096..4608]);
    inputs.push(joined(1, [&dirty, &log, &[]]));
    // The same of the new format, an entry in each of two logs. Fuzzed code does not look at the hashes.
    let new = |sequence: u32| {
        let mut log = base[..512].to_vec();
        log[28] = 6;
        log[4..8].copy_from_slice(&sequence.to_le_bytes());
        log[8..12].copy_from_slice(&sequence.to_le_bytes());
        seal(&mut log);
        let bins = base.len() as u32 - 4096;
        log.extend_from_slice(b"HvLE");
        for word in [1024, 0, sequence, bins, 1, 0, 0, 0, 0, 512, 256] {
            log.extend_from_slice(&u32::to_le_bytes(word));
        }
        log.extend_from_slice(&base[4608..4864]);
        log.resize(512 + 1024, 0);
        log
    };
    inputs.push(joined(1, [&dirty, &new(1), &new(2)]));
    let mut damaged = dirty.clone();
    damaged[508] ^= 1;
    inputs.push(joined(1, [&damaged, &new(1), &new(2)]));
    Ok(inputs)
}

/// Puts the checksum of a base block right.
fn seal(bytes: &mut [u8]) {
    let words = bytes[..508].chunks_exact(4);
    let sum = words.fold(0, |sum, word| sum ^ u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    bytes[508..512].copy_from_slice(&sum.to_le_bytes());
}

fn path(text: &str) -> LayerPath {
    text.split('/')
        .filter(|name| !name.is_empty())
        .fold(LayerPath::root(), |path, name| path.join(name.as_bytes()))
}

fn linux_tar() -> Result<Vec<u8>> {
    let mut writer = TarWriter::new(Vec::new());
    let long = "long/".repeat(40);
    let entries: [(&str, EntryKind); 9] = [
        ("d", EntryKind::Directory),
        ("d/f", EntryKind::File { size: 5, segments: None }),
        ("d/link", EntryKind::HardLink { target: path("d/f") }),
        ("d/gone", EntryKind::Whiteout),
        ("d", EntryKind::Opaque),
        ("s", EntryKind::Symlink { target: long.clone().into_bytes() }),
        ("null", EntryKind::CharDevice { major: 1, minor: 3 }),
        ("pipe", EntryKind::Fifo),
        (&long, EntryKind::File { size: 3, segments: None }),
    ];
    for (name, kind) in entries {
        let size = match kind {
            EntryKind::File { size, .. } => size as usize,
            _ => 0,
        };
        let meta = Metadata {
            mode: 0o4755,
            uid: 70_000,
            mtime: UnixTime::from_seconds(-1),
            xattrs: vec![layerstone_layer::Xattr { name: b"user.x".to_vec(), value: b"y=z\n".to_vec() }],
            ..Metadata::default()
        };
        writer.entry(&Entry { path: path(name), kind, meta })?;
        writer.data(&b"hello"[..size])?;
    }
    Ok(writer.finish()?)
}

/// What the writer does not write: GNU long names, base-256 numbers, sparse files of each kind.
fn dialects() -> Vec<Vec<u8>> {
    let long = block(b"././@LongLink", b'L', 5, b"ustar  \0", &[]);
    let gnu_name =
        [long, padded(b"name\0"), block(b"x", b'0', 3, b"ustar  \0", &[]), padded(b"abc")].concat();
    let map: [(usize, &[u8]); 4] =
        [(386, b"00000000000\0"), (398, b"00000000003\0"), (410, b"00000000006\0"), (483, b"00000000006\0")];
    let gnu_sparse = [block(b"sparse", b'S', 3, b"ustar  \0", &map), padded(b"abc")].concat();
    let binary = block(b"big", b'5', 0, b"ustar  \0", &[(108, b"\x80\0\0\0\0\x01\0\0"), (136, &[0xff; 12])]);
    let pax = |records: &[u8], payload: &[u8]| {
        let header = block(b"pax", b'x', records.len(), b"ustar\x0000", &[]);
        let member = block(b"GNUSparseFile.0/x", b'0', payload.len(), b"ustar\x0000", &[]);
        [header, padded(records), member, padded(payload)].concat()
    };
    let sparse_01 =
        b"22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n25 GNU.sparse.map=0,1,4,1\n21 GNU.sparse.size=9\n";
    let sparse_10 =
        b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n22 GNU.sparse.name=foo\n25 GNU.sparse.realsize=9\n";
    let mut map_10 = padded(b"1\n0\n3\n");
    map_10.extend_from_slice(b"abc");
    let old = block(b"v7", b'\0', 0, b"\0\0\0\0\0\0\0\0", &[]);
    vec![gnu_name, gnu_sparse, binary, pax(sparse_01, b"ab"), pax(sparse_10, &map_10), old]
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn block(name: &[u8], typeflag: u8, size: usize, magic: &[u8; 8], more: &[(usize, &[u8])]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000001\0");
    put(148, b"        ");
    put(156, &[typeflag]);
    put(257, magic);
    for (at, bytes) in more {
        put(*at, bytes);
    }
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn split() -> Result<Vec<u8>> {
    let mut writer = SplitWriter::new(Vec::new())?;
    writer.literal(&[7; 512])?;
    writer.begin_payload(5, None)?;
    writer.payload_bytes(b"hello");
    writer.end_payload();
    let segments = [layerstone_layer::tar::Segment { offset: 4096, len: 3 }];
    writer.begin_payload(8192, Some(&segments))?;
    writer.payload_bytes(b"abc");
    writer.end_payload();
    writer.literal(&[0; 1024])?;
    Ok(writer.finish(|id| id.0 as u64 + 36)?)
}

/// A small image, and one with a bit of everything.
fn images() -> Result<Vec<Vec<u8>>> {
    let node =
        |mode, content| Node { mode, uid: 0, gid: 0, mtime: 9, mtime_nsec: 1, xattrs: vec![], content };
    let small = ImageWriter::new(Vec::new(), Cursor::new(Vec::new()));
    let mut tree = Tree::default();
    tree.push(node(0o040755, Content::Directory(vec![])));
    let small = small.finish(tree, FinishOptions::new([1; 16]))?.output;

    let mut writer = ImageWriter::new(Vec::new(), Cursor::new(Vec::new()));
    let mut file = |size: usize| -> Result<_> {
        writer.begin_file(size as u64)?;
        writer.write(&vec![b'x'; size])?;
        Ok(writer.end_file()?)
    };
    let files = [file(0)?, file(10)?, file(4096)?, file(9000)?];
    writer.begin_sparse(1 << 20, &[Segment { offset: 8192, len: 4096 }])?;
    writer.write(&[b'y'; 4096])?;
    let sparse = writer.end_file()?;
    let mut tree = Tree::default();
    let root = tree.push(node(0o040755, Content::Directory(vec![])));
    let below = tree.push(node(0o040700, Content::Directory(vec![])));
    let mut names: Vec<(Vec<u8>, NodeId)> = Vec::new();
    for data in files.into_iter().chain([sparse]) {
        let mut inode = node(0o100644, Content::File(data));
        inode.uid = 100_000;
        inode.xattrs = vec![Xattr { name: b"user.shared".to_vec(), value: vec![3; 40] }];
        let id = tree.push(inode);
        names.push((format!("file-{}", names.len()).into_bytes(), id));
    }
    let link = tree.push(node(0o120777, Content::Symlink(b"b/../a".to_vec())));
    names.push((b"link".to_vec(), link));
    names.push((b"other-name".to_vec(), names[0].1));
    let many = (0..300).map(|n| (format!("entry-{n:04}").into_bytes(), names[1].1)).collect();
    tree.nodes[below.index()].content = Content::Directory(many);
    names.push((b"a".to_vec(), below));
    tree.nodes[root.index()].content = Content::Directory(names);
    Ok(vec![small, writer.finish(tree, FinishOptions::new([2; 16]))?.output])
}
