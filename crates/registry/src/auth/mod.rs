//! Who asks: credentials, where they are kept, and how they become what a registry takes.

mod challenge;
mod file;
mod helper;
mod token;

use std::fmt;

use crate::config::Paths;
use crate::error::{Error, Result};
pub use challenge::{Challenge, parse_challenges};
use file::AuthFile;
pub(crate) use token::{Authorization, Authorizer, Scope, refusal_messages};

/// What proves to a registry who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password, or what stands for one.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that other tokens are had for: an OAuth 2 refresh token.
    IdentityToken(String),
    /// A token that the registry takes as it is.
    RegistryToken(String),
}

impl fmt::Debug for Credentials {
    /// Secrets do not get into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => {
                f.debug_struct("Password").field("username", username).finish_non_exhaustive()
            }
            Self::IdentityToken(_) => f.write_str("IdentityToken(..)"),
            Self::RegistryToken(_) => f.write_str("RegistryToken(..)"),
        }
    }
}

/// The credentials of this user, in the files that podman and docker share, and in the helpers that these name.
///
/// A file is asked for, in this order: a helper for the registry (`credHelpers`); the most special of its entries
/// (`host/org/repository`, `host/org`, `host`); its helper for all registries (`credsStore`). The first file that has
/// something wins.
#[derive(Debug, Clone)]
pub struct Keyring {
    paths: Paths,
}

impl Keyring {
    /// The credentials in these files.
    pub fn new(paths: Paths) -> Self {
        Self { paths }
    }

    /// The credentials for a repository of a registry, if there are any.
    ///
    /// # Errors
    /// When a file is damaged or a helper fails. A helper that has nothing is no failure.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Option<Credentials>> {
        for path in &self.paths.auth_files {
            let Some(file) = AuthFile::read(path)? else { continue };
            if let Some(program) = file.helper_of(registry)
                && let Some(found) = helper::get(program, registry)?
            {
                return Ok(Some(found));
            }
            if let Some(found) = file.entry(registry, repository)? {
                return Ok(Some(found));
            }
            if let Some(program) = file.store()
                && let Some(found) = helper::get(program, registry)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Keeps credentials for a registry, or for a part of it (`host/org`): with the helper that the login file names for it, or
    /// else in that file, which only its owner may read. Everything else in the file stays. Says where they are now.
    ///
    /// # Errors
    /// When the file is damaged or cannot be written, or the helper fails.
    pub fn login(&self, key: &str, credentials: &Credentials) -> Result<String> {
        let path = &self.paths.login_file;
        let mut file = AuthFile::read(path)?.unwrap_or_else(|| AuthFile::empty(path));
        let registry = key.split('/').next().unwrap_or(key);
        if let Some(program) = file.helper_of(registry).or_else(|| file.store()) {
            helper::store(program, registry, credentials)?;
            return Ok(format!("credential helper {program}"));
        }
        file.set(key, credentials);
        file.write()?;
        Ok(path.display().to_string())
    }

    /// Forgets the credentials for a registry, or the part of it, in the login file and in helpers that it names. Says where
    /// others are that still apply.
    ///
    /// # Errors
    /// [`Error::NotLoggedIn`] when there are none anywhere; and when a file or a helper fails.
    pub fn logout(&self, key: &str) -> Result<Vec<String>> {
        let registry = key.split('/').next().unwrap_or(key);
        let (mut removed, mut left) = (false, Vec::new());
        for path in &self.paths.auth_files {
            let Some(mut file) = AuthFile::read(path)? else { continue };
            if *path != self.paths.login_file {
                if file.has(key) {
                    left.push(path.display().to_string());
                }
                continue;
            }
            if let Some(program) = file.helper_of(registry).or_else(|| file.store())
                && helper::get(program, registry)?.is_some()
            {
                helper::erase(program, registry)?;
                removed = true;
            }
            if file.remove(key) {
                file.write()?;
                removed = true;
            }
        }
        if removed || !left.is_empty() { Ok(left) } else { Err(Error::NotLoggedIn(key.to_owned())) }
    }

    /// Forgets everything in the login file.
    ///
    /// # Errors
    /// When the file is damaged or cannot be written.
    pub fn logout_all(&self) -> Result<()> {
        if let Some(mut file) = AuthFile::read(&self.paths.login_file)? {
            file.remove_all();
            file.write()?;
        }
        Ok(())
    }
}
