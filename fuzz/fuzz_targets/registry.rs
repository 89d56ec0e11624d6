//! Whatever a registry, a user or an administrator writes: names, challenges, ranges, links, addresses and registries.conf are
//! read or refused, and what was read means the same when it is written and read again.

#![no_main]

use std::path::Path;
use std::time::SystemTime;

use layerstone_registry::parse::{
    parse_challenges, parse_content_range, parse_next_link, parse_retry_after, parse_upload_range,
};
use layerstone_registry::{Reference, Registries, Url};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, input)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(input) else { return };
    match choice % 6 {
        0 => {
            if let Ok(reference) = Reference::parse(text) {
                let again =
                    Reference::parse(&reference.to_string()).expect("a name that was completed is one");
                assert_eq!(reference, again);
                assert!(!reference.repository().contains(".."), "{reference}");
            }
        }
        1 => {
            for challenge in parse_challenges(text) {
                assert!(!challenge.scheme.is_empty());
                assert!(challenge.parameters.len() <= 16);
            }
        }
        2 => {
            if let Some(range) = parse_content_range(text) {
                assert!(range.start <= range.end && range.total.is_none_or(|total| range.end < total));
            }
            let _ = parse_upload_range(text);
            let _ = parse_retry_after(text, SystemTime::UNIX_EPOCH);
        }
        3 => {
            let base = Url::parse("https://registry.example/v2/app/").expect("an address");
            if let Some(url) = parse_next_link(text).and_then(|link| base.join(&link)) {
                assert_eq!(Url::parse(&url.to_string()).as_ref(), Some(&url));
            }
        }
        4 => {
            let base = Url::parse("http://registry.example:5000/v2/app/x?y=z").expect("an address");
            if let Some(url) = base.join(text) {
                assert_eq!(Url::parse(&url.to_string()).as_ref(), Some(&url));
                // A query may have anything.
                let path = url.path().split('?').next().unwrap_or_default();
                assert!(!path.split('/').any(|part| part == ".."), "{url}");
            }
        }
        _ => {
            let mut registries = Registries::default();
            if registries.add(text, Path::new("registries.conf")).is_ok() {
                for name in ["alpine", "docker.io/library/alpine:1", "a.example.com:5000/b/c"] {
                    for reference in registries.candidates(name).unwrap_or_default() {
                        let _ = registries.pull_endpoints(&reference);
                        let _ = registries.push_endpoint(&reference);
                    }
                }
            }
        }
    }
});
