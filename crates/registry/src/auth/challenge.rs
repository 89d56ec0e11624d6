//! What a registry asks for: the `WWW-Authenticate` header (RFC 9110, 11.6.1).
//!
//! ```text
//! Bearer realm="https://auth.example.com/token",service="registry",scope="repository:app:pull"
//! Basic realm="registry"
//! ```

use crate::limits::MAX_CHALLENGES;

/// One way to prove who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// `bearer`, `basic`: in small letters.
    pub scheme: String,
    /// The parameters, names in small letters.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a header, which may hold several challenges. What cannot be read is left out: another challenge may do.
pub fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = Rest(header);
    while challenges.len() <= MAX_CHALLENGES {
        rest.skip(|c| c == ',' || c.is_ascii_whitespace());
        let word = rest.token();
        if word.is_empty() {
            // Something that is no list of challenges.
            break;
        }
        rest.skip(|c| c == ' ' || c == '\t');
        if rest.0.starts_with('=') && !challenges.is_empty() {
            rest.0 = &rest.0[1..];
            rest.skip(|c| c == ' ' || c == '\t');
            let value = if rest.0.starts_with('"') { rest.quoted() } else { Some(rest.token().to_owned()) };
            let (Some(value), Some(current)) = (value, challenges.last_mut()) else { break };
            if current.parameters.len() < MAX_CHALLENGES {
                current.parameters.push((word.to_ascii_lowercase(), value));
            }
        } else {
            challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
        }
    }
    challenges.truncate(MAX_CHALLENGES);
    challenges
}

struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self, what: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(what);
    }

    /// RFC 9110, 5.6.2; a little more, as servers write it.
    fn token(&mut self) -> &'a str {
        let end = self.0.find(|c: char| !c.is_ascii_graphic() || "\",=".contains(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        token
    }

    /// RFC 9110, 5.6.4. `None` when it does not end.
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut characters = self.0.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                other => value.push(other),
            }
        }
        None
    }
}
