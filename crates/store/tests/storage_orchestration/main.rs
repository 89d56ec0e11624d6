//! The orders of calls that make scratches and layers, over a storage that refuses what Windows refuses.
//!
//! Each is made to succeed, where every call is compared with the documented order; then to fail at every single call,
//! where nothing may be left; then to fail while it undoes.

mod base;
#[path = "../common/fake/mod.rs"]
mod fake;
mod import_base;
mod import_layer;
mod import_left;
mod import_vm;

mod layer_tar;
mod logged;
mod portable;
mod scratch;

use std::path::Path;

use fake::Fake;
use layerstone_hcs::HResult;
use layerstone_store::storage::Error;

/// A code that no rule of the fake returns, different for each call.
fn code_of_call(number: usize) -> HResult {
    HResult(0x8004_1000 + u32::try_from(number).unwrap())
}

/// The step that failed, and what could not be undone.
#[track_caller]
fn failed_step(error: &Error) -> (&'static str, &Path, Vec<(&'static str, HResult)>) {
    let Error::Step { step, path, undo, .. } = error else { panic!("not a step: {error:?}") };
    let undo = undo.iter().map(|failure| (failure.step, failure.error.hresult())).collect();
    (*step, path, undo)
}

/// Lets each call of an order fail, and each call by which that is then undone.
///
/// `prepare` makes what the order needs, `act` runs it, `check` looks at what is left after a failure. `steps` names the
/// step that each call belongs to.
fn fails_at_every_call(
    steps: &[&str],
    prepare: impl Fn() -> Fake,
    act: impl Fn(&Fake) -> Result<(), Error>,
    check: impl Fn(&Fake, &str),
) {
    for (number, step) in steps.iter().enumerate() {
        let what = format!("call {number}, {step}");
        let fake = prepared(&prepare);
        fake.fail_call(number, code_of_call(number));
        let error = act(&fake).expect_err(&what);
        let (failed, path, undo) = failed_step(&error);
        assert_eq!(failed, *step, "{what}");
        assert!(path.starts_with(fake.root()), "{what}: {}", path.display());
        assert_eq!(error.hresult(), code_of_call(number), "{what}");
        assert_eq!(undo, [], "{what}");
        assert_eq!(fake.in_use(), [""; 0], "{what}");
        check(&fake, &what);

        let calls = fake.calls().len();
        for undoing in number + 1..calls {
            let what = format!("{what}, then call {undoing}");
            let fake = prepared(&prepare);
            fake.fail_call(number, code_of_call(number));
            fake.fail_call(undoing, code_of_call(undoing));
            let error = act(&fake).expect_err(&what);
            assert_eq!((failed_step(&error).0, error.hresult()), (*step, code_of_call(number)), "{what}");
            let text = with_causes(&error);
            assert!(text.contains("afterwards, cannot"), "{what}: {text}");
            assert!(text.contains(&code_of_call(undoing).to_string()), "{what}: {text}");
        }
    }
}

/// All that an error has to say, as the command line prints it.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn prepared(prepare: impl Fn() -> Fake) -> Fake {
    let fake = prepare();
    fake.no_failures();
    fake.calls();
    fake
}
