//! Compute systems and processes over the stand-in: real processes with real pipes.
#![cfg(windows)]

mod standin;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use layerstone_hcs::compute::{
    ComputeCore, ComputeSystem, ContainerSystem, Process, ProcessParameters, ProcessSignal, PropertyType,
    StartedProcess, System, SystemQuery, SystemState, command_line,
};
use layerstone_hcs::{Build, Error, ErrorKind, Guid, HResult, LayerChain, RawDocument};
use serde_json::{Value, json};
use standin::Standin;

const VOLUME: &str = r"\\?\Volume{aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee}";
const LONG: Duration = Duration::from_secs(60);
/// The exit code of what was ended by force, in the stand-in.
const ENDED: u32 = 1;

fn document() -> ComputeSystem {
    let mut chain = LayerChain::base();
    chain.push(Guid::parse_str("9c1a5f2e-1f2b-5d3c-8a4e-0123456789ab").unwrap(), r"C:\layers\parent");
    chain.push(Guid::parse_str("1d2c3b4a-5566-5777-8899-aabbccddeeff").unwrap(), r"C:\layers\base");
    ContainerSystem::new("layerstone-test", &chain, Path::new(VOLUME)).document().unwrap()
}

/// An id that no other run has.
fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

fn running(core: &ComputeCore, name: &str) -> System {
    let system = core.create_system(&unique(name), &document()).unwrap();
    system.start().unwrap();
    system
}

fn shell(script: &str) -> ProcessParameters {
    ProcessParameters {
        command_line: format!("cmd /c {script}"),
        create_std_out_pipe: true,
        create_std_err_pipe: true,
        ..Default::default()
    }
}

/// This program as one that does what the helper of that name does.
fn helper(name: &str) -> ProcessParameters {
    let program = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let words = [program.as_str(), "--ignored", "--exact", name, "--nocapture"];
    ProcessParameters {
        command_line: command_line(&words).unwrap(),
        create_std_in_pipe: true,
        create_std_out_pipe: true,
        ..Default::default()
    }
}

#[test]
#[ignore = "helper: started in a compute system"]
fn repeats_its_input() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    println!("<{text}>");
}

