//! Proxies, from the environment: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capital or small letters.
//!
//! Exceptions are those that Go programs know, so that a machine which is set up for podman or docker is set up for this:
//! `*`; a domain, with everything below it; `.domain`, only what is below; an address; a network as `10.0.0.0/8`; each with
//! an optional port. This machine itself never needs a proxy.

use std::net::IpAddr;

use super::url::{Scheme, Url, host_name, is_loopback};

/// What the environment says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    https: Option<String>,
    http: Option<String>,
    none: String,
}

impl Proxies {
    pub(crate) fn from_environment() -> Self {
        let variable = |names: &[&str]| {
            names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
        };
        let all = variable(&["ALL_PROXY", "all_proxy"]);
        // `HTTP_PROXY` can come from a request in a CGI program; this is none.
        Self {
            https: variable(&["HTTPS_PROXY", "https_proxy"]).or_else(|| all.clone()),
            http: variable(&["HTTP_PROXY", "http_proxy"]).or(all),
            none: variable(&["NO_PROXY", "no_proxy"]).unwrap_or_default(),
        }
    }

    /// The proxy for an address, as it is in the environment.
    pub(crate) fn proxy_for(&self, url: &Url) -> Option<&str> {
        let proxy = match url.scheme() {
            Scheme::Https => self.https.as_deref(),
            Scheme::Http => self.http.as_deref(),
        }?;
        (!is_loopback(url.host()) && !self.excepts(url.host())).then_some(proxy)
    }

    fn excepts(&self, host: &str) -> bool {
        let name = host_name(host).trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = host[host_name(host).len()..].strip_prefix(':');
        let address: Option<IpAddr> = name.parse().ok();
        self.none.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
            let entry = entry.to_ascii_lowercase();
            if entry == "*" {
                return true;
            }
            if let (Some(address), Some((network, bits))) = (address, entry.split_once('/')) {
                return match (network.parse::<IpAddr>(), bits.parse::<u32>()) {
                    (Ok(network), Ok(bits)) => in_network(address, network, bits),
                    _ => false,
                };
            }
            let (pattern, wanted_port) = match entry.rsplit_once(':') {
                Some((pattern, port)) if !pattern.contains(':') => {
                    (pattern.to_owned(), Some(port.to_owned()))
                }
                _ => (entry.clone(), None),
            };
            if wanted_port.is_some() && wanted_port.as_deref() != port {
                return false;
            }
            let below = |domain: &str| name.len() > domain.len() && name.ends_with(domain);
            match pattern.strip_prefix('*').unwrap_or(&pattern) {
                domain if domain.starts_with('.') => below(domain),
                domain => name == domain || address.is_none() && below(&format!(".{domain}")),
            }
        })
    }
}

fn in_network(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_those_that_go_programs_know() {
        let proxies = Proxies {
            https: Some("http://proxy:3128".into()),
            http: None,
            none: "example.com, .internal,10.0.0.0/8,192.0.2.7,other.test:8443".into(),
        };
        let proxied = |url: &str| proxies.proxy_for(&Url::parse(url).expect("an address")).is_some();
        assert!(proxied("https://ghcr.io/"));
        assert!(!proxied("http://ghcr.io/"), "there is none for http");
        assert!(!proxied("https://example.com/"));
        assert!(!proxied("https://registry.example.com:5000/"));
        assert!(proxied("https://notexample.com/"));
        assert!(!proxied("https://a.internal/"));
        assert!(proxied("https://internal/"));
        assert!(!proxied("https://10.9.8.7/"));
        assert!(proxied("https://11.9.8.7/"));
        assert!(!proxied("https://192.0.2.7/"));
        assert!(!proxied("https://other.test:8443/"));
        assert!(proxied("https://other.test/"));
        for own in ["https://localhost:5000/", "https://127.0.0.1/", "https://[::1]:5000/"] {
            assert!(!proxied(own), "{own}");
        }
    }
}
