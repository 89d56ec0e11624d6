//! The documents of compute systems: their fields as the schema has them, and what is refused.

use std::path::Path;

use layerstone_hcs::compute::{
    ComputeSystem, ConsoleSize, ContainerProcessor, ContainerSystem, Isolation, MappedDirectory,
    ProcessHandle, ProcessModifyRequest, ProcessParameters, ProcessSignal, ProcessStatus, Properties,
    PropertyQuery, PropertyType, ResultError, SignalProcessOptions, SystemQuery, SystemState,
};
use layerstone_hcs::{Document, Error, Guid, HResult, LayerChain};
use serde_json::{Value, json};

const VOLUME: &str = r"\\?\Volume{aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee}";

fn chain() -> LayerChain {
    let mut chain = LayerChain::base();
    chain.push(Guid::parse_str("9c1a5f2e-1f2b-5d3c-8a4e-0123456789ab").unwrap(), r"C:\layers\top");
    chain.push(Guid::parse_str("1d2c3b4a-5566-5777-8899-aabbccddeeff").unwrap(), r"C:\layers\base");
    chain
}

#[track_caller]
fn written(document: &dyn Document) -> Value {
    serde_json::from_str(&document.to_json().unwrap()).unwrap()
}

#[test]
fn a_container_is_the_smallest_document_of_the_schema_and_its_patience() {
    let chain = chain();
    // With the backslash at the end and without: the service wants it.
    for volume in [VOLUME.to_owned(), format!(r"{VOLUME}\")] {
        let document = ContainerSystem::new("me", &chain, Path::new(&volume)).document().unwrap();
        let expected = json!({
            "Owner": "me",
            "SchemaVersion": { "Major": 2, "Minor": 1 },
            "ShouldTerminateOnLastHandleClosed": true,
            "Container": {
                "Storage": {
                    "Layers": [
                        { "Id": "9c1a5f2e-1f2b-5d3c-8a4e-0123456789ab", "Path": r"C:\layers\top" },
                        { "Id": "1d2c3b4a-5566-5777-8899-aabbccddeeff", "Path": r"C:\layers\base" },
                    ],
                    "Path": format!(r"{VOLUME}\"),
                },
                "RegistryChanges": { "AddValues": [{
                    "Key": { "Hive": "System", "Name": r"ControlSet001\Control" },
                    "Name": "WaitToKillServiceTimeout",
                    "Type": "String",
                    "StringValue": "2147483647",
                }] },
            },
        });
        assert_eq!(written(&document), expected);
        let read: ComputeSystem = serde_json::from_value(expected).unwrap();
        assert_eq!(read, document);
    }
}

#[test]
fn everything_that_a_container_can_have_is_in_its_place() {
    let chain = chain();
    let document = ContainerSystem {
        host_name: Some("web"),
        mapped_directories: vec![MappedDirectory {
            host_path: r"D:\site".into(),
            container_path: r"C:\srv".into(),
            read_only: true,
        }],
        // A limit is never less than what was asked for.
        memory: Some((256 << 20) + 1),
        processor: Some(ContainerProcessor { maximum: 2500, ..Default::default() }),
        network_namespace: Some("11111111-2222-3333-4444-555555555555"),
        ..ContainerSystem::new("me", &chain, Path::new(VOLUME))
    }
    .document()
    .unwrap();
    let container = &written(&document)["Container"];
    assert_eq!(container["GuestOs"], json!({ "HostName": "web" }));
    assert_eq!(
        container["MappedDirectories"],
        json!([{ "HostPath": r"D:\site", "ContainerPath": r"C:\srv", "ReadOnly": true }])
    );
    assert_eq!(container["Memory"], json!({ "SizeInMB": 257 }));
    assert_eq!(container["Processor"], json!({ "Maximum": 2500 }));
    assert_eq!(container["Networking"], json!({ "Namespace": "11111111-2222-3333-4444-555555555555" }));
}

#[test]
fn a_container_that_the_service_would_choke_on_is_refused_before_it_is_asked() {
    let (chain, none) = (chain(), LayerChain::base());
    let volume = Path::new(VOLUME);
    let hyper_v =
        ContainerSystem { isolation: Isolation::HyperV, ..ContainerSystem::new("me", &chain, volume) };
    for (system, word) in [
        (ContainerSystem::new("me", &none, volume), "parent layer"),
        (ContainerSystem::new("me", &chain, Path::new(r"C:\scratch")), "Volume{GUID}"),
        (ContainerSystem::new("me", &chain, Path::new(r"\\?\Volume{nonsense}\")), "Volume{GUID}"),
        (hyper_v, "utility VM"),
    ] {
        let error = system.document().unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn the_documents_of_processes_have_the_names_of_the_schema() {
    let parameters = ProcessParameters {
        command_line: "cmd /c ver".into(),
        user: "ContainerAdministrator".into(),
        working_directory: r"C:\app".into(),
        environment: [("A".to_owned(), "b".to_owned())].into(),
        emulate_console: true,
        create_std_in_pipe: true,
        create_std_out_pipe: true,
        create_std_err_pipe: true,
        console_size: Some([25, 80]),
    };
    assert_eq!(
        written(&parameters),
        json!({
            "CommandLine": "cmd /c ver",
            "User": "ContainerAdministrator",
            "WorkingDirectory": r"C:\app",
            "Environment": { "A": "b" },
            "EmulateConsole": true,
            "CreateStdInPipe": true,
            "CreateStdOutPipe": true,
            "CreateStdErrPipe": true,
            "ConsoleSize": [25, 80],
        })
    );
    let plain = ProcessParameters { command_line: "a".into(), ..Default::default() };
    assert_eq!(written(&plain), json!({ "CommandLine": "a" }));
    let signal = SignalProcessOptions { signal: ProcessSignal::CtrlShutdown };
    assert_eq!(written(&signal), json!({ "Signal": "CtrlShutdown" }));
    assert_eq!(
        written(&ProcessModifyRequest::close(ProcessHandle::StdIn)),
        json!({ "Operation": "CloseHandle", "CloseHandle": { "Handle": "StdIn" } })
    );
    assert_eq!(
        written(&ProcessModifyRequest::resize(ConsoleSize { height: 25, width: 80 })),
        json!({ "Operation": "ConsoleSize", "ConsoleSize": { "Height": 25, "Width": 80 } })
    );
    let query = PropertyQuery { property_types: vec![PropertyType::ProcessList, PropertyType::Statistics] };
    assert_eq!(written(&query), json!({ "PropertyTypes": ["ProcessList", "Statistics"] }));
    assert_eq!(written(&SystemQuery::default()), json!({}));
    let query = SystemQuery { owners: vec!["me".into()], ..Default::default() };
    assert_eq!(written(&query), json!({ "Owners": ["me"] }));
}

#[test]
fn what_the_service_tells_is_read_and_what_is_new_passed_over() {
    let status: ProcessStatus = serde_json::from_value(
        json!({ "ProcessId": 4, "Exited": true, "ExitCode": 3_221_225_786_u32, "New": 1 }),
    )
    .unwrap();
    assert_eq!(status.code(), Some(Ok(0xC000_013A)));
    let running: ProcessStatus = serde_json::from_value(json!({ "ProcessId": 4 })).unwrap();
    assert_eq!(running.code(), None);
    // Of a wait that failed the exit code is not known.
    let lost: ProcessStatus =
        serde_json::from_value(json!({ "Exited": true, "LastWaitResult": -2_143_878_882 })).unwrap();
    assert_eq!(lost.code(), Some(Err(HResult(0x8037_011E))));

    let properties: Properties = serde_json::from_value(json!({
        "Id": "c", "SystemType": "Container", "Owner": "me", "State": "Running", "RuntimeOsType": "Windows",
        "ProcessList": [{ "ProcessId": 8, "ImageName": "cmd.exe", "UserTime100ns": 1 }],
        "Statistics": {
            "Uptime100ns": 10, "Processor": { "TotalRuntime100ns": 7 },
            "Memory": { "MemoryUsageCommitBytes": 5, "MemoryUsagePrivateWorkingSetBytes": 3 },
        },
    }))
    .unwrap();
    assert_eq!(properties.state(), SystemState::Running);
    assert_eq!(properties.process_list[0].image_name, "cmd.exe");
    let statistics = properties.statistics.unwrap();
    assert_eq!(statistics.uptime100ns, 10);
    assert_eq!(statistics.processor.unwrap().total_runtime100ns, 7);
    assert_eq!(statistics.memory.unwrap().memory_usage_commit_bytes, 5);
    let odd: Properties = serde_json::from_value(json!({ "Id": "c", "State": "Molten" })).unwrap();
    assert_eq!(odd.state(), SystemState::Unknown);
    let over: Properties = serde_json::from_value(json!({ "Id": "c", "Stopped": true })).unwrap();
    assert_eq!(over.state(), SystemState::Stopped);
}

#[test]
fn whatever_the_service_says_of_a_failure_is_told() {
    let text = json!({
        "Error": -2_147_024_894,
        "ErrorMessage": "The system cannot find the file specified.",
        "ErrorEvents": [
            { "Message": "The system cannot find the file specified.", "Provider": "p", "EventId": 1 },
            { "Message": "hcs::System::CreateProcess nope.exe", "Data": [{ "Type": "String", "Value": "x" }] },
        ],
    })
    .to_string();
    let details = ResultError::parse(&text).unwrap();
    assert_eq!(details.code(), Some(HResult::from_win32(2)));
    assert_eq!(
        details.to_string(),
        "The system cannot find the file specified.; hcs::System::CreateProcess nope.exe"
    );
    // What is no such document is a message as it is.
    for odd in ["no JSON", "{}", "[1]", r#"{"Somewhat":"else"}"#] {
        assert_eq!(ResultError::parse(odd).unwrap().to_string(), odd);
    }
    assert_eq!(ResultError::parse(" \n"), None);
    let error = Error::Operation {
        function: "HcsCreateProcess",
        subject: "c".into(),
        code: HResult::from_win32(2),
        details: Box::new(details),
    };
    let message = error.to_string();
    assert!(message.contains("ERROR_FILE_NOT_FOUND") && message.contains("nope.exe"), "{message}");
    assert_eq!(error.kind(), layerstone_hcs::ErrorKind::NotFound);
    assert!(error.known().is_some() && error.code() == Some(HResult::from_win32(2)));
}
