//! Image names as Docker means them: `alpine` is `docker.io/library/alpine:latest`.

/// The full form of a Docker reference: registry, repository, tag or digest. What is no reference comes back changed in
/// ways that do not matter: it is only compared with other names that went through here.
pub fn full_name(name: &str) -> String {
    let (registry, rest) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("docker.io", name),
    };
    let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
    let library = if registry == "docker.io" && !rest.contains('/') { "library/" } else { "" };
    let tag = if has_tag(rest) { "" } else { ":latest" };
    format!("{registry}/{library}{rest}{tag}")
}

/// The name as `docker save` writes it in RepoTags: as given, with a tag.
pub(crate) fn tagged_name(name: &str) -> String {
    if has_tag(name.rsplit('/').next().unwrap_or(name)) { name.to_owned() } else { format!("{name}:latest") }
}

/// Whether a repository path ends in a tag or digest.
fn has_tag(rest: &str) -> bool {
    rest.contains('@') || rest.rsplit('/').next().is_some_and(|last| last.contains(':'))
}
