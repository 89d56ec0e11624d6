//! What it costs to run a container of a stored image: from nothing to the end of `true`, and gone again; against runc and
//! crun with the same configuration on a plain directory, and against libcontainer with nothing around it. And what a container
//! that runs takes of memory.
//!
//! `cargo xtask bench run [--rounds N]`, or `... run --stress COUNT AT_ONCE` for many containers, of which none may fail.
//!
//! Needs root, runc, and the static busybox of Debian; crun where it is installed and can run.

#[cfg(target_os = "linux")]
fn main() -> layerstone_benches::Result<std::process::ExitCode> {
    layerstone_benches::containers::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("containers need Linux");
}
