//! Compute systems: what runs on the layers. Containers are one kind of them.
//!
//! `computecore.dll` makes a *compute system* of a document, starts it, and starts processes in it:
//!
//! ```text
//! ContainerSystem ─► ComputeSystem (document) ─► create ─► start ─► create process ─► wait ─► terminate
//!   chain, volume      schema 2.1                                    │   stdin, stdout, stderr
//!                                                  ProcessParameters ┘   ProcessStatus
//! ```
//!
//! Each call starts an *operation*, whose result is another document: on failure a [`ResultError`]. The documents are here on every
//! system; the calls (`ComputeCore`, `System`, `Process`) on Windows alone.
//!
//! The storage of a container is named as the layer calls name it: its scratch by the volume with a backslash at the end, its layers
//! nearest parent first, with the ids that the scratch was initialized with ([`LayerChain`](crate::LayerChain)).
//!
//! Field names and values: Microsoft, "HCS schema reference"; Microsoft, hcsshim (MIT), "internal/hcs/schema2".

mod command_line;
mod container;
mod process;
mod properties;
mod result_error;

pub use command_line::{LONGEST_COMMAND_LINE, command_line, quote_argument, quote_program};
pub use container::{
    ComputeSystem, Container, ContainerMemory, ContainerProcessor, ContainerSystem, GuestOs, Isolation,
    MappedDirectory, Networking, RegistryChanges, RegistryHive, RegistryKey, RegistryValue,
    RegistryValueType, Storage,
};
pub use process::{
    CloseHandle, ConsoleSize, ModifyOperation, ProcessHandle, ProcessModifyRequest, ProcessParameters,
    ProcessSignal, ProcessStatus, SignalProcessOptions,
};
pub use properties::{
    MemoryStatistics, ProcessDetails, ProcessorStatistics, Properties, PropertyQuery, PropertyType,
    Statistics, SystemExitStatus, SystemQuery, SystemState,
};
pub use result_error::{ErrorEvent, ResultError};

#[cfg(windows)]
pub use crate::windows::computecore::{
    ComputeCore, PipeReader, PipeWriter, Process, StartedProcess, Stdio, System,
};
