//! The agent, as it is used: real containers, a file that changes, clients of the socket, and processes that are killed.

#![cfg(target_os = "linux")]

mod api;
mod client;
mod crash;
#[path = "../containers/host.rs"]
#[expect(dead_code, reason = "the tests of containers use more of it")]
mod host;
mod keep;
mod station;
