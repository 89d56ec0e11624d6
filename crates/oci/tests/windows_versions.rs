//! Windows images and hosts: who runs what, and which of several images is taken.

use layerstone_oci::windows_version::{
    Builds, Isolation, RELEASES, Release, Rule, choose, hosts_for, image_runs, images_for, runs,
};
use layerstone_oci::{Error, Platform, WindowsVersion};
use proptest::prelude::*;

const CONTAINERD: Isolation = Isolation::Process(Rule::Containerd);
const HCSSHIM: Isolation = Isolation::Process(Rule::Hcsshim);

fn version(text: &str) -> WindowsVersion {
    text.parse().unwrap()
}

#[test]
fn versions_are_four_numbers_of_which_the_last_may_stand_for_all() {
    assert_eq!(
        version("10.0.20348.2113"),
        WindowsVersion { revision: Some(2113), ..WindowsVersion::of_build(20348) }
    );
    for text in ["10.0.20348", "10.0.20348.x", "10.0.20348.*"] {
        assert_eq!(version(text), WindowsVersion::of_build(20348), "{text}");
    }
    assert_eq!(version("10.0.20348.2113").to_string(), "10.0.20348.2113");
    assert_eq!(version("10.0.20348.x").to_string(), "10.0.20348");
    for text in [
        "",
        "10",
        "10.0",
        "10.0.x",
        "10.0.20348.",
        "10.0.20348.1.2",
        "10.0.+1",
        "10.0.99999999999",
        "a.b.c",
        "10..1",
        "10.0.1.99999999999",
    ] {
        assert!(matches!(text.parse::<WindowsVersion>(), Err(Error::InvalidWindowsVersion { .. })), "{text}");
    }
}

/// The ten cases of hcsshim's own test (`osversion/platform_compat_windows_test.go`): host, image, outcome.
const HCSSHIMS_TABLE: [(u32, u32, bool); 10] = [
    (17763, 17763, true),
    (17763, 20348, false),
    (20348, 17763, false),
    (20348, 20348, true),
    (22621, 17763, false),
    (22621, 20348, true),
    (26100, 20348, true),
    (20348, 26100, false),
    (20348, 22621, false),
    (26100, 22621, true),
];

#[test]
fn both_rules_meet_hcsshims_table() {
    for (host, image, outcome) in HCSSHIMS_TABLE {
        for rule in [CONTAINERD, HCSSHIM] {
            assert_eq!(runs(host, image, rule), outcome, "{rule:?}: host {host}, image {image}");
        }
    }
}

#[test]
fn the_rules_differ_for_hosts_newer_than_the_newest_long_term_release_only() {
    for host in 14393..27000 {
        for image in RELEASES.iter().map(|release| release.build) {
            let (containerd, hcsshim) = (runs(host, image, CONTAINERD), runs(host, image, HCSSHIM));
            assert!(containerd == hcsshim || (host > 26100 && image < 26100), "host {host}, image {image}");
        }
    }
    assert!(runs(26200, 20348, CONTAINERD));
    assert!(!runs(26200, 20348, HCSSHIM));
    assert_eq!(Rule::default(), Rule::Containerd);
}

#[test]
fn before_server_2022_only_the_same_build_runs() {
    for host in [14393, 17763, 19041, 19045, 20347] {
        assert_eq!(images_for(host, CONTAINERD), Builds { from: host, to: Some(host) });
        assert!(!runs(host, host - 1, HCSSHIM));
    }
}

#[test]
fn in_a_virtual_machine_every_older_image_runs() {
    assert!(runs(26100, 14393, Isolation::HyperV));
    assert!(runs(20348, 17763, Isolation::HyperV));
    assert!(!runs(17763, 20348, Isolation::HyperV));
    assert_eq!(hosts_for(17763, Isolation::HyperV), Builds { from: 17763, to: None });
}

#[test]
fn hosts_for_an_image_are_those_that_run_it() {
    assert_eq!(hosts_for(17763, CONTAINERD).to_string(), "17763 (ltsc2019)");
    assert_eq!(hosts_for(20348, CONTAINERD).to_string(), "20348 (ltsc2022) and later");
    assert_eq!(hosts_for(20348, HCSSHIM).to_string(), "20348 (ltsc2022) to 26100 (ltsc2025)");
    assert_eq!(hosts_for(22621, HCSSHIM).to_string(), "22621 (11-22H2) to 26100 (ltsc2025)");
    assert_eq!(hosts_for(26100, HCSSHIM).to_string(), "26100 (ltsc2025) and later");
    assert_eq!(hosts_for(12345, CONTAINERD).to_string(), "12345");
    for isolation in [CONTAINERD, HCSSHIM, Isolation::HyperV] {
        for image in (12000..27000).step_by(7).chain(RELEASES.iter().map(|release| release.build)) {
            let hosts = hosts_for(image, isolation);
            for host in (12000..28000).step_by(11).chain([20347, 20348, 26099, 26100, 26101]) {
                assert_eq!(
                    hosts.contains(host),
                    runs(host, image, isolation),
                    "{isolation:?} {host} {image}"
                );
            }
        }
    }
}

#[test]
fn an_image_that_states_nothing_is_taken_and_nonsense_is_not() {
    let host = version("10.0.20348.100");
    assert!(image_runs(&host, None, CONTAINERD));
    assert!(image_runs(&host, Some(""), CONTAINERD));
    assert!(!image_runs(&host, Some("ltsc2022"), CONTAINERD));
    assert!(!image_runs(&host, Some("6.1.7601.0"), Isolation::HyperV));
    assert!(
        image_runs(&host, Some("10.0.20348.99999"), CONTAINERD),
        "the revision does not matter for running"
    );
}

