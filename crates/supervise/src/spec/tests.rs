use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use layerstone_agent::options::{OnUnhealthy, RestartPolicy, Seccomp};

use super::*;
use crate::error::Problem;

fn parse(text: &str) -> Result<Spec> {
    Spec::parse(text, Path::new("agent.yaml"))
}

fn load(text: &str) -> Result<Loaded> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.yaml");
    std::fs::write(&path, text).unwrap();
    std::fs::write(directory.path().join("vars"), "A=of the file\nB=2\n").unwrap();
    std::fs::write(directory.path().join("profile.json"), "{}").unwrap();
    Spec::load(&path)
}

/// A text as a program that does not know the keys reads it.
fn value(text: &str) -> serde_json::Value {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).unwrap()
}

fn schema() -> serde_json::Value {
    serde_json::from_str(include_str!("../../../../docs/agent-spec.schema.json")).unwrap()
}

/// Every key, with a value that is not the default.
const EVERYTHING: &str = r#"
project: shop
containers:
  db:
    image: db:16
    health: {command: db-ready, interval: 5s, timeout: 2, retries: 3, start_period: 1m, on_failure: restart}
  quiet:
    image: db:16
    health: {disable: true}
  job:
    image: job:1
    restart: on-failure:2
  web:
    image: web:3
    command: [serve, --port, 8080, 1.10, yes, 0x10]
    entrypoint: [/bin/entry]
    env: {PORT: 8080, VERSION: 1.10, DEBUG: true, A: of the map}
    env_file: vars
    workdir: /srv
    user: 1000
    volumes: [./data:/data:ro, /etc:/host]
    tmpfs: ["/cache:size=1m"]
    read_only: true
    memory: 512m
    cpus: 1.5
    pids: -1
    cap_add: [NET_RAW]
    cap_drop: [ALL]
    security: {seccomp: profile.json, no_new_privileges: true}
    network: host
    hostname: web
    init: true
    stop_signal: INT
    stop_timeout: 30s
    restart: no
    health:
      command: [check, "--fast"]
    depends_on:
      db: {condition: healthy}
      job: {condition: completed}
      quiet:
    labels: {tier: front, number: 7}
    tty: true
    runtime: runc
"#;

#[test]
fn every_key_has_its_meaning() {
    let loaded = load(EVERYTHING).unwrap();
    assert_eq!(loaded.project, "shop");
    let of = |name: &str| loaded.definitions.iter().find(|definition| definition.name == name).unwrap();
    let web = of("web");
    let options = web.options();
    // Everything but the relative volume, whose source is gone with the directory.
    assert!(options.is_err_and(|error| error.in_one_line().contains("data")));
    let spec = parse(EVERYTHING).unwrap();
    let written = &spec.containers["web"];
    assert_eq!(
        written.command,
        ["serve", "--port", "8080", "1.10", "yes", "0x10"],
        "words are as they are written"
    );
    assert_eq!(written.env["VERSION"], "1.10");
    assert_eq!((written.memory, written.cpus, written.pids), (Some(512 << 20), Some(1.5), Some(-1)));
    assert_eq!(written.restart, Some(RestartPolicy::No));
    assert_eq!(written.stop_timeout, Some(Period(Duration::from_secs(30))));
    let conditions: Vec<_> = web.depends_on.0.iter().map(|(name, c)| (name.as_str(), *c)).collect();
    let expected = [("db", Condition::Healthy), ("job", Condition::Completed), ("quiet", Condition::Started)];
    assert_eq!(conditions, expected);
    let db = of("db").options().unwrap();
    assert_eq!(db.restart, RestartPolicy::Always, "what is in a file is kept running if nothing is said");
    assert_eq!(db.health.command.as_deref(), Some(&["db-ready".to_owned()][..]));
    assert_eq!(db.health.interval, Some(Duration::from_secs(5)));
    assert_eq!(db.health.timeout, Some(Duration::from_secs(2)));
    assert_eq!(db.health.start_period, Some(Duration::from_secs(60)));
    assert_eq!((db.health.retries, db.health.on_unhealthy), (Some(3), OnUnhealthy::Restart));
    assert_eq!(db.labels[LABEL_PROJECT], "shop");
    assert_eq!(db.labels[LABEL_DEFINITION], of("db").digest);
    assert!(of("quiet").options().unwrap().health.disabled);
    assert_eq!(of("job").options().unwrap().restart, RestartPolicy::OnFailure { max: Some(2) });
}

