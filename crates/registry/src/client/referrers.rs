//! What refers to a manifest: signatures, attestations, SBOMs
//! ([distribution-spec, "Listing referrers"](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers)).
//!
//! Registries from before OCI 1.1 have no such list; there, whoever pushes a referrer keeps one himself, under the tag
//! `sha256-<digits>` ("Referrers tag schema").

use layerstone_oci::limits::MAX_MANIFEST_SIZE;
use layerstone_oci::{Descriptor, Digest, Index};
use ureq::http::Method;

use super::{Repository, Request};
use crate::error::{Error, Refusal, Result};
use crate::limits::{MAX_PAGES, MAX_REFERRERS};

/// A manifest that refers to another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Referrer {
    /// The manifest that refers.
    pub descriptor: Descriptor,
    /// Of what type it is, if it says so.
    pub artifact_type: Option<String>,
}

impl Repository {
    /// The referrers of a manifest.
    pub(crate) fn referrers(&self, digest: &Digest) -> Result<Vec<Referrer>> {
        let doing = format!("list what refers to {digest} of {}/{}", self.host(), self.name());
        let mut next = Some(self.url(&self.path(&format!("referrers/{digest}")), &doing)?);
        let mut found = Vec::new();
        let scope = self.scope_of("pull", &[]);
        for page in 0.. {
            let Some(url) = next.take() else { break };
            if page == MAX_PAGES {
                return Err(Error::protocol(&doing, &url, format!("a list of more than {MAX_PAGES} pages")));
            }
            let request =
                Request::to(Method::GET, &url).header("accept", layerstone_oci::MediaType::OCI_INDEX);
            let answer = match self.send(&doing, &scope, request, &[200]) {
                Ok(answer) => answer,
                Err(error) if page == 0 && error.refusal() == Some(Refusal::NotFound) => {
                    return self.by_tag(digest);
                }
                Err(error) => return Err(error),
            };
            let base = answer.url.clone();
            next = answer.header("link").and_then(parse_next_link).and_then(|link| base.join(&link));
            if next.as_ref().is_some_and(|next| !next.same_origin(&base)) {
                return Err(Error::protocol(&doing, &base, "the next page is on another host"));
            }
            let bytes = answer.read_body(&doing, MAX_MANIFEST_SIZE)?;
            add(&mut found, &bytes, &doing)?;
            if found.len() > MAX_REFERRERS {
                return Err(Error::protocol(&doing, &base, format!("more than {MAX_REFERRERS} entries")));
            }
        }
        Ok(found)
    }

    fn by_tag(&self, digest: &Digest) -> Result<Vec<Referrer>> {
        match self.manifest(&digest.to_string().replace(':', "-")) {
            Ok(document) => {
                let mut found = Vec::new();
                add(&mut found, &document.bytes, "list referrers")?;
                Ok(found)
            }
            Err(error) if error.refusal() == Some(Refusal::NotFound) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn add(found: &mut Vec<Referrer>, bytes: &[u8], doing: &str) -> Result<()> {
    let index = Index::parse(bytes, doing)?;
    found.extend(index.manifests.into_iter().map(|descriptor| {
        let artifact_type =
            descriptor.extra.get("artifactType").and_then(|value| value.as_str()).map(str::to_owned);
        Referrer { descriptor, artifact_type }
    }));
    Ok(())
}

/// The address of the next page in a `Link` header: `</v2/...?n=1&last=a>; rel="next"` (RFC 8288).
pub fn parse_next_link(header: &str) -> Option<String> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, parameters) = after.split_once('>')?;
        // A comma ends a link; targets and quoted values may have one, too.
        let end = parameters.find('<').unwrap_or(parameters.len());
        let (own, following) = parameters.split_at(end);
        let is_next = own.split([';', ',']).any(|parameter| match parameter.split_once('=') {
            Some((name, value)) => {
                let value = value.trim().trim_matches('"');
                name.trim().eq_ignore_ascii_case("rel")
                    && value.split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"))
            }
            None => false,
        });
        if is_next {
            return Some(target.to_owned());
        }
        rest = following;
    }
}
