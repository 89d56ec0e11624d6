//! Versions of Windows and platforms: any text gives a value or an error, a value that is written reads as itself, and what is chosen
//! for a host runs there.

#![no_main]

use layerstone_fuzz::{Bound, bounded};
use layerstone_oci::windows_version::{
    Isolation, Release, Rule, choose, hosts_for, image_runs, images_for, runs,
};
use layerstone_oci::{Platform, WindowsVersion};
use libfuzzer_sys::fuzz_target;

const BOUND: Bound = Bound { per_byte: 64, constant: 64 << 10 };

fuzz_target!(|input: &[u8]| {
    bounded(input.len(), BOUND, || {
        let text = String::from_utf8_lossy(input);
        let lines: Vec<&str> = text.lines().take(64).collect();
        for line in &lines {
            platform(line);
            let _ = Release::of_name(line);
        }
        let Some((first, images)) = lines.split_first() else { return };
        let Ok(host) = first.parse::<WindowsVersion>() else { return };
        assert_eq!(host.to_string().parse::<WindowsVersion>().expect("what was written parses"), host);
        for isolation in
            [Isolation::Process(Rule::Containerd), Isolation::Process(Rule::Hcsshim), Isolation::HyperV]
        {
            let images = images.iter().map(|image| Some(*image).filter(|image| !image.is_empty()));
            if let Some(at) = choose(&host, images.clone(), isolation) {
                assert!(image_runs(&host, images.clone().nth(at).flatten(), isolation));
            }
            for image in images.flatten().filter_map(|image| image.parse::<WindowsVersion>().ok()) {
                let outcome = runs(host.build, image.build, isolation);
                assert_eq!(images_for(host.build, isolation).contains(image.build), outcome);
                assert_eq!(hosts_for(image.build, isolation).contains(host.build), outcome);
            }
        }
    });
});

fn platform(text: &str) {
    let Ok(platform) = Platform::parse(text) else { return };
    let again = Platform::parse(&platform.to_string()).expect("what was written parses");
    assert_eq!(again, platform);
    let _ = platform.choose([&platform, &again]);
}
