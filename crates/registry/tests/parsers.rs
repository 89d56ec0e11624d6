//! Parsers of what registries and administrators write: never a panic, and what is right is read right.

use std::path::Path;
use std::time::SystemTime;

use layerstone_registry::parse::{
    ContentRange, parse_challenges, parse_content_range, parse_next_link, parse_retry_after,
    parse_upload_range,
};
use layerstone_registry::{Registries, Url};
use proptest::prelude::*;

#[test]
fn challenges_are_read_as_they_are_written() {
    let one = parse_challenges(
        r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull,push""#,
    );
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].scheme, "bearer");
    assert_eq!(one[0].parameter("realm"), Some("https://auth.docker.io/token"));
    assert_eq!(one[0].parameter("scope"), Some("repository:library/alpine:pull,push"));
    let two = parse_challenges(r#"BASIC realm="a \"b\" , c", Bearer realm=https://x/token , service = "s""#);
    assert_eq!(two.len(), 2);
    assert_eq!(two[0].parameter("realm"), Some("a \"b\" , c"));
    assert_eq!(two[1].parameter("realm"), Some("https://x/token"));
    assert_eq!(two[1].parameter("service"), Some("s"));
    assert!(parse_challenges("").is_empty());
    assert!(parse_challenges("=,=\"").is_empty());
    assert_eq!(parse_challenges("Negotiate").len(), 1);
    assert!(parse_challenges(&"a ".repeat(10_000)).len() <= 16);
}

#[test]
fn ranges_are_read_as_they_are_written() {
    let range = |start, end, total| Some(ContentRange { start, end, total });
    assert_eq!(parse_content_range("bytes 5-9/20"), range(5, 9, Some(20)));
    assert_eq!(parse_content_range("Bytes 0-0/*"), range(0, 0, None));
    for wrong in [
        "",
        "bytes",
        "bytes 9-5/20",
        "bytes 0-20/20",
        "bytes */20",
        "bytes -5-9/20",
        "items 0-1/2",
        "bytes 0-99999999999999999999/*",
    ] {
        assert_eq!(parse_content_range(wrong), None, "{wrong}");
    }
    assert_eq!(parse_upload_range("0-99"), Some(100));
    assert_eq!(parse_upload_range("bytes=0-99"), Some(100));
    assert_eq!(parse_upload_range("0-0"), Some(0));
    for wrong in ["", "5-9", "0-", "-1", "0-18446744073709551615", "x"] {
        assert_eq!(parse_upload_range(wrong), None, "{wrong}");
    }
}

#[test]
fn the_next_page_is_found_in_a_link_header() {
    assert_eq!(
        parse_next_link(r#"</v2/a/referrers/x?n=1>; rel="next""#).as_deref(),
        Some("/v2/a/referrers/x?n=1")
    );
    assert_eq!(
        parse_next_link(r#"<a>; rel=prev, <b,c>; title="x"; rel="last next""#).as_deref(),
        Some("b,c")
    );
    for none in ["", "<a>", "<a", "<a>; rel=prev", "a; rel=next"] {
        assert_eq!(parse_next_link(none), None, "{none}");
    }
}

#[test]
fn addresses_are_joined_as_rfc_3986_says() {
    let base = Url::parse("https://r.example:5000/v2/a/blobs/uploads/?x=1").unwrap();
    for (reference, joined) in [
        ("/v2/b?y", "https://r.example:5000/v2/b?y"),
        ("123", "https://r.example:5000/v2/a/blobs/uploads/123"),
        ("../x", "https://r.example:5000/v2/a/blobs/x"),
        ("/../../etc", "https://r.example:5000/etc"),
        ("//other/x", "https://other/x"),
        ("//other/a/../x", "https://other/x"),
        ("https://other/../x", "https://other/x"),
        ("HTTP://Other:80/x#f", "http://other:80/x"),
        ("?z", "https://r.example:5000/v2/a/blobs/uploads/?z"),
    ] {
        assert_eq!(base.join(reference).map(|url| url.to_string()).as_deref(), Some(joined), "{reference}");
    }
    for wrong in [
        "http://",
        "http://user@host/",
        "http://a b/",
        "ftp://x/",
        "http://x/\r\nHost:y",
        "http://[::1/",
        "http://x:port/",
    ] {
        assert_eq!(Url::parse(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in "\\PC{0,200}") {
        let _ = parse_challenges(&text);
        let _ = parse_next_link(&text);
        let _ = parse_content_range(&text);
        let _ = parse_upload_range(&text);
        let _ = parse_retry_after(&text, SystemTime::now());
        let _ = Registries::default().add(&text, Path::new("x.conf"));
        if let Some(url) = Url::parse("https://host/a/b").unwrap().join(&text) {
            prop_assert!(Url::parse(&url.to_string()).is_some());
        }
    }

    #[test]
    fn a_challenge_that_is_written_is_read(
        scheme in "[A-Za-z]{1,10}",
        parameters in prop::collection::vec(("[a-z]{1,8}", "[ -~]{0,30}"), 0..5),
    ) {
        let written: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
            .collect();
        let read = parse_challenges(&format!("{scheme} {}", written.join(", ")));
        prop_assert_eq!(read.len(), 1);
        prop_assert_eq!(&read[0].scheme, &scheme.to_ascii_lowercase());
        prop_assert_eq!(&read[0].parameters, &parameters);
    }
}
