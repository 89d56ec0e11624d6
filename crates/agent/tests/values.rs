//! What is written on a command line and in an image: users, variables, volumes, sizes, signals, capabilities, logs.

// Containers, and so their paths, are Linux's.
#![cfg(unix)]

use std::path::Path;

use layerstone_agent::env::{Environment, of_file, of_flags};
use layerstone_agent::log::{Reader, Stream, Writer};
use layerstone_agent::options::{Network, Volume, parse_bytes};
use layerstone_agent::{caps, id, signal, user};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\n# a comment\nbroken\nanna:x:1001:1002::/home/anna:/bin/sh\n\
    5:x:7:8::/five:\nbad:x:no:0::/:\nlast:x:9:9";
const GROUP: &str =
    "root:x:0:\nstaff:x:1002:anna\naudio:x:29:bert,anna\nvideo:x:44:anna,root\naudio2:x:29:anna\n77:x:78:\n";

#[test]
fn users_and_groups_are_found_by_name_first_and_then_by_number() {
    let of = |text: &str| {
        let found = user::resolve(text, PASSWD, GROUP).map_err(|error| error.to_string())?;
        Ok::<_, String>((found.uid, found.gid, found.groups, found.home))
    };
    let is = |text: &str, uid, gid, groups: &[u32], home: &str| {
        assert_eq!(of(text), Ok((uid, gid, groups.to_vec(), home.to_owned())), "{text}");
    };
    is("", 0, 0, &[44], "/root");
    is("root", 0, 0, &[44], "/root");
    is("anna", 1001, 1002, &[29, 44], "/home/anna");
    is("1001", 1001, 1002, &[29, 44], "/home/anna");
    // A name may look like a number.
    is("5", 7, 8, &[], "/five");
    is("anna:audio", 1001, 29, &[], "/home/anna");
    is("anna:77", 1001, 78, &[], "/home/anna");
    is("4000:5000", 4000, 5000, &[], "/");
    is("4000", 4000, 0, &[], "/");
    is(":video", 0, 44, &[], "/root");
    is("anna:", 1001, 1002, &[29, 44], "/home/anna");
    is("last", 9, 9, &[], "/");
    for unknown in ["bert", "anna:bert", "bad", "-1", "4294967295", "99999999999", "+5", " anna"] {
        assert!(of(unknown).is_err(), "{unknown}");
    }
    let nothing = user::resolve("1000:1000", "", "").unwrap();
    assert_eq!((nothing.uid, nothing.gid), (1000, 1000));
}

#[test]
fn the_last_one_to_name_a_variable_wins_and_keeps_its_place() {
    let own = |name: &str| (name == "OWN").then(|| "mine".to_owned());
    let flags: Vec<String> = ["A=1", "OWN", "MISSING", "B=x=y", "A=2", "E="].map(str::to_owned).to_vec();
    let mut env = Environment::default();
    env.set_all(of_flags(&flags, own).unwrap());
    env.set_default("A", "3");
    env.set_default("PATH", "/bin");
    assert_eq!(env.get("B"), Some("x=y"));
    assert_eq!(env.into_vec(), ["A=2", "OWN=mine", "B=x=y", "E=", "PATH=/bin"]);
    for wrong in ["", "=x"] {
        assert!(of_flags(&[wrong.to_owned()], own).is_err());
    }
    assert_eq!(of_file("# no\n\n A=1\nOWN\nC= d \n", own).unwrap(), ["A=1", "OWN=mine", "C= d "]);
}