#[test]
fn options_are_made_of_everything() {
    let mut spec = parse(EVERYTHING).unwrap().containers["web"].clone();
    spec.volumes = vec!["/etc:/host:ro".to_owned()];
    spec.runtime = None;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("vars"), "A=of the file\nB=2\n").unwrap();
    std::fs::write(directory.path().join("profile.json"), "{}").unwrap();
    let definition = Definition::new("web", &spec, "shop", directory.path()).unwrap();
    let options = definition.options().unwrap();
    let env = ["A=of the file", "B=2", "A=of the map", "DEBUG=true", "PORT=8080", "VERSION=1.10"];
    assert_eq!(options.env, env, "files come first: the last one wins");
    assert_eq!(options.labels[LABEL_DEPENDS_ON], "db,job,quiet");
    assert_eq!(options.labels["number"], "7");
    assert_eq!(options.volumes.len(), 2);
    assert_eq!(options.seccomp, Seccomp::Profile("{}".to_owned()));
    assert_eq!(options.stop_timeout, Some(30));
    assert!(options.tty && options.init && options.read_only && options.no_new_privileges);
    assert_eq!(options.user.as_deref(), Some("1000"));
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    let cases = [
        ("containers:\n  a:\n    image: x\n    memry: 5m\n", 4, "memry"),
        ("containers:\n  a:\n    image: x\n    memory: lots\n", 4, "lots"),
        ("containers:\n  a:\n    image: x\n    memory: 0\n", 4, "size"),
        ("containers:\n  a:\n    image: x\n    cpus: -1\n", 4, "processors"),
        ("containers:\n  a:\n    image: x\n    stop_timeout: 1500ms\n", 4, "whole seconds"),
        ("containers:\n  a:\n    image: x\n    stop_timeout: soon\n", 4, "soon"),
        ("containers:\n  a:\n    image: x\n    health: {interval: 5 parsecs}\n", 4, "5 parsecs"),
        ("containers:\n  a:\n    image: x\n    health:\n      interval: -5s\n", 5, "-5s"),
        ("containers:\n  a:\n    image: x\n    restart: sometimes\n", 4, "sometimes"),
        ("containers:\n  a:\n    image: x\n    network: bridge\n", 4, "bridge"),
        ("containers:\n  a:\n    image: x\n    stop_signal: NOISE\n", 4, "NOISE"),
        ("containers:\n  a:\n    image: x\n    depends_on: {b: {condition: happy}}\n", 4, "happy"),
        ("containers:\n  a:\n    image: x\n    command: sleep 5\n", 4, "sequence"),
        ("containers:\n  a:\n    image: x\n  a:\n    image: y\n", 4, "a"),
        ("containers:\n  a: {image: x, image: y}\n", 2, "image"),
        ("containers:\n  a:\n    command: [x]\n", 2, "image"),
        ("containers: [a]\n", 1, ""),
        ("containers:\n  a: {image: [}\n", 2, ""),
        ("{}", 1, "containers"),
        ("", 0, ""),
        ("project: no good\ncontainers: {}\n", 1, "no good"),
        ("volumes: {}\ncontainers: {}\n", 1, "volumes"),
    ];
    for (text, expected, word) in cases {
        match parse(text) {
            Err(Error::Syntax { line, message, .. }) => {
                assert!(expected == 0 || line.abs_diff(expected) <= 1, "line {line} in {text:?}: {message}");
                assert!(message.contains(word), "{text:?}: {message}");
                assert!(!message.contains('\n'), "{message}");
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
}

#[test]
fn what_cannot_be_is_told_all_at_once() {
    let text = "
containers:
  a: {image: x, depends_on: [b]}
  b: {image: x, depends_on: [c]}
  c: {image: x, depends_on: [a]}
  d: {image: x, depends_on: [nobody]}
  e: {image: x, depends_on: {f: {condition: healthy}, g: {condition: completed}}}
  f: {image: x, health: {disable: true}}
  g: {image: x}
  h: {image: x, volumes: [data:/data]}
  i: {image: x, tmpfs: [/t], volumes: [/etc:/t]}
  j: {image: x, cap_add: [CAP_FLY]}
  k: {image: x, labels: {layerstone.project: other}}
  l: {image: x, env_file: [nowhere]}
  m o: {image: x}
";
    let Err(Error::Impossible { problems, .. }) = load(text) else { panic!("it is impossible") };
    let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(
        problems.contains(&Problem::Cycle { cycle: ["a", "b", "c", "a"].map(str::to_owned).to_vec() }),
        "{text}"
    );
    assert!(problems.contains(&Problem::Unknown { container: "d".to_owned(), on: "nobody".to_owned() }));
    for word in [
        "not looked at",
        "`restart: no`",
        "data:/data",
        "two volumes",
        "CAP_FLY",
        "layerstone.",
        "nowhere",
        "`m o`",
    ] {
        assert!(text.contains(word), "{word} is not told:\n{text}");
    }
    assert_eq!(problems.len(), 10, "{text}");
}

#[test]
fn a_container_that_waits_for_itself_is_a_circle() {
    let Err(Error::Impossible { problems, .. }) = load("containers: {a: {image: x, depends_on: [a]}}") else {
        panic!("it is impossible")
    };
    assert_eq!(problems, [Problem::Cycle { cycle: vec!["a".to_owned(), "a".to_owned()] }]);
}

#[test]
fn a_long_chain_is_no_circle() {
    let mut text = "containers:\n  c0: {image: x}\n".to_owned();
    for at in 1..2000 {
        text.push_str(&format!("  c{at}: {{image: x, depends_on: [c{}]}}\n", at - 1));
    }
    assert_eq!(load(&text).unwrap().definitions.len(), 2000);
}

#[test]
fn a_digest_changes_with_what_makes_it_another_container_and_with_nothing_else() {
    let digest = |more: &str| {
        let text = format!("containers: {{b: {{image: y}}, a: {{image: x{more}}}}}");
        load(&text).unwrap().definitions[0].digest.clone()
    };
    let plain = digest("");
    for same in
        [", depends_on: [b]", ", restart: always", ", env: {}", ", read_only: false", ", security: {}"]
    {
        assert_eq!(digest(same), plain, "{same}");
    }
    let others = [
        ", command: [x]",
        ", env: {A: 1}",
        ", restart: no",
        ", memory: 5m",
        ", labels: {a: b}",
        ", env_file: vars",
        ", security: {seccomp: unconfined}",
        ", security: {seccomp: profile.json}",
        ", entrypoint: []",
        ", stop_timeout: 3",
    ];
    let all: BTreeSet<String> = others.iter().map(|more| digest(more)).chain([plain]).collect();
    assert_eq!(all.len(), others.len() + 1);
    assert_eq!(digest(", memory: 1m"), digest(", memory: 1048576"));
}

/// What an upgrade must not change: then it would replace all containers.
#[test]
fn the_digest_of_a_definition_is_the_same_in_every_version() {
    let loaded = load(
        "containers: {a: {image: x, command: [sleep, 5], env: {A: 1}, memory: 1m, health: {command: y, interval: 1s}}}",
    );
    let digest = &loaded.unwrap().definitions[0].digest;
    assert_eq!(digest, "sha256:5bd8c79b33473ebea3d053ef6ae047239c93c523c409e938741093f4be0dad50");
}

fn keys_that_are_known(text: &str) -> BTreeSet<String> {
    let Err(Error::Syntax { message, .. }) = parse(text) else { panic!("{text}") };
    let names = message.split_once("expected").map_or("", |(_, names)| names);
    let keys: BTreeSet<String> = names
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !["", "one", "of", "or"].contains(word))
        .map(str::to_owned)
        .collect();
    assert!(!keys.is_empty(), "{message}");
    keys
}

#[test]
fn the_schema_has_the_keys_that_the_reader_has() {
    let schema = schema();
    let keys = |pointer: &str| -> BTreeSet<String> {
        schema.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
    };
    let top = keys_that_are_known("nonsense: 1\ncontainers: {}\n");
    assert_eq!(top, keys("/properties"));
    let container = keys_that_are_known("containers: {a: {nonsense: 1}}");
    assert_eq!(container, keys("/$defs/container/properties"));
    let health = keys_that_are_known("containers: {a: {image: x, health: {nonsense: 1}}}");
    assert_eq!(health, keys("/$defs/container/properties/health/properties"));
    let security = keys_that_are_known("containers: {a: {image: x, security: {nonsense: 1}}}");
    assert_eq!(security, keys("/$defs/container/properties/security/properties"));
    // Each of them is in the text that all the other tests read.
    let written = value(EVERYTHING);
    let mut used: BTreeSet<String> =
        written["containers"]["web"].as_object().unwrap().keys().cloned().collect();
    used.retain(|key| container.contains(key));
    assert_eq!(used, container);
}

#[test]
fn the_schema_takes_what_the_reader_takes_and_refuses_what_it_refuses() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&value(EVERYTHING))
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    for bad in [
        "{}",
        "containers: {a: {}}",
        "containers: {a: {image: x, memry: 5}}",
        "containers: {a: {image: x, restart: sometimes}}",
        "containers: {a: {image: x, command: sleep}}",
        "containers: {a: {image: x, depends_on: {b: {condition: happy}}}}",
        "containers: {a: {image: x, health: {on_failure: panic}}}",
        "containers: {a: {image: x, network: bridge}}",
        "containers: {a: {image: x, cpus: 0}}",
        "containers: {-a: {image: x}}",
        "containers: {a: {image: x, labels: {layerstone.project: y}}}",
    ] {
        assert!(!validator.is_valid(&value(bad)), "the schema takes {bad}");
        assert!(load(bad).is_err(), "the reader takes {bad}");
    }
}

#[test]
fn the_examples_of_the_documentation_are_right() {
    let page = include_str!("../../../../docs/agent.md");
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut examples = 0;
    for block in page.split("```yaml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert!(validator.is_valid(&value(text)), "{text}");
        examples += 1;
    }
    assert!(examples > 0);
    for key in schema().pointer("/$defs/container/properties").unwrap().as_object().unwrap().keys() {
        assert!(page.contains(&format!("`{key}`")), "docs/agent.md does not describe `{key}`");
    }
}

#[test]
fn a_text_that_would_grow_without_bound_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for at in 1..12 {
        let before = format!("*a{}", at - 1);
        text.push_str(&format!("a{at}: &a{at} [{}]\n", vec![before; 10].join(", ")));
    }
    text.push_str("containers: {}\n");
    assert!(parse(&text).is_err());
    assert!(parse(&format!("containers: {}", "[".repeat(100_000))).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[ -~\n]{0,200}") {
        let _ = parse(&text);
        let _ = parse(&format!("containers:\n  a:\n    image: x\n    {text}"));
    }
}
