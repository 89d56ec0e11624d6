//! computecore.dll: operations, compute systems, processes.
//!
//! Signatures: "HCS reference", learn.microsoft.com/virtualization/api/hcs. A call on a system or a process begins an operation and
//! returns; what comes of it is the operation's result. So there are two places where a test can let it fail: the call itself, by its
//! name, and its operation, by its name and ` operation`.

use std::ffi::c_void;
use std::sync::Arc;

use windows_sys::Win32::Security::SECURITY_DESCRIPTOR;
use windows_sys::Win32::System::HostComputeSystem::{
    self as declared, HCS_OPERATION_COMPLETION, HCS_PROCESS_INFORMATION,
};
use windows_sys::core::{HRESULT, PCWSTR, PWSTR};

use super::{document, hresult, optional};
use crate::code::Code;
use crate::compute::document::{self as documents, ComputeSystem};
use crate::compute::handles::{self, Object};
use crate::compute::operation::Operation;
use crate::compute::{Failure, Success, process, system};
use crate::{fault, memory};

type Raw = *mut c_void;

/// Writes a result document for the client, who frees it. A null pointer means that the client does not want it.
///
/// # Safety
/// `place` is null or points to a place for a pointer.
unsafe fn give(place: *mut PWSTR, text: Option<&str>) -> Result<(), Code> {
    if place.is_null() {
        return Ok(());
    }
    let given = match text {
        None => std::ptr::null_mut(),
        Some(text) => {
            let given = memory::give(&text.encode_utf16().collect::<Vec<u16>>());
            if given.is_null() {
                return Err(Code::OUT_OF_MEMORY);
            }
            given
        }
    };
    // SAFETY: not null, so it points to a place for a pointer.
    unsafe { place.write(given) };
    Ok(())
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsCreateOperation(
    _context: *const c_void,
    callback: HCS_OPERATION_COMPLETION,
) -> Raw {
    let mut handle = std::ptr::null_mut();
    hresult("HcsCreateOperation", |call| {
        call.begin()?;
        // Nobody is called back here.
        if callback.is_some() {
            return Err(Code::win32(50));
        }
        handle = handles::give(Object::Operation(Arc::default()));
        Ok(())
    });
    handle
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsCloseOperation(operation: Raw) {
    close("HcsCloseOperation", operation);
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsCloseComputeSystem(system: Raw) {
    close("HcsCloseComputeSystem", system);
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsCloseProcess(process: Raw) {
    close("HcsCloseProcess", process);
}

fn close(function: &'static str, handle: Raw) {
    hresult(function, |call| {
        call.begin()?;
        handles::close(handle)
    });
}

/// An operation that is under way goes on; nobody waits for it any more.
#[unsafe(no_mangle)]
unsafe extern "system" fn HcsCancelOperation(operation: Raw) -> HRESULT {
    hresult("HcsCancelOperation", |call| {
        call.handle("operation", operation);
        call.begin()?;
        handles::operation(operation).map(drop)
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsWaitForOperationResult(
    operation: Raw,
    milliseconds: u32,
    result: *mut PWSTR,
) -> HRESULT {
    hresult("HcsWaitForOperationResult", |call| {
        call.value("timeoutMs", milliseconds);
        call.begin()?;
        let operation = handles::operation(operation)?;
        // SAFETY: the contract of the function.
        unsafe { waited(&operation, milliseconds, std::ptr::null_mut(), result) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsWaitForOperationResultAndProcessInfo(
    operation: Raw,
    milliseconds: u32,
    information: *mut HCS_PROCESS_INFORMATION,
    result: *mut PWSTR,
) -> HRESULT {
    hresult("HcsWaitForOperationResultAndProcessInfo", |call| {
        call.value("timeoutMs", milliseconds);
        call.begin()?;
        let operation = handles::operation(operation)?;
        // SAFETY: the contract of the function.
        unsafe { waited(&operation, milliseconds, information, result) }
    })
}

/// # Safety
/// `information` and `result` are null or places for what they are called.
unsafe fn waited(
    operation: &Operation,
    milliseconds: u32,
    information: *mut HCS_PROCESS_INFORMATION,
    result: *mut PWSTR,
) -> Result<(), Code> {
    match operation.wait(milliseconds) {
        Ok((document, process)) => {
            if let Some(process) = process
                && !information.is_null()
            {
                let [input, output, error] = process.pipes.map(std::ptr::with_exposed_provenance_mut);
                // SAFETY: not null, so it is a place for the structure.
                unsafe {
                    information.write(HCS_PROCESS_INFORMATION {
                        ProcessId: process.pid,
                        Reserved: 0,
                        StdInput: input,
                        StdOutput: output,
                        StdError: error,
                    });
                }
            }
            // SAFETY: so says the caller.
            unsafe { give(result, document.as_deref()) }
        }
        Err((code, document)) => {
            // SAFETY: so says the caller.
            unsafe { give(result, document.as_deref()) }?;
            Err(code)
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsEnumerateComputeSystems(query: PCWSTR, operation: Raw) -> HRESULT {
    hresult("HcsEnumerateComputeSystems", |call| {
        // SAFETY: the contract of the function: a string that ends with a NUL, or null.
        let query = unsafe { call.text("query", query) };
        call.begin()?;
        let query = optional(query)?;
        handles::operation(operation)?.begin(move || {
            fault::strike("HcsEnumerateComputeSystems operation")?;
            system::list(&documents::read_optional(query.as_deref())?)
        })
    })
}

/// The system is there, and its handle the client's, when the call returns; whether it can be used, the operation says.
#[unsafe(no_mangle)]
unsafe extern "system" fn HcsCreateComputeSystem(
    id: PCWSTR,
    configuration: PCWSTR,
    operation: Raw,
    descriptor: *const SECURITY_DESCRIPTOR,
    place: *mut Raw,
) -> HRESULT {
    hresult("HcsCreateComputeSystem", |call| {
        // SAFETY: the contract of the function: strings that end with a NUL.
        let id = unsafe { call.text("id", id) };
        // SAFETY: as above.
        let configuration = unsafe { call.text("configuration", configuration) };
        call.begin()?;
        if place.is_null() {
            return Err(Code::POINTER);
        }
        if !descriptor.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        let (id, configuration) = (document(id)?, document(configuration)?);
        let made = ComputeSystem::read(&configuration).and_then(|document| system::create(&id, &document));
        let operation = handles::operation(operation)?;
        match made {
            Ok(system) => {
                let handle = handles::give(Object::System(Arc::new(system)));
                // SAFETY: not null, so it is a place for a pointer.
                unsafe { place.write(handle) };
                operation.begin(|| {
                    fault::strike("HcsCreateComputeSystem operation")?;
                    Ok(Success::default())
                })
            }
            Err(failure) => operation.begin(move || Err(failure)),
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsOpenComputeSystem(id: PCWSTR, access: u32, place: *mut Raw) -> HRESULT {
    hresult("HcsOpenComputeSystem", |call| {
        // SAFETY: the contract of the function: a string that ends with a NUL.
        let id = unsafe { call.text("id", id) };
        call.value("requestedAccess", access);
        call.begin()?;
        if place.is_null() {
            return Err(Code::POINTER);
        }
        let system = system::open(&document(id)?).map_err(|failure| failure.code)?;
        // SAFETY: not null, so it is a place for a pointer.
        unsafe { place.write(handles::give(Object::System(Arc::new(system)))) };
        Ok(())
    })
}

/// A call of a system or a process that takes an operation and perhaps a document.
macro_rules! operation {
    ($function:ident($object:ident: $kind:ident, $name:literal) |$text:ident| $work:expr) => {
        #[unsafe(no_mangle)]
        unsafe extern "system" fn $function(object: Raw, operation: Raw, text: PCWSTR) -> HRESULT {
            hresult(stringify!($function), |call| {
                // SAFETY: the contract of the function: a string that ends with a NUL, or null.
                let text = unsafe { call.text($name, text) };
                call.begin()?;
                let text: Option<String> = optional(text)?;
                let $object = handles::$kind(object)?;
                handles::operation(operation)?.begin(move || {
                    fault::strike(concat!(stringify!($function), " operation"))?;
                    let $text = text.as_deref();
                    $work
                })
            })
        }
    };
}

fn nothing(_: ()) -> Success {
    Success::default()
}

/// What is reserved is null.
fn reserved(text: Option<&str>) -> Result<(), Failure> {
    match text {
        None => Ok(()),
        Some(_) => Err(Failure::new(Code::INVALID_PARAMETER, "there are no options")),
    }
}

/// A container that shares the host's kernel cannot be frozen.
fn frozen() -> Result<Success, Failure> {
    Err(Failure::new(Code::SYSTEM_NOT_CONFIGURED, "the system cannot be paused"))
}

operation!(HcsStartComputeSystem(system: system, "options") |text| {
    reserved(text).and_then(|()| system.start()).map(nothing)
});
operation!(HcsShutDownComputeSystem(system: system, "options") |text| {
    reserved(text).and_then(|()| system.terminate()).map(nothing)
});
operation!(HcsTerminateComputeSystem(system: system, "options") |text| {
    reserved(text).and_then(|()| system.terminate()).map(nothing)
});
operation!(HcsPauseComputeSystem(_system: system, "options") |text| reserved(text).and_then(|()| frozen()));
operation!(HcsResumeComputeSystem(_system: system, "options") |text| reserved(text).and_then(|()| frozen()));
operation!(HcsGetComputeSystemProperties(system: system, "propertyQuery") |text| {
    let query: documents::PropertyQuery = documents::read_optional(text)?;
    system.properties(&query.property_types)
});
operation!(HcsTerminateProcess(process: process, "options") |text| {
    reserved(text).and_then(|()| process.terminate()).map(nothing)
});
operation!(HcsSignalProcess(process: process, "options") |text| {
    let options: documents::SignalProcessOptions = documents::read(text.unwrap_or_default())?;
    process.signal(options.signal).map(nothing)
});
operation!(HcsGetProcessProperties(process: process, "propertyQuery") |text| {
    reserved(text)?;
    Ok(Success { document: Some(process.status()?), process: None })
});
operation!(HcsModifyProcess(process: process, "settings") |text| {
    let _: documents::ProcessModifyRequest = documents::read(text.unwrap_or_default())?;
    // The pipes are the process's own, so there is nothing to be closed here.
    process.must_run().map(nothing)
});

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsGetProcessInfo(process: Raw, operation: Raw) -> HRESULT {
    hresult("HcsGetProcessInfo", |call| {
        call.begin()?;
        let process = handles::process(process)?;
        handles::operation(operation)?.begin(move || Ok(process.info()))
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsCreateProcess(
    system: Raw,
    parameters: PCWSTR,
    operation: Raw,
    descriptor: *const SECURITY_DESCRIPTOR,
    place: *mut Raw,
) -> HRESULT {
    hresult("HcsCreateProcess", |call| {
        // SAFETY: the contract of the function: a string that ends with a NUL.
        let parameters = unsafe { call.text("processParameters", parameters) };
        call.begin()?;
        if place.is_null() {
            return Err(Code::POINTER);
        }
        if !descriptor.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        let parameters = document(parameters)?;
        let system = handles::system(system)?;
        let operation = handles::operation(operation)?;
        let started = fault::strike("HcsCreateProcess operation")
            .map_err(Failure::from)
            .and_then(|()| documents::read(&parameters))
            .and_then(|parameters| process::start(&system, &parameters));
        match started {
            Ok((process, started)) => {
                // SAFETY: not null, so it is a place for a pointer.
                unsafe { place.write(handles::give(Object::Process(Arc::new(process)))) };
                operation.begin(move || Ok(Success { document: None, process: Some(started) }))
            }
            Err(failure) => operation.begin(move || Err(failure)),
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsOpenProcess(system: Raw, pid: u32, access: u32, place: *mut Raw) -> HRESULT {
    hresult("HcsOpenProcess", |call| {
        call.value("processId", pid);
        call.value("requestedAccess", access);
        call.begin()?;
        if place.is_null() {
            return Err(Code::POINTER);
        }
        let process = process::open(&handles::system(system)?, pid).map_err(|failure| failure.code)?;
        // SAFETY: not null, so it is a place for a pointer.
        unsafe { place.write(handles::give(Object::Process(Arc::new(process)))) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsWaitForProcessExit(
    process: Raw,
    milliseconds: u32,
    result: *mut PWSTR,
) -> HRESULT {
    hresult("HcsWaitForProcessExit", |call| {
        call.value("timeoutMs", milliseconds);
        call.begin()?;
        let status = handles::process(process)?.wait(milliseconds).map_err(|failure| failure.code)?;
        // SAFETY: the contract of the function: null, or a place for a pointer.
        unsafe { give(result, Some(&status)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsWaitForComputeSystemExit(
    system: Raw,
    milliseconds: u32,
    result: *mut PWSTR,
) -> HRESULT {
    hresult("HcsWaitForComputeSystemExit", |call| {
        call.value("timeoutMs", milliseconds);
        call.begin()?;
        let system = handles::system(system)?;
        let start = std::time::Instant::now();
        loop {
            let record = system.record().map_err(|failure| failure.code)?;
            if record.state == system::State::Stopped {
                // SAFETY: the contract of the function: null, or a place for a pointer.
                return unsafe { give(result, Some(r#"{"Status":0,"ExitType":"ForcedExit"}"#)) };
            }
            if milliseconds != u32::MAX && start.elapsed().as_millis() >= milliseconds.into() {
                return Err(Code::OPERATION_TIMEOUT);
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    })
}

// Looked at by the compiler alone: each function has the type that Microsoft's metadata gives it. Nothing is imported.
const _: () = {
    /// A value is used when two of its type are there.
    const fn same<T: Copy>(_: T, _: T) {}
    macro_rules! typed {
        ($($function:ident: $type:ty;)+) => { $(same::<$type>($function, declared::$function);)+ };
    }
    typed! {
        HcsCreateOperation: unsafe extern "system" fn(*const c_void, HCS_OPERATION_COMPLETION) -> Raw;
        HcsCloseOperation: unsafe extern "system" fn(Raw);
        HcsCancelOperation: unsafe extern "system" fn(Raw) -> HRESULT;
        HcsWaitForOperationResult: unsafe extern "system" fn(Raw, u32, *mut PWSTR) -> HRESULT;
        HcsWaitForOperationResultAndProcessInfo:
            unsafe extern "system" fn(Raw, u32, *mut HCS_PROCESS_INFORMATION, *mut PWSTR) -> HRESULT;
        HcsEnumerateComputeSystems: unsafe extern "system" fn(PCWSTR, Raw) -> HRESULT;
        HcsCreateComputeSystem:
            unsafe extern "system" fn(PCWSTR, PCWSTR, Raw, *const SECURITY_DESCRIPTOR, *mut Raw) -> HRESULT;
        HcsOpenComputeSystem: unsafe extern "system" fn(PCWSTR, u32, *mut Raw) -> HRESULT;
        HcsCloseComputeSystem: unsafe extern "system" fn(Raw);
        HcsStartComputeSystem: unsafe extern "system" fn(Raw, Raw, PCWSTR) -> HRESULT;
        HcsShutDownComputeSystem: unsafe extern "system" fn(Raw, Raw, PCWSTR) -> HRESULT;
        HcsTerminateComputeSystem: unsafe extern "system" fn(Raw, Raw, PCWSTR) -> HRESULT;
        HcsPauseComputeSystem: unsafe extern "system" fn(Raw, Raw, PCWSTR) -> HRESULT;
        HcsResumeComputeSystem: unsafe extern "system" fn(Raw, Raw, PCWSTR) -> HRESULT;
        HcsGetComputeSystemProperties: unsafe extern "system" fn(Raw, Raw, PCWSTR) -> HRESULT;
        HcsWaitForComputeSystemExit: unsafe extern "system" fn(Raw, u32, *mut PWSTR) -> HRESULT;
        HcsCreateProcess:
            unsafe extern "system" fn(Raw, PCWSTR, Raw, *const SECURITY_DESCRIPTOR, *mut Raw) -> HRESULT;
        HcsOpenProcess: unsafe extern "system" fn(Raw, u32, u32, *mut Raw) -> HRESULT;
        HcsCloseProcess: unsafe extern "system" fn(Raw);
        HcsTerminateProcess: unsafe extern "system" fn(Raw, Raw, PCWSTR) -> HRESULT;
        HcsSignalProcess: unsafe extern "system" fn(Raw, Raw, PCWSTR) -> HRESULT;
        HcsGetProcessInfo: unsafe extern "system" fn(Raw, Raw) -> HRESULT;
        HcsGetProcessProperties: unsafe extern "system" fn(Raw, Raw, PCWSTR) -> HRESULT;
        HcsModifyProcess: unsafe extern "system" fn(Raw, Raw, PCWSTR) -> HRESULT;
        HcsWaitForProcessExit: unsafe extern "system" fn(Raw, u32, *mut PWSTR) -> HRESULT;
    }
};