#[test]
#[ignore = "helper: started in a compute system"]
fn lives_until_its_input_ends() {
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn read_all(stream: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    stream.unwrap().read_to_end(&mut bytes).unwrap();
    // A console program prints in the code page of its console.
    String::from_utf8_lossy(&bytes).into_owned()
}

fn exit_code(process: &Process) -> u32 {
    process.wait(Some(LONG)).unwrap().expect("it should have ended").code().unwrap().unwrap()
}

#[test]
fn a_container_runs_a_program_and_tells_its_output_and_exit_code() {
    let Some(standin) = Standin::new("a_container_runs_a_program_and_tells_its_output_and_exit_code") else {
        return;
    };
    let core = standin.computecore();
    let id = unique("whole");
    let system = core.create_system(&id, &document()).unwrap();
    assert_eq!(system.properties(&[]).unwrap().state(), SystemState::Created);
    system.start().unwrap();
    let StartedProcess { process, stdio } =
        system.create_process(&shell("echo out& echo error 1>&2& exit 7")).unwrap();
    assert!(stdio.stdin.is_none(), "no pipe was asked for");
    assert_eq!(read_all(stdio.stdout).trim(), "out");
    assert_eq!(read_all(stdio.stderr).trim(), "error");
    assert_eq!(exit_code(&process), 7);
    assert_eq!(process.status().unwrap().process_id, process.pid());
    // A program's end is not the container's.
    assert_eq!(system.properties(&[]).unwrap().state(), SystemState::Running);
    assert_eq!(system.wait(Some(Duration::from_millis(50))).unwrap(), None);
    system.terminate().unwrap();
    assert_eq!(system.wait(Some(LONG)).unwrap().unwrap().exit_type.as_deref(), Some("ForcedExit"));
    assert_eq!(system.properties(&[]).unwrap().state(), SystemState::Stopped);

    let functions: Vec<String> =
        standin.functions().into_iter().filter(|name| !name.contains("Operation")).collect();
    assert_eq!(
        functions[..4],
        [
            "HcsCreateComputeSystem",
            "HcsGetComputeSystemProperties",
            "HcsStartComputeSystem",
            "HcsCreateProcess"
        ]
    );
    drop((process, system));
    assert_eq!((standin.live_handles(), standin.live_allocations()), (0, 0));
    let error = core.open_system(&id).unwrap_err();
    assert_eq!(error.code(), Some(HResult(0x8037_010E)), "{error}");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn the_document_and_the_parameters_are_those_that_were_given() {
    let Some(standin) = Standin::new("the_document_and_the_parameters_are_those_that_were_given") else {
        return;
    };
    let core = standin.computecore();
    let system = running(&core, "documents");
    let parameters = ProcessParameters {
        environment: BTreeMap::from([("SAID".to_owned(), "größe of it".to_owned())]),
        working_directory: r"C:\windows".to_owned(),
        ..shell("echo %SAID% %CD%")
    };
    let started = system.create_process(&parameters).unwrap();
    let said = read_all(started.stdio.stdout);
    assert!(said.contains("e of it") && said.to_lowercase().contains(r"c:\windows"), "{said}");
    exit_code(&started.process);
    let sent = |call: &standin::Call, name: &str| -> Value {
        serde_json::from_str(call.argument(name).as_str().unwrap()).unwrap()
    };
    for call in standin.calls() {
        match call.function.as_str() {
            "HcsCreateComputeSystem" => {
                assert_eq!(call.argument("id"), &unique("documents"));
                assert_eq!(sent(&call, "configuration"), serde_json::to_value(document()).unwrap());
            }
            "HcsStartComputeSystem" => assert_eq!(call.argument("options"), &Value::Null),
            "HcsCreateProcess" => {
                assert_eq!(sent(&call, "processParameters"), serde_json::to_value(&parameters).unwrap());
            }
            _ => {}
        }
    }
}

#[test]
fn input_reaches_the_program_and_ends() {
    let Some(standin) = Standin::new("input_reaches_the_program_and_ends") else { return };
    let core = standin.computecore();
    let system = running(&core, "input");
    let mut started = system.create_process(&helper("repeats_its_input")).unwrap();
    let mut stdin = started.stdio.stdin.take().unwrap();
    // More than a pipe holds.
    let sent = "a line of input\n".repeat(20_000);
    let written = sent.clone();
    let writer = std::thread::spawn(move || {
        stdin.write_all(written.as_bytes()).unwrap();
        stdin
    });
    // It reads all before it prints anything.
    let stdin = writer.join().unwrap();
    started.process.close_stdin(stdin).unwrap();
    let said = read_all(started.stdio.stdout);
    assert!(said.contains(&format!("<{sent}>")), "{} bytes came back", said.len());
    assert_eq!(exit_code(&started.process), 0);
}

#[test]
fn a_console_has_one_stream() {
    let Some(standin) = Standin::new("a_console_has_one_stream") else { return };
    let core = standin.computecore();
    let system = running(&core, "console");
    let parameters = ProcessParameters { emulate_console: true, ..shell("echo out& echo error 1>&2") };
    let started = system.create_process(&parameters).unwrap();
    assert!(started.stdio.stderr.is_none());
    let said = read_all(started.stdio.stdout);
    assert!(said.contains("out") && said.contains("error"), "{said}");
    assert_eq!(exit_code(&started.process), 0);
}

#[test]
fn a_program_that_goes_on_is_waited_for_only_so_long() {
    let Some(standin) = Standin::new("a_program_that_goes_on_is_waited_for_only_so_long") else { return };
    // With the call of newer builds, and without it.
    for (name, build) in [("waits", Build::SERVER_2022), ("asks", Build::SERVER_2019)] {
        let core = standin.computecore().with_build(build);
        let system = running(&core, name);
        let mut started = system.create_process(&helper("lives_until_its_input_ends")).unwrap();
        let start = Instant::now();
        assert_eq!(started.process.wait(Some(Duration::from_millis(200))).unwrap(), None);
        assert!(start.elapsed() >= Duration::from_millis(200));
        assert_eq!(started.process.status().unwrap().code(), None);
        started.process.close_stdin(started.stdio.stdin.take().unwrap()).unwrap();
        assert_eq!(exit_code(&started.process), 0);
        let called = standin.functions().iter().any(|name| name == "HcsWaitForProcessExit");
        assert_eq!(called, build == Build::SERVER_2022);
        system.terminate().unwrap();
        assert!(system.wait(Some(LONG)).unwrap().is_some());
    }
}

#[test]
fn signals_and_force_end_programs_and_systems_end_all_of_theirs() {
    let Some(standin) = Standin::new("signals_and_force_end_programs_and_systems_end_all_of_theirs") else {
        return;
    };
    let core = standin.computecore();
    let system = running(&core, "force");
    let long = helper("lives_until_its_input_ends");
    let asked = system.create_process(&long).unwrap();
    asked.process.signal(ProcessSignal::CtrlShutdown).unwrap();
    assert_eq!(exit_code(&asked.process), 0xC000_013A);
    let error = asked.process.signal(ProcessSignal::CtrlC).unwrap_err();
    assert_eq!(error.code(), Some(HResult(0x8037_011F)), "{error}");

    let deaf = ProcessParameters {
        environment: BTreeMap::from([("STANDIN_IGNORES_SIGNALS".to_owned(), "1".to_owned())]),
        ..long.clone()
    };
    let deaf = system.create_process(&deaf).unwrap();
    deaf.process.signal(ProcessSignal::CtrlShutdown).unwrap();
    assert_eq!(deaf.process.wait(Some(Duration::from_millis(200))).unwrap(), None);
    deaf.process.terminate().unwrap();
    assert_eq!(exit_code(&deaf.process), ENDED);

    let both = [system.create_process(&long).unwrap(), system.create_process(&long).unwrap()];
    let listed = system.properties(&[PropertyType::ProcessList, PropertyType::Statistics]).unwrap();
    let mut pids: Vec<u32> = listed.process_list.iter().map(|process| process.process_id).collect();
    pids.sort_unstable();
    let mut expected: Vec<u32> = both.iter().map(|started| started.process.pid()).collect();
    expected.sort_unstable();
    assert_eq!(pids, expected);
    assert!(listed.statistics.is_some());
    system.terminate().unwrap();
    for started in &both {
        assert_eq!(exit_code(&started.process), ENDED);
    }
}

#[test]
fn whoever_knows_the_id_can_end_a_system_and_its_end_is_that_of_the_last_handle() {
    let Some(standin) =
        Standin::new("whoever_knows_the_id_can_end_a_system_and_its_end_is_that_of_the_last_handle")
    else {
        return;
    };
    let core = standin.computecore();
    let id = unique("others");
    let system = running(&core, "others");
    let started = system.create_process(&helper("lives_until_its_input_ends")).unwrap();
    let other = core.open_system(&id).unwrap();
    assert_eq!(other.id(), id);
    let process = other.open_process(started.process.pid()).unwrap();
    assert_eq!(process.status().unwrap().code(), None);
    assert!(process.stdio().unwrap().stdout.is_none(), "the pipes were given away");
    let error = other.open_process(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let owners = |name: &str| SystemQuery { owners: vec![name.to_owned()], ..Default::default() };
    assert!(core.enumerate(&owners("layerstone-test")).unwrap().iter().any(|found| found.id == id));
    assert_eq!(core.enumerate(&owners("nobody")).unwrap(), []);

    // One handle of two: it goes on.
    drop(system);
    assert_eq!(process.wait(Some(Duration::from_millis(100))).unwrap(), None);
    drop(other);
    // The processes have handles of their own, and each a hold on the system.
    drop(process);
    let pid = started.process.pid();
    assert!(core.open_system(&id).is_ok(), "process {pid} holds it");
    drop(started);
    let error = core.open_system(&id).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(standin.live_handles(), 0);
}

#[test]
fn what_is_not_possible_is_said_in_the_services_words() {
    let Some(standin) = Standin::new("what_is_not_possible_is_said_in_the_services_words") else { return };
    let core = standin.computecore();
    let id = unique("refused");
    let system = core.create_system(&id, &document()).unwrap();
    let taken = core.create_system(&id, &document()).unwrap_err();
    assert_eq!(taken.code(), Some(HResult(0x8037_010F)), "{taken}");
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    let Error::Operation { details, .. } = &taken else { panic!("{taken}") };
    assert!(details.to_string().contains(&id), "{details}");

    let early = system.create_process(&shell("ver")).unwrap_err();
    assert_eq!(early.code(), Some(HResult(0x8037_0105)), "{early}");
    system.start().unwrap();
    assert_eq!(system.start().unwrap_err().code(), Some(HResult(0x8037_0105)));
    for error in [system.pause().unwrap_err(), system.resume().unwrap_err()] {
        assert_eq!(error.code(), Some(HResult(0x8037_0120)), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    let missing = ProcessParameters { command_line: r"C:\no\such.exe".into(), ..Default::default() };
    let missing = system.create_process(&missing).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    assert!(missing.to_string().contains(r"C:\no\such.exe"), "{missing}");
    let nowhere = ProcessParameters { working_directory: r"C:\no\such".into(), ..shell("ver") };
    let nowhere = system.create_process(&nowhere).unwrap_err();
    assert_eq!(nowhere.code(), Some(HResult::from_win32(267)), "{nowhere}");
    system.shut_down().unwrap();
    let late = system.terminate().unwrap_err();
    assert_eq!(late.code(), Some(HResult(0x8037_0110)), "{late}");

    for (name, document) in [
        ("no JSON", "{".to_owned()),
        ("an unknown field", json!({"SchemaVersion": {"Major": 2, "Minor": 1}, "Containr": {}}).to_string()),
        ("an old version", {
            let mut value = serde_json::to_value(document()).unwrap();
            value["SchemaVersion"] = json!({"Major": 1, "Minor": 0});
            value.to_string()
        }),
        ("no layers", {
            let mut value = serde_json::to_value(document()).unwrap();
            value["Container"]["Storage"]["Layers"] = json!([]);
            value.to_string()
        }),
    ] {
        let error = core.create_system_raw(&unique("invalid"), &RawDocument(document)).unwrap_err();
        assert_eq!(error.code(), Some(HResult(0x8037_010D)), "{name}: {error}");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    drop(system);
    assert_eq!((standin.live_handles(), standin.live_allocations()), (0, 0));
}

#[test]
fn a_failure_of_any_call_or_operation_leaves_no_handle_and_no_memory() {
    let Some(standin) = Standin::new("a_failure_of_any_call_or_operation_leaves_no_handle_and_no_memory")
    else {
        return;
    };
    let code = 0x8037_011E;
    for function in [
        "HcsCreateOperation",
        "HcsCreateComputeSystem",
        "HcsCreateComputeSystem operation",
        "HcsStartComputeSystem",
        "HcsStartComputeSystem operation",
        "HcsGetComputeSystemProperties",
        "HcsGetComputeSystemProperties operation",
        "HcsCreateProcess",
        "HcsCreateProcess operation",
        "HcsWaitForOperationResult",
        "HcsWaitForOperationResultAndProcessInfo",
        "HcsWaitForProcessExit",
        "HcsGetProcessProperties operation",
        "HcsTerminateProcess",
        "HcsTerminateComputeSystem operation",
    ] {
        standin.reset();
        standin.fail(function, 0, code);
        let core = standin.computecore();
        let everything = || -> Result<(), Error> {
            let system = core.create_system(&unique("faults"), &document())?;
            system.start()?;
            system.properties(&[])?;
            let started = system.create_process(&helper("lives_until_its_input_ends"))?;
            started.process.status()?;
            started.process.wait(Some(Duration::ZERO))?;
            started.process.terminate()?;
            system.terminate()
        };
        let error = everything().expect_err(function);
        // The one that returns a handle says why not in the thread's last error, which the stand-in does not set.
        if function != "HcsCreateOperation" {
            assert_eq!(error.code(), Some(HResult(code)), "{function}: {error}");
        }
        assert_eq!((standin.live_handles(), standin.live_allocations()), (0, 0), "{function}");
    }
}

#[test]
fn an_operation_that_takes_too_long_is_cancelled() {
    let Some(standin) = Standin::new("an_operation_that_takes_too_long_is_cancelled") else { return };
    standin.delay("HcsStartComputeSystem operation", 1500);
    let core = standin.computecore().with_patience(Duration::from_millis(50));
    let patient = standin.computecore();
    let system = core.create_system(&unique("slow"), &document()).unwrap();
    let error = system.start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert!(standin.functions().iter().any(|name| name == "HcsCancelOperation"));
    // The service does what it was asked for all the same.
    let again = patient.open_system(system.id()).unwrap();
    let deadline = Instant::now() + LONG;
    while again.properties(&[]).unwrap().state() != SystemState::Running {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
}
