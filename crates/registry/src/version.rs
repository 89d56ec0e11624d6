//! Which of several images is the one for a platform; for Windows, by the version of the operating system.

use std::cmp::Ordering;

use layerstone_oci::Platform;

/// The image for `wanted` among `images`, as an index into them.
///
/// Where `wanted` has a whole Windows version, `10.0.BUILD.REVISION`, an image must have its build; the best is the highest
/// revision not above it, and if all are above, the highest. Versions are compared as numbers. Otherwise it is
/// [`Platform::choose`]: the highest version, and the best processor variant.
pub(crate) fn choose(wanted: &Platform, images: &[Platform]) -> Option<usize> {
    let Some((build, revision)) = wanted.os_version.as_deref().and_then(windows_version) else {
        return wanted.choose(images);
    };
    let any_version = Platform { os_version: None, ..wanted.clone() };
    let rank = |found: u64| (found <= revision, found);
    let mut best: Option<(usize, u64)> = None;
    for (at, image) in images.iter().enumerate().filter(|(_, image)| any_version.matches(image)) {
        let Some((found_build, found)) = image.os_version.as_deref().and_then(windows_version) else {
            continue;
        };
        let better = best.is_none_or(|(champion, held)| match rank(found).cmp(&rank(held)) {
            Ordering::Greater => true,
            // One of them may ask less of the host, or fit the processor better.
            Ordering::Equal => any_version.choose([&images[champion], image]) == Some(1),
            Ordering::Less => false,
        });
        if found_build == build && better {
            best = Some((at, found));
        }
    }
    best.map(|(at, _)| at)
}

/// Build and revision of `10.0.BUILD.REVISION`.
fn windows_version(text: &str) -> Option<([u64; 3], u64)> {
    let mut numbers = text.split('.').map(|part| part.parse::<u64>().ok());
    let mut next = || numbers.next().flatten();
    let version = ([next()?, next()?, next()?], next()?);
    numbers.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose_among(wanted: &str, images: &[&str]) -> Option<usize> {
        let images: Vec<_> = images.iter().map(|text| Platform::parse(text).expect("a platform")).collect();
        choose(&Platform::parse(wanted).expect("a platform"), &images)
    }

    #[test]
    fn the_highest_revision_not_above_the_asked_one_is_taken_of_the_same_build() {
        let images = [
            "windows/amd64:10.0.20348.2113",
            "windows/amd64:10.0.20348.473",
            "windows/amd64:10.0.20348.1006",
            "windows/amd64:10.0.17763.9999",
            "linux/amd64",
        ];
        assert_eq!(choose_among("windows/amd64:10.0.20348.1500", &images), Some(2));
        assert_eq!(choose_among("windows/amd64:10.0.20348.473", &images), Some(1));
        assert_eq!(choose_among("windows/amd64:10.0.20348.1", &images), Some(0), "all are above");
        assert_eq!(choose_among("windows/amd64:10.0.26100.1", &images), None, "another build");
        assert_eq!(choose_among("windows/amd64:10.0.17763", &images), Some(3), "a build alone");
        assert_eq!(choose_among("windows/amd64", &images), Some(0), "as numbers: 2113 is above 473");
        assert_eq!(choose_among("windows/arm64:10.0.20348.473", &images), None);
    }
}