#[test]
fn of_several_images_the_hosts_build_and_the_nearest_revision_are_taken() {
    let images = [
        Some("10.0.17763.9"),
        None,
        Some("10.0.20348.99"),
        Some("10.0.20348.473"),
        Some("10.0.20348.1129"),
        Some("10.0.26100.1"),
    ];
    let choose = |host: &str, isolation| choose(&version(host), images, isolation);
    assert_eq!(choose("10.0.20348.600", CONTAINERD), Some(3));
    assert_eq!(choose("10.0.20348.473", CONTAINERD), Some(3));
    assert_eq!(choose("10.0.20348.98", CONTAINERD), Some(4), "all are newer: the highest");
    assert_eq!(choose("10.0.20348", CONTAINERD), Some(4));
    assert_eq!(
        choose("10.0.22621.1", CONTAINERD),
        Some(4),
        "one that runs there, the highest revision not above its own or the highest"
    );
    assert_eq!(choose("10.0.17763.1", CONTAINERD), Some(0));
    assert_eq!(choose("10.0.19041.1", CONTAINERD), Some(1), "nothing runs but what states no version");
    assert_eq!(choose("10.0.19041.1", Isolation::HyperV), Some(0));
    assert_eq!(choose("10.0.26200.1", HCSSHIM), Some(5));
}

#[test]
fn versions_compare_as_numbers() {
    // As strings, which is how containerd sorts them, 99 comes behind 1129.
    let images = [Some("10.0.20348.99"), Some("10.0.20348.1129")];
    assert_eq!(choose(&WindowsVersion::of_build(20348), images, CONTAINERD), Some(1));
    assert!(version("10.0.9200.5") < version("10.0.20348.1"));
}

#[test]
fn a_platform_with_a_revision_asks_for_the_build_and_the_nearest_revision() {
    let images: Vec<Platform> = [
        "windows/amd64:10.0.17763.2458",
        "windows/amd64:10.0.20348.99",
        "windows/amd64:10.0.20348.473",
        "windows/amd64:10.0.20348.1129",
        "windows/arm64:10.0.20348.1129",
        "windows/amd64",
    ]
    .iter()
    .map(|text| Platform::parse(text).unwrap())
    .collect();
    let choose = |wanted: &str| Platform::parse(wanted).unwrap().choose(&images);
    assert_eq!(choose("windows/amd64:10.0.20348"), Some(3));
    assert_eq!(choose("windows/amd64:10.0.20348.x"), Some(3));
    assert_eq!(choose("windows/amd64:10.0.20348.*"), Some(3));
    assert_eq!(choose("windows/amd64:10.0.20348.500"), Some(2));
    assert_eq!(choose("windows/amd64:10.0.20348.473"), Some(2));
    assert_eq!(choose("windows/amd64:10.0.20348.5"), Some(3), "all are newer: the highest");
    assert_eq!(choose("windows/amd64:10.0.17763.1"), Some(0));
    assert_eq!(choose("windows/amd64:10.0.22621.1"), None, "another build is another Windows");
    assert_eq!(choose("windows/amd64:10.0"), Some(3));
    assert_eq!(choose("windows(10.0.20348.500)/amd64"), Some(2));
    assert_eq!(choose("windows/amd64:ltsc2022"), Some(3));
    assert_eq!(choose("windows/amd64:1809"), Some(0));
    assert_eq!(choose("windows/amd64:ltsc2025"), None);
    assert_eq!(choose("windows/arm64:ltsc2022"), Some(4));
}

#[test]
fn releases_are_found_by_build_and_by_every_usual_name() {
    assert!(RELEASES.is_sorted_by_key(|release| release.build));
    for (tag, build) in
        [("ltsc2019", 17763), ("1809", 17763), ("LTSC2022", 20348), ("2025", 26100), ("20h2", 19042)]
    {
        assert_eq!(Release::of_name(tag).map(|release| release.build), Some(build), "{tag}");
    }
    for release in RELEASES {
        assert_eq!(Release::of_build(release.build), Some(release));
        assert_eq!(Release::of_name(release.short), Some(release));
    }
    assert_eq!(Release::of_name("ltsc2030"), None);
    assert_eq!(version("10.0.17763.1").release().unwrap().name, "Windows Server 2019");
}

proptest! {
    #[test]
    fn versions_survive_being_written_and_parsed(major: u32, minor: u32, build: u32, revision: Option<u32>) {
        let version = WindowsVersion { major, minor, build, revision };
        prop_assert_eq!(version.to_string().parse::<WindowsVersion>().unwrap(), version);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".*") {
        let _ = text.parse::<WindowsVersion>();
    }

    #[test]
    fn whatever_is_chosen_runs(host in 14000_u32..28000, images in prop::collection::vec((14000_u32..28000, 0_u32..9000), 0..8)) {
        let texts: Vec<String> = images.iter().map(|(build, revision)| format!("10.0.{build}.{revision}")).collect();
        let host = WindowsVersion::of_build(host);
        let chosen = choose(&host, texts.iter().map(|text| Some(text.as_str())), CONTAINERD);
        let runnable = images.iter().filter(|(build, _)| runs(host.build, *build, CONTAINERD)).max();
        prop_assert_eq!(chosen.map(|at| images[at]), runnable.copied());
    }
}
