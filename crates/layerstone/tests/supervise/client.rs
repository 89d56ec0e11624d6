//! A client of the API that knows just enough HTTP/1.1, and nothing of the library that serves it. Every answer is checked with
//! the API's description.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = self.text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// An answer that is still coming.
pub(crate) struct Stream {
    reader: BufReader<UnixStream>,
    pub(crate) status: u16,
    head: String,
    /// How many bytes of the chunk that is being read are left.
    chunk: usize,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if !self.head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            return self.reader.read(buffer);
        }
        if self.chunk == 0 {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.chunk = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            if self.chunk == 0 {
                return Ok(0);
            }
        }
        let want = buffer.len().min(self.chunk);
        let read = self.reader.read(&mut buffer[..want])?;
        self.chunk -= read;
        if self.chunk == 0 {
            let mut end = String::new();
            self.reader.read_line(&mut end)?;
        }
        Ok(read)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
    description: Value,
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        let description = include_str!("../../../supervise/openapi.json");
        Client { socket: socket.to_path_buf(), description: serde_json::from_str(description).unwrap() }
    }

    pub(crate) fn connect(&self) -> std::io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Sends a request, and reads the head of the answer.
    pub(crate) fn open(&self, method: &str, path: &str, body: &[u8]) -> std::io::Result<Stream> {
        let mut stream = self.connect()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        // An answer may come before the whole body was sent.
        let _ = stream.write_all(body);
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("no status: {head}")))?;
        Ok(Stream { reader, status, head, chunk: 0 })
    }

    pub(crate) fn try_call(&self, method: &str, path: &str, body: &[u8]) -> std::io::Result<Answer> {
        let mut stream = self.open(method, path, body)?;
        let mut answer = Answer { status: stream.status, head: stream.head.clone(), body: Vec::new() };
        match answer.header("content-length").and_then(|length| length.parse().ok()) {
            // No further: behind the answer to a request that was not read to its end, the connection is reset.
            Some(length) => {
                answer.body.resize(length, 0);
                stream.read_exact(&mut answer.body)?;
            }
            None => drop(stream.read_to_end(&mut answer.body)?),
        }
        self.check(method, path, &answer);
        Ok(answer)
    }

    pub(crate) fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.try_call(method, path, &body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        let answer = self.call("GET", path, &Value::Null);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer
    }

    pub(crate) fn post(&self, path: &str) -> Answer {
        let answer = self.call("POST", path, &Value::Null);
        assert!(answer.status < 300, "{path}: {}", answer.text());
        answer
    }

    /// The description's part for a request.
    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let path = path.split('?').next().unwrap_or(path);
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let template: Vec<&str> = template.split('/').collect();
            template.len() == parts.len() && template.iter().zip(&parts).all(|(t, p)| *t == "{id}" || t == p)
        };
        let paths = self.description["paths"].as_object().unwrap();
        let found = paths.iter().find(|(template, _)| fits(template))?.1;
        found.get(method.to_lowercase())
    }

    /// Checks an answer with the description.
    fn check(&self, method: &str, path: &str, answer: &Answer) {
        let kind = answer.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default();
        let problem = json!({"$ref": "#/components/schemas/Problem"});
        let schema = match self.operation(method, path) {
            Some(operation) => {
                let response = operation["responses"]
                    .get(answer.status.to_string())
                    .unwrap_or_else(|| panic!("{method} {path}: {} is not described", answer.status));
                match response.get("content") {
                    None => {
                        assert!(answer.body.is_empty(), "{method} {path}: {}", answer.text());
                        return;
                    }
                    Some(content) => content
                        .get(kind)
                        .unwrap_or_else(|| panic!("{method} {path}: `{kind}` is not described"))["schema"]
                        .clone(),
                }
            }
            None => problem,
        };
        let mut schema = schema;
        schema["components"] = self.description["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let values = match kind {
            "application/x-ndjson" => answer.lines(),
            "text/plain" => vec![Value::String(answer.text())],
            _ => vec![answer.json()],
        };
        for value in values {
            let errors: Vec<String> = validator
                .iter_errors(&value)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{method} {path}: {value}\n{}", errors.join("\n"));
        }
    }
}
