//! What images bring with them may be anything: it is read without a panic, and gives no more than it may.

use layerstone_agent::user;
use proptest::prelude::*;

/// Lines that are nearly right, and some that are not.
fn file() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        "[a-z]{0,4}",
        "[0-9]{0,11}",
        Just(String::new()),
        Just("4294967295".to_owned()),
        ".{0,6}"
    ];
    let line = proptest::collection::vec(field, 0..9).prop_map(|fields| fields.join(":"));
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

proptest! {
    #[test]
    fn users_are_looked_up_in_whatever_an_image_has(
        who in prop_oneof!["[a-z0-9]{0,4}(:[a-z0-9]{0,4})?", ".{0,8}"],
        passwd in file(),
        group in file(),
    ) {
        if let Ok(found) = user::resolve(&who, &passwd, &group) {
            // The largest number means "none" to the kernel, which would leave the user as it is: root.
            prop_assert!(found.uid != u32::MAX && found.gid != u32::MAX, "{:?}", found);
            prop_assert!(found.groups.iter().all(|group| *group != u32::MAX), "{:?}", found);
            let listed = passwd.lines().any(|line| line.split(':').nth(2).and_then(number) == Some(found.uid));
            let asked = who.split(':').next().and_then(number) == Some(found.uid);
            prop_assert!(listed || asked || found.uid == 0, "{:?} is in neither", found);
        }
    }
}
