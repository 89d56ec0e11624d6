//! Compute systems, without a service.
//!
//! ```text
//! handles      what the client holds: operations, systems, processes
//! operation    what a call has begun, on a thread of its own, until there is a result
//! document     the documents, read strictly: a field that the schema does not have is refused
//! system       a container: a file that all processes read, and a named job that holds its processes
//! process      a real process of this host, with real pipes
//! ```
//!
//! A container's processes are processes of the host, in a job that has the container's name. Whoever opens the system opens the job;
//! when the last handle on it is closed, also because a client has died, the system ends its processes. That is what the service
//! does for a system that "should terminate on last handle closed", and the only kind that is made here.

pub(crate) mod document;
pub(crate) mod handles;
pub(crate) mod operation;
pub(crate) mod process;
pub(crate) mod system;

use serde_json::json;

use crate::code::Code;

/// What an operation has led to.
#[derive(Debug, Default)]
pub(crate) struct Success {
    pub(crate) document: Option<String>,
    pub(crate) process: Option<Started>,
}

impl Success {
    pub(crate) fn document(value: &impl serde::Serialize) -> Result<Self, Failure> {
        let document = serde_json::to_string(value).map_err(|_| Code::UNEXPECTED)?;
        Ok(Success { document: Some(document), process: None })
    }
}

/// A process that was started: its number, and its pipes as the numbers of handles that become the client's.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Started {
    pub(crate) pid: u32,
    pub(crate) pipes: [usize; 3],
}

/// Why an operation failed: a code, and what the service says of it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Failure { code, message: message.into() }
    }

    /// The document `ResultError`.
    pub(crate) fn document(&self) -> String {
        json!({
            "Error": self.code.0.cast_signed(),
            "ErrorMessage": self.message,
            "ErrorEvents": [{ "Message": self.message, "Source": "layerstone-standin" }],
        })
        .to_string()
    }
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Failure::new(code, format!("the stand-in says {:#010x}", code.0))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let message = error.to_string();
        Failure::new(Code::from(error), message)
    }
}
