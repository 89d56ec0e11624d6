//! What to say about a failure of layer storage besides its message.

use layerstone_hcs::ErrorKind;
use layerstone_hcs::catalogue::Known;
use layerstone_store::storage::Error;

/// The failure under the steps that it was one of.
fn innermost(error: &Error) -> &Error {
    let mut error = error;
    while let Error::Step { source, .. } = error {
        error = source;
    }
    error
}

/// What is known about the code that Windows answered with.
pub(super) fn known(error: &Error) -> Option<&'static Known> {
    match innermost(error) {
        Error::Hcs(error) => error.known(),
        _ => None,
    }
}

/// What the store says is wrong.
pub(super) fn store(error: &Error) -> Option<&layerstone_store::Error> {
    match innermost(error) {
        Error::Store(error) => Some(error),
        _ => None,
    }
}

/// The host lacks what is needed: a function, or a privilege.
pub(super) fn is_of_the_host(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PrivilegeNotHeld)
}

/// What to do.
pub(super) fn hint(error: &Error) -> Option<String> {
    let hint = match innermost(error) {
        Error::Hcs(error) => return Some(service(error)),
        Error::MissingParent { .. }
        | Error::WrongParent { .. }
        | Error::ChainTooShort(_)
        | Error::OtherChain(_) => {
            "name every parent, nearest first and the base layer last: `--parent NEAREST --parent BASE`, or `--chain FILE`"
        }
        Error::WrongId { .. } => {
            "a layer's id comes from the name of its folder (`layerstone hcs id`): give the folder its old name"
        }
        Error::Missing { .. } | Error::MissingLinkTarget { .. } => {
            "check the path; a layer with parents needs all of them (`--parent`, nearest first)"
        }
        Error::Exists(_) => {
            "choose a folder that is absent or empty, or remove what is there with `layerstone hcs destroy`"
        }
        Error::NotEmpty(_) => "choose an empty folder",
        Error::InUse { .. } => {
            "detach that first: `layerstone hcs detach`, and `layerstone hcs detach-vhd` for a disk"
        }
        Error::NotAttached(_) => {
            "attach it first: `layerstone hcs attach` with the parents that it was made over"
        }
        Error::Invalid { .. } => "`layerstone hcs help` shows what each operation takes",
        Error::InvalidLayer { .. } => "import the layer again into a new folder",
        Error::Unsupported { .. } => {
            "only the Host Compute Service of Windows does that: run it on a Windows host, without --portable"
        }
        Error::Transport { kind: ErrorKind::NotFound, .. } => {
            "a transport folder has `Files`, `Hives` with five `*_Delta` files, and a `.$wcidirs$` file for each hidden directory"
        }
        Error::Archive { .. } | Error::ArchiveEntry { .. } | Error::Entry { .. } => {
            "the archive is damaged or was made wrongly: fetch or copy it again"
        }
        Error::NoVolume(_) => "run this from an elevated prompt (\"Run as administrator\")",
        Error::StillThere(_) => "detach what uses it (`layerstone hcs detach-vhd`) and destroy it again",
        other => return by_kind(other.kind()),
    };
    Some(hint.into())
}

fn by_kind(kind: ErrorKind) -> Option<String> {
    let hint = match kind {
        ErrorKind::AccessDenied => {
            "attaching through the kernel needs root; on Windows run this from an elevated prompt"
        }
        ErrorKind::Unsupported => "`layerstone doctor` shows what this host can do and how to get the rest",
        ErrorKind::InUse => "detach or finish that first",
        _ => return None,
    };
    Some(hint.into())
}

/// How to get the service where it is not. Said by `doctor` too.
pub(crate) const ENABLE_CONTAINERS: &str = "as administrator: `Enable-WindowsOptionalFeature -Online -FeatureName Containers -All` (on Windows Server \
     `Install-WindowsFeature -Name Containers`), then restart";

fn service(error: &layerstone_hcs::Error) -> String {
    use layerstone_hcs::Error as Hcs;
    if let Some(known) = error.known() {
        return known.remedy.into();
    }
    match error {
        Hcs::Unavailable { .. } => format!(
            "{ENABLE_CONTAINERS}; or `--portable` for the engine that runs everywhere. `layerstone doctor` shows what is there"
        ),
        Hcs::Build { .. } => {
            "use a newer Windows; `layerstone doctor` shows which functions this one has".into()
        }
        Hcs::Privilege { .. } => "`layerstone doctor` shows which privileges this process holds".into(),
        Hcs::StillThere { .. } => "`layerstone hcs detach` and `detach-vhd` detach what uses it".into(),
        Hcs::Call { code, .. } => format!(
            "nothing is known about {code} here; the event log `Microsoft-Windows-Hyper-V-Compute-Operational` may say more"
        ),
        _ => "`layerstone hcs help` shows what each operation takes".into(),
    }
}

/// The explanation of a code as lines that follow the message, without what to do, which is the hint.
pub(super) fn explanation(known: &Known) -> String {
    let mut text = format!("\n  here: {}", known.here);
    for cause in known.causes {
        text.push_str(&format!("\n  may be: {cause}"));
    }
    text.push_str(&format!("\n  see: {}", known.source));
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use layerstone_hcs::HResult;

    use crate::error::Error;

    fn call(code: u32) -> layerstone_store::storage::Error {
        let (subject, code) = (PathBuf::from(r"C:\layers\app"), HResult(code));
        layerstone_hcs::Error::Call { function: "HcsImportLayer", subject, code }.into()
    }

    #[test]
    fn a_code_of_windows_is_told_with_its_name_causes_and_remedy_also_under_a_step() {
        let step = layerstone_store::storage::Error::Step {
            step: "import the layer",
            path: PathBuf::from(r"C:\layers\app"),
            source: Box::new(call(0x8007_0003)),
            undo: Vec::new(),
        };
        for error in [call(0x8007_0003), step] {
            let error = Error::from(error);
            let report = error.report();
            let known = HResult(0x8007_0003).known().unwrap();
            for part in ["0x80070003", "ERROR_PATH_NOT_FOUND", "HcsImportLayer", known.here, known.source] {
                assert!(report.contains(part), "{part}: {report}");
            }
            assert!(
                known.causes.iter().all(|cause| report.contains(&format!("may be: {cause}"))),
                "{report}"
            );
            assert!(report.ends_with(&format!("hint: {}", known.remedy)), "{report}");
            assert_eq!(report.matches("0x80070003").count(), 1, "{report}");
            assert_eq!(error.exit_code(), 1);
        }
    }

    #[test]
    fn a_code_that_nobody_knows_still_comes_with_something_to_do() {
        let report = Error::from(call(0x8123_4567)).report();
        assert!(report.contains("0x81234567") && report.contains("\nhint: "), "{report}");
    }

    #[test]
    fn a_function_that_windows_lacks_is_the_hosts_fault() {
        let missing = layerstone_hcs::Error::Unavailable {
            library: "computestorage.dll".into(),
            function: "HcsImportLayer",
            since: Some(layerstone_hcs::Build::SERVER_2019),
            code: HResult::from_win32(126),
        };
        let error = Error::from(layerstone_store::storage::Error::from(missing));
        assert_eq!(error.exit_code(), 4);
        let report = error.report();
        for part in ["HcsImportLayer", "17763", "Enable-WindowsOptionalFeature", "--portable"] {
            assert!(report.contains(part), "{part}: {report}");
        }
    }
}
