//! Whom to trust: the system's authorities, those given, and those of a registry's own directory.
//!
//! ```text
//! certs.d/<host>[:port]/*.crt            authorities, beside those of the system
//!                      /x.cert, x.key    who we are, for registries that ask for it
//! ```
//!
//! ([containers-certs.d(5)](https://github.com/containers/image/blob/main/docs/containers-certs.d.5.md))

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::config::read_bounded;
use crate::error::{Error, Result};

/// Authorities, and where registries have their own.
pub(super) struct Trust {
    given: Vec<PathBuf>,
    directories: Vec<PathBuf>,
    system: OnceLock<Vec<Certificate<'static>>>,
}

impl Trust {
    pub(super) fn new(given: Vec<PathBuf>, directories: Vec<PathBuf>) -> Self {
        Self { given, directories, system: OnceLock::new() }
    }

    /// The TLS for a host, with its port if there is one.
    pub(super) fn tls_config(&self, host: &str, insecure: bool) -> Result<TlsConfig> {
        let mut roots = self.system().to_vec();
        for path in &self.given {
            roots.extend(certificates(path)?);
        }
        let mut client = None;
        if let Some(directory) = self.directories.iter().map(|d| d.join(host)).find(|d| d.is_dir()) {
            for path in entries(&directory)? {
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("crt") => roots.extend(certificates(&path)?),
                    Some("cert") => client = Some(client_certificate(&path)?),
                    _ => {}
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .client_cert(client)
            .disable_verification(insecure)
            .unversioned_rustls_crypto_provider(provider)
            .build())
    }

    /// Those of the system. That there are none is found out when a certificate is checked.
    fn system(&self) -> &[Certificate<'static>] {
        self.system.get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            found
                .certs
                .iter()
                .map(|certificate| Certificate::from_der(certificate.as_ref()).to_owned())
                .collect()
        })
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let list = fs::read_dir(directory).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
    });
    let mut paths = list.map_err(Error::file("list", directory))?;
    paths.sort();
    Ok(paths)
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let bytes = read_bounded(path)?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(invalid(path, error.to_string())),
        }
    }
    if found.is_empty() {
        return Err(invalid(path, "it has no certificate in PEM form".into()));
    }
    Ok(found)
}

fn client_certificate(path: &Path) -> Result<ClientCert> {
    let chain = certificates(path)?;
    let key_path = path.with_extension("key");
    let key = PrivateKey::from_pem(&read_bounded(&key_path)?)
        .map_err(|error| invalid(&key_path, error.to_string()))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn invalid(path: &Path, reason: String) -> Error {
    Error::Config { path: path.to_owned(), reason }
}
