//! Named steps at which a test can kill the process, to prove that nothing half-done is ever visible.

/// Kills the process, as a power cut would, when `LAYERSTONE_FAILPOINT` names this step. Debug builds only.
#[inline]
pub(crate) fn failpoint(name: &str) {
    #[cfg(all(debug_assertions, target_os = "linux"))]
    if std::env::var_os("LAYERSTONE_FAILPOINT").is_some_and(|wanted| wanted == name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    let _ = name;
}
