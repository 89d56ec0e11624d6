//! Health checks and restart policies as they are written on a command line and in an image, and what follows from what was seen.

use std::time::Duration;

use layerstone_agent::health::{LOOKS, parse_command, parse_duration, resolve};
use layerstone_agent::model::{Health, HealthLook, HealthStatus};
use layerstone_agent::options::{HealthCheck, HealthOptions, OnUnhealthy, RestartPolicy};
use layerstone_oci::Healthcheck;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn asked(command: &[&str]) -> HealthOptions {
    HealthOptions { command: Some(words(command)), ..HealthOptions::default() }
}

#[test]
fn a_command_is_a_line_for_a_shell_or_a_list_as_it_is_or_none() {
    let of = |text: &str| {
        let options = HealthOptions { command: Some(parse_command(text)), ..HealthOptions::default() };
        resolve(&options, None).unwrap().map(|check| check.command)
    };
    let shell = |line: &str| Some(words(&["/bin/sh", "-c", line]));
    assert_eq!(of("test -f /x || exit 1"), shell("test -f /x || exit 1"));
    assert_eq!(of(r#"["/bin/check"]"#), Some(words(&["/bin/check"])));
    assert_eq!(
        of(r#"["curl", "-f", "http://localhost/", ""]"#),
        Some(words(&["curl", "-f", "http://localhost/", ""]))
    );
    assert_eq!(of(r#"["CMD", "a", "b"]"#), Some(words(&["a", "b"])));
    assert_eq!(of(r#"["CMD-SHELL", "a b"]"#), shell("a b"));
    assert_eq!((of("none"), of(r#"["NONE"]"#)), (None, None));
    // Of a library's caller: one word is for a shell.
    assert_eq!(resolve(&asked(&["a b"]), None).unwrap().unwrap().command, shell("a b").unwrap());
    assert_eq!(resolve(&asked(&["a", "b"]), None).unwrap().unwrap().command, words(&["a", "b"]));
    for wrong in [
        "",
        "[]",
        r#"["CMD"]"#,
        r#"["CMD-SHELL"]"#,
        r#"["CMD-SHELL", "a", "b"]"#,
        r#"["CMD-SHELL", ""]"#,
        r#"["", "a"]"#,
    ] {
        let options = HealthOptions { command: Some(parse_command(wrong)), ..HealthOptions::default() };
        assert!(resolve(&options, None).is_err(), "{wrong}: {:?}", resolve(&options, None));
    }
}

#[test]
fn what_is_not_asked_for_is_the_images_or_podmans() {
    let second = 1_000_000_000;
    let image = Healthcheck {
        test: words(&["CMD", "of-image"]),
        interval_ns: Some(7 * second),
        retries: Some(9),
        ..Healthcheck::default()
    };
    let of_image = HealthCheck {
        command: words(&["of-image"]),
        interval_ns: 7 * second,
        timeout_ns: 30 * second,
        retries: 9,
        start_period_ns: 0,
        on_unhealthy: OnUnhealthy::None,
    };
    let none = HealthOptions::default();
    assert_eq!(resolve(&none, Some(&image)).unwrap(), Some(of_image.clone()));
    assert_eq!(resolve(&none, None).unwrap(), None);
    assert_eq!(resolve(&none, Some(&Healthcheck::default())).unwrap(), None);
    let options = HealthOptions {
        interval: Some(Duration::ZERO),
        start_period: Some(Duration::from_millis(1)),
        on_unhealthy: OnUnhealthy::Stop,
        ..HealthOptions::default()
    };
    let expected = HealthCheck {
        interval_ns: 0,
        start_period_ns: 1_000_000,
        on_unhealthy: OnUnhealthy::Stop,
        ..of_image
    };
    assert_eq!(resolve(&options, Some(&image)).unwrap(), Some(expected));
    // There is nothing that this could be about.
    let error = resolve(&options, None).unwrap_err().to_string();
    assert!(error.contains("--health-cmd"), "{error}");
    let disabled = HealthOptions { disabled: true, ..options };
    assert_eq!(resolve(&disabled, Some(&image)).unwrap(), None);
    for wrong in [
        HealthOptions { timeout: Some(Duration::ZERO), ..asked(&["x"]) },
        HealthOptions { retries: Some(0), ..asked(&["x"]) },
    ] {
        assert!(resolve(&wrong, None).is_err(), "{wrong:?}");
    }
}

#[test]
fn lengths_of_time_have_units() {
    for (text, milliseconds) in
        [("30s", 30_000), ("1m30s", 90_000), ("500ms", 500), ("0s", 0), ("1h", 3_600_000)]
    {
        assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
    }
    for wrong in ["", "30", "-1s", "fast", "1 fortnight"] {
        assert!(parse_duration(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn restart_policies_are_podmans() {
    for (text, policy) in [
        ("no", RestartPolicy::No),
        ("never", RestartPolicy::No),
        ("on-failure", RestartPolicy::OnFailure { max: None }),
        ("on-failure:5", RestartPolicy::OnFailure { max: Some(5) }),
        ("always", RestartPolicy::Always),
        ("unless-stopped", RestartPolicy::Always),
    ] {
        assert_eq!(RestartPolicy::parse(text).unwrap(), policy, "{text}");
    }
    for wrong in ["", "yes", "on-failure:", "on-failure:-1", "always:3", "no:1"] {
        assert!(RestartPolicy::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_state_follows_from_the_looks() {
    let look = |code: Option<u8>| HealthLook {
        start: "2026-11-27T00:00:00Z".to_owned(),
        end: "2026-11-27T00:00:01Z".to_owned(),
        exit_code: code,
        output: String::new(),
    };
    let mut health = Health::starting(None);
    assert_eq!(health.status, HealthStatus::Starting);
    // In the start period a failure is nothing.
    assert!(!health.note(look(Some(1)), 1, true));
    assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 0));
    assert!(!health.note(look(None), 2, false));
    assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 1));
    assert!(health.note(look(Some(2)), 2, false), "it has become unhealthy");
    assert!(!health.note(look(Some(2)), 2, false), "it was that already");
    assert_eq!((health.status, health.failing_streak), (HealthStatus::Unhealthy, 3));
    assert!(!health.note(look(Some(0)), 2, false));
    assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
    assert!(!health.note(look(Some(1)), 2, false));
    assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 1));
    assert!(health.note(look(Some(1)), 2, false));
    assert_eq!(health.log.len(), LOOKS);
    assert_eq!(health.log.last(), Some(&look(Some(1))));
    let again = Health::starting(Some(health.clone()));
    assert_eq!((again.status, again.failing_streak, &again.log), (HealthStatus::Starting, 0, &health.log));
}
