//! Containers, as a user runs them: through the binary, on an image that is made of the host's busybox.
//!
//! What has to be the same whatever makes the container is a table of [`cases`], each run with the built-in runtime and with
//! runc.

#![cfg(target_os = "linux")]

mod cases;
mod crash;
mod health;
mod host;
mod init;
mod restart;
mod security;
mod verbs;
