//! The types of the functions, and where they are looked up.

use windows_sys::Win32::Security::SECURITY_DESCRIPTOR;
use windows_sys::Win32::System::HostComputeSystem as sys;
pub(super) use windows_sys::Win32::System::HostComputeSystem::HCS_PROCESS_INFORMATION as ProcessInformation;
use windows_sys::core::{HRESULT, PCWSTR, PWSTR};

use crate::functions::COMPUTECORE;
use crate::windows::dll::entries;

/// `HCS_SYSTEM`, `HCS_PROCESS` and `HCS_OPERATION`: opaque, and no handles of the kernel.
pub(super) type Raw = *mut core::ffi::c_void;

pub(super) type CreateOperationFn =
    unsafe extern "system" fn(*const core::ffi::c_void, sys::HCS_OPERATION_COMPLETION) -> Raw;
pub(super) type CloseFn = unsafe extern "system" fn(Raw);
pub(super) type CancelOperationFn = unsafe extern "system" fn(Raw) -> HRESULT;
/// Of an operation, of a system, of a process.
pub(super) type WaitFn = unsafe extern "system" fn(Raw, u32, *mut PWSTR) -> HRESULT;
pub(super) type WaitWithProcessFn =
    unsafe extern "system" fn(Raw, u32, *mut ProcessInformation, *mut PWSTR) -> HRESULT;
pub(super) type EnumerateFn = unsafe extern "system" fn(PCWSTR, Raw) -> HRESULT;
pub(super) type CreateSystemFn =
    unsafe extern "system" fn(PCWSTR, PCWSTR, Raw, *const SECURITY_DESCRIPTOR, *mut Raw) -> HRESULT;
pub(super) type OpenSystemFn = unsafe extern "system" fn(PCWSTR, u32, *mut Raw) -> HRESULT;
/// What takes a system or a process, an operation, and a document: most of them.
pub(super) type OnObjectFn = unsafe extern "system" fn(Raw, Raw, PCWSTR) -> HRESULT;
pub(super) type CreateProcessFn =
    unsafe extern "system" fn(Raw, PCWSTR, Raw, *const SECURITY_DESCRIPTOR, *mut Raw) -> HRESULT;
pub(super) type OpenProcessFn = unsafe extern "system" fn(Raw, u32, u32, *mut Raw) -> HRESULT;
pub(super) type ProcessInfoFn = unsafe extern "system" fn(Raw, Raw) -> HRESULT;

// Looked at by the compiler alone; see computestorage.
const _: CreateOperationFn = sys::HcsCreateOperation;
const _: [CloseFn; 3] = [sys::HcsCloseOperation, sys::HcsCloseComputeSystem, sys::HcsCloseProcess];
const _: CancelOperationFn = sys::HcsCancelOperation;
const _: [WaitFn; 3] =
    [sys::HcsWaitForOperationResult, sys::HcsWaitForComputeSystemExit, sys::HcsWaitForProcessExit];
const _: WaitWithProcessFn = sys::HcsWaitForOperationResultAndProcessInfo;
const _: EnumerateFn = sys::HcsEnumerateComputeSystems;
const _: CreateSystemFn = sys::HcsCreateComputeSystem;
const _: OpenSystemFn = sys::HcsOpenComputeSystem;
const _: [OnObjectFn; 10] = [
    sys::HcsStartComputeSystem,
    sys::HcsShutDownComputeSystem,
    sys::HcsTerminateComputeSystem,
    sys::HcsPauseComputeSystem,
    sys::HcsResumeComputeSystem,
    sys::HcsGetComputeSystemProperties,
    sys::HcsTerminateProcess,
    sys::HcsSignalProcess,
    sys::HcsGetProcessProperties,
    sys::HcsModifyProcess,
];
const _: CreateProcessFn = sys::HcsCreateProcess;
const _: OpenProcessFn = sys::HcsOpenProcess;
const _: ProcessInfoFn = sys::HcsGetProcessInfo;

entries! {
    pub(super) struct Entries of COMPUTECORE {
        create_operation: CreateOperationFn = "HcsCreateOperation",
        close_operation: CloseFn = "HcsCloseOperation",
        cancel_operation: CancelOperationFn = "HcsCancelOperation",
        wait_operation: WaitFn = "HcsWaitForOperationResult",
        wait_operation_with_process: WaitWithProcessFn = "HcsWaitForOperationResultAndProcessInfo",
        enumerate: EnumerateFn = "HcsEnumerateComputeSystems",
        create_system: CreateSystemFn = "HcsCreateComputeSystem",
        open_system: OpenSystemFn = "HcsOpenComputeSystem",
        close_system: CloseFn = "HcsCloseComputeSystem",
        start_system: OnObjectFn = "HcsStartComputeSystem",
        shut_down_system: OnObjectFn = "HcsShutDownComputeSystem",
        terminate_system: OnObjectFn = "HcsTerminateComputeSystem",
        pause_system: OnObjectFn = "HcsPauseComputeSystem",
        resume_system: OnObjectFn = "HcsResumeComputeSystem",
        system_properties: OnObjectFn = "HcsGetComputeSystemProperties",
        wait_system: WaitFn = "HcsWaitForComputeSystemExit",
        create_process: CreateProcessFn = "HcsCreateProcess",
        open_process: OpenProcessFn = "HcsOpenProcess",
        close_process: CloseFn = "HcsCloseProcess",
        terminate_process: OnObjectFn = "HcsTerminateProcess",
        signal_process: OnObjectFn = "HcsSignalProcess",
        process_info: ProcessInfoFn = "HcsGetProcessInfo",
        process_properties: OnObjectFn = "HcsGetProcessProperties",
        modify_process: OnObjectFn = "HcsModifyProcess",
        wait_process: WaitFn = "HcsWaitForProcessExit",
    }
}