#[test]
fn volumes_are_a_source_a_destination_and_known_options() {
    let here = tempfile::tempdir().unwrap();
    let here = here.path().canonicalize().unwrap();
    std::fs::create_dir(here.join("d")).unwrap();
    let bind = |text: &str| Volume::parse_bind(text, &here);
    let volume = bind("./d:/x//y/../z:ro,nosuid").unwrap();
    assert_eq!(volume.source.as_deref(), Some(here.join("d").as_path()));
    assert_eq!(volume.destination, "/x/z");
    assert_eq!(volume.options, ["rbind", "ro", "nosuid", "rprivate"]);
    let shared = bind(&format!("{}:/x:bind,rslave", here.display())).unwrap();
    assert_eq!(shared.options, ["bind", "rslave"]);
    for wrong in
        ["./d", "d:/x", "./d:x", "./d:/", "./d:/../x", "./d:/x:z", "./d:/x:ro:rw", "./none:/x", ":/x"]
    {
        assert!(bind(wrong).is_err(), "{wrong}");
    }
    let tmpfs = Volume::parse_tmpfs("/t:size=1m,exec,mode=700,dev").unwrap();
    assert_eq!((tmpfs.source, tmpfs.destination.as_str()), (None, "/t"));
    assert_eq!(tmpfs.options, ["nosuid", "size=1m", "exec", "mode=700", "dev"]);
    for wrong in ["t", "/t:size", "/t:upperdir=/x", "/t:size=1,lowerdir=/", "/t:size=/x"] {
        assert!(Volume::parse_tmpfs(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn sizes_signals_networks_names_and_capabilities_are_read_as_podman_does() {
    for (text, bytes) in
        [("1024", 1024), ("1k", 1024), ("1.5m", 3 << 19), ("2GB", 2 << 30), ("1KiB", 1024), ("7b", 7)]
    {
        assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
    }
    for wrong in ["", "x", "-1", "0", "1e400", "nan", "1z", "9999999999t"] {
        assert!(parse_bytes(wrong).is_err(), "{wrong}");
    }
    for (text, number) in
        [("9", 9), ("KILL", 9), ("sigterm", 15), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("64", 64)]
    {
        assert_eq!(signal::parse(text).unwrap(), number, "{text}");
    }
    for wrong in ["0", "32", "65", "-9", "SIG", "RTMIN+99", "RTMIN+2147483647", "NOPE"] {
        assert!(signal::parse(wrong).is_err(), "{wrong}");
    }
    assert_eq!(Network::parse("ns:/run/netns/x").unwrap(), Network::Namespace("/run/netns/x".into()));
    assert!(Network::parse("ns:relative").is_err() && Network::parse("bridge").is_err());
    for (name, fine) in
        [("web-1_a.b", true), ("", false), ("-x", false), (".x", false), ("a/b", false), ("ä", false)]
    {
        assert_eq!(id::check_name(name).is_ok(), fine, "{name}");
    }
    assert!(id::check_name(&"x".repeat(129)).is_err());
    assert!(
        id::is_id(&id::from_bytes(&[0xa5; 32])) && !id::is_id("../../etc") && !id::is_id(&"A".repeat(64))
    );
    let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let of = |add: &[&str], drop: &[&str]| caps::resolve(&list(add), &list(drop));
    assert_eq!(of(&[], &[]).unwrap(), caps::DEFAULT.map(|cap| cap).to_vec().tap_sorted());
    assert_eq!(of(&["net_admin"], &["all"]).unwrap(), ["CAP_NET_ADMIN"]);
    assert_eq!(of(&["ALL"], &["CAP_CHOWN"]).unwrap().len(), caps::ALL.len() - 1);
    for (add, drop) in [(&["x"][..], &[][..]), (&["chown"], &["CAP_CHOWN"]), (&["all"], &["all"])] {
        assert!(of(add, drop).is_err());
    }
}

/// In the order of the kernel's numbers, as sets are given.
trait TapSorted {
    fn tap_sorted(self) -> Self;
}

impl TapSorted for Vec<&'static str> {
    fn tap_sorted(mut self) -> Self {
        self.sort_by_key(|cap| caps::ALL.iter().position(|known| known == cap));
        self
    }
}

fn read_all(directory: &Path) -> (Vec<u8>, Vec<u8>) {
    let mut reader = Reader::open(directory).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(record) = reader.next_record().unwrap() {
        match record.stream {
            Stream::Stdout => out.extend(record.data()),
            Stream::Stderr => err.extend(record.data()),
        }
    }
    (out, err)
}

#[test]
fn a_log_gives_back_every_byte_however_it_was_cut_and_keeps_so_many_files() {
    let directory = tempfile::tempdir().unwrap();
    let text = "äöü 😀 line\n".repeat(50).into_bytes();
    let mut writer = Writer::open(directory.path(), 1 << 20).unwrap();
    // Cut in every place, characters included, and mixed with bytes that are none.
    for (at, byte) in text.iter().enumerate() {
        writer.write(Stream::Stdout, &[*byte]).unwrap();
        if at % 7 == 0 {
            writer.write(Stream::Stderr, &[0xff, 0, b'\n', 0xc3]).unwrap();
        }
    }
    writer.write(Stream::Stdout, &vec![b'x'; 100_000]).unwrap();
    writer.write(Stream::Stdout, &[0xe2, 0x82]).unwrap();
    writer.end(Stream::Stdout).unwrap();
    writer.end(Stream::Stderr).unwrap();
    let (out, err) = read_all(directory.path());
    assert_eq!(out, [text.as_slice(), &vec![b'x'; 100_000], &[0xe2, 0x82]].concat());
    assert_eq!(err, [0xff, 0, b'\n', 0xc3].repeat(text.len().div_ceil(7)));

    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(directory.path(), 4096).unwrap();
    let mut reader = Reader::open(directory.path()).unwrap();
    let mut followed = Vec::new();
    for number in 0..500 {
        writer.write(Stream::Stdout, format!("{number}\n").as_bytes()).unwrap();
        // Followed across each rotation.
        while let Some(record) = reader.next_record().unwrap() {
            followed.extend(record.data());
        }
    }
    assert_eq!(followed, (0..500).map(|n| format!("{n}\n")).collect::<String>().into_bytes());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
    let (kept, _) = read_all(directory.path());
    assert!(followed.ends_with(&kept) && kept.len() > 200, "{} bytes are kept", kept.len());
}
