//! Privileges, enabled on the calling thread and put back.
//!
//! An administrator's token holds its privileges disabled. The layer functions look at whether they are enabled and do
//! not enable them themselves. The calls of this crate enable what they need for as long as they run; a program that
//! wants them for longer, or for its own use of the backup API, calls [`enable`].
//!
//! What is enabled holds for **one thread**: a copy of its token (or of the process's, when the thread has none) is
//! given to the thread, and when the guard is dropped the thread gets back what it had. The process token is never
//! touched, so other threads of the program do not run with more rights than they asked for. Nothing that is started on
//! other threads meanwhile has the privileges.
//!
//! `ProcessBaseImage` and `ProcessUtilityImage` look at the **process** token, so a thread's privileges are not enough
//! for them: a program that calls them enables SeBackupPrivilege and SeRestorePrivilege with [`enable_for_process`]
//! when it starts, and has them until it ends.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};

use windows_sys::Win32::Foundation::{ERROR_NO_TOKEN, ERROR_NOT_ALL_ASSIGNED, HANDLE, LUID};
use windows_sys::Win32::Security::{
    AdjustTokenPrivileges, DuplicateTokenEx, GetTokenInformation, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW,
    SE_PRIVILEGE_ENABLED, SecurityImpersonation, TOKEN_ADJUST_PRIVILEGES, TOKEN_DUPLICATE, TOKEN_IMPERSONATE,
    TOKEN_PRIVILEGES, TOKEN_QUERY, TokenElevation, TokenImpersonation, TokenPrivileges,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, OpenProcessToken, OpenThreadToken, SetThreadToken,
};

use super::dll::last_error;
use super::wide::WideString;
use crate::error::{Error, Result};
use crate::hresult::HResult;
use crate::privilege_names::Privilege;

/// What a call needs, and what it can do without.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs {
    required: &'static [Privilege],
    helpful: &'static [Privilege],
}

impl Needs {
    pub(super) const NOTHING: Self = Needs { required: &[], helpful: &[] };
    /// To write a layer. The audit part of descriptors is written where the account may.
    pub(super) const WRITE: Self =
        Needs { required: &[Privilege::Backup, Privilege::Restore], helpful: &[Privilege::Security] };
    /// To read a layer whatever its descriptors say, and write copies of what was read.
    pub(super) const READ: Self =
        Needs { required: &[Privilege::Backup], helpful: &[Privilege::Restore, Privilege::Security] };
    /// To delete a layer, or to work inside of a scratch: an account that owns it does without.
    pub(super) const OWN: Self =
        Needs { required: &[], helpful: &[Privilege::Backup, Privilege::Restore, Privilege::Security] };
    /// To attach a disk.
    pub(super) const ATTACH: Self = Needs { required: &[Privilege::ManageVolume], helpful: &[] };
    /// To change a disk that is perhaps not attached.
    pub(super) const DISK: Self = Needs { required: &[], helpful: &[Privilege::ManageVolume] };

    pub(super) fn take(self) -> Result<Option<Enabled>> {
        if self.required.is_empty() && self.helpful.is_empty() {
            return Ok(None);
        }
        Enabled::new(self.required, self.helpful).map(Some)
    }
}

/// A token that a thread had before a guard gave it another one.
#[derive(Debug)]
struct Saved {
    guard: u64,
    /// `None`: the thread had no token of its own.
    token: Option<OwnedHandle>,
}

thread_local! {
    /// The guards of this thread, oldest first.
    static GUARDS: RefCell<Vec<Saved>> = const { RefCell::new(Vec::new()) };
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

/// Privileges that are enabled on this thread until this is dropped.
///
/// Guards nest. They are meant to be dropped in the reverse order, as variables are; when an outer one is dropped
/// first, the thread keeps the inner one's privileges until that is dropped too, and then has what it had before both.
#[derive(Debug)]
#[must_use = "the privileges are given back when this is dropped"]
pub struct Enabled {
    guard: u64,
    privileges: Vec<Privilege>,
    /// A thread's token is that thread's: dropped on another one, this would leave the privileges on the first.
    not_send: PhantomData<*const ()>,
}

/// Enables privileges on the calling thread.
///
/// # Errors
/// [`Error::Privilege`] with the first that the account does not hold; nothing is enabled then. [`Error::Call`] when
/// the thread's token cannot be read or replaced: it impersonates a client that does not allow it.
pub fn enable(privileges: &[Privilege]) -> Result<Enabled> {
    Enabled::new(privileges, &[])
}

/// Enables those of the privileges on the calling thread that the account holds; [`Enabled::privileges`] says which.
///
/// # Errors
/// [`Error::Call`] when the thread's token cannot be read or replaced.
pub fn enable_held(privileges: &[Privilege]) -> Result<Enabled> {
    Enabled::new(&[], privileges)
}

/// Enables privileges for the whole process, for good.
///
/// Every thread that does not impersonate has them from now on, also threads of libraries; prefer [`enable`]. It is
/// needed for `ProcessBaseImage` and `ProcessUtilityImage`, which look at the process token. There is no way back on
/// purpose: two users of the library in one process would switch each other's privileges off.
///
/// # Errors
/// [`Error::Privilege`] with the first that the account does not hold; those before it are enabled.
pub fn enable_for_process(privileges: &[Privilege]) -> Result<()> {
    let token = process_token(TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY)?;
    privileges.iter().try_for_each(|&privilege| {
        if switch_on(&token, privilege)? { Ok(()) } else { Err(Error::Privilege { privilege }) }
    })
}

impl Enabled {
    fn new(required: &[Privilege], helpful: &[Privilege]) -> Result<Self> {
        let saved = thread_token()?;
        let base = match &saved {
            Some(token) => token,
            None => &process_token(TOKEN_DUPLICATE | TOKEN_QUERY)?,
        };
        let token = duplicate(base)?;
        let mut privileges = Vec::with_capacity(required.len() + helpful.len());
        for &privilege in required {
            if !switch_on(&token, privilege)? {
                return Err(Error::Privilege { privilege });
            }
            privileges.push(privilege);
        }
        for &privilege in helpful {
            if switch_on(&token, privilege)? {
                privileges.push(privilege);
            } else {
                tracing::debug!(%privilege, "not held; going on without");
            }
        }
        let guard = NEXT.get();
        NEXT.set(guard.wrapping_add(1));
        set_thread_token(Some(&token))?;
        GUARDS.with_borrow_mut(|guards| guards.push(Saved { guard, token: saved }));
        // The thread refers to the token itself; our handle of it may be closed.
        Ok(Enabled { guard, privileges, not_send: PhantomData })
    }

    /// What is enabled.
    pub fn privileges(&self) -> &[Privilege] {
        &self.privileges
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        // The thread-local may be gone when a guard lies in another one and the thread ends; its token ends with it.
        let restored = GUARDS.try_with(|guards| {
            let mut guards = guards.borrow_mut();
            let Some(index) = guards.iter().rposition(|saved| saved.guard == self.guard) else {
                return Ok(());
            };
            let saved = guards.remove(index);
            match guards.get_mut(index) {
                // A later guard is still alive: it gives back what this one would have.
                Some(later) => later.token = saved.token,
                None => set_thread_token(saved.token.as_ref())?,
            }
            Ok(())
        });
        if let Ok(Err(error)) = restored {
            let error: Error = error;
            tracing::error!(%error, "the thread keeps privileges that it should have given back");
        }
    }
}

/// A privilege of the process, for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// Which one.
    pub privilege: Privilege,
    /// The process token has it at all, so that it can be enabled.
    pub held: bool,
    /// It is enabled in the process token.
    pub enabled: bool,
}

/// Which of the privileges that layer storage needs the process holds.
///
/// # Errors
/// [`Error::Call`] when the process token cannot be read.
pub fn of_process() -> Result<Vec<State>> {
    let token = process_token(TOKEN_QUERY)?;
    let held = privileges_of(&token)?;
    Privilege::ALL
        .into_iter()
        .map(|privilege| {
            let luid = luid(privilege)?;
            let found = held.iter().find(|(other, _)| same(*other, luid));
            Ok(State {
                privilege,
                held: found.is_some(),
                enabled: found.is_some_and(|(_, attributes)| attributes & SE_PRIVILEGE_ENABLED != 0),
            })
        })
        .collect()
}

/// Whether the process is elevated: runs with an administrator's full token.
///
/// # Errors
/// [`Error::Call`] when the process token cannot be read.
pub(super) fn is_elevated() -> Result<bool> {
    let token = process_token(TOKEN_QUERY)?;
    let mut elevated = 0_u32;
    let mut length = 0_u32;
    // SAFETY: the handle is open for queries; the buffer is a `TOKEN_ELEVATION`, which is one u32, and its size is
    // right.
    let done = unsafe {
        GetTokenInformation(raw(&token), TokenElevation, (&raw mut elevated).cast(), 4, &raw mut length)
    };
    if done == 0 { Err(failed("GetTokenInformation")) } else { Ok(elevated != 0) }
}

fn failed(function: &'static str) -> Error {
    Error::Call { function, subject: "the token of the thread or process".into(), code: last_error() }
}

fn raw(handle: &OwnedHandle) -> HANDLE {
    handle.as_raw_handle()
}

fn same(left: LUID, right: LUID) -> bool {
    (left.HighPart, left.LowPart) == (right.HighPart, right.LowPart)
}

fn process_token(access: u32) -> Result<OwnedHandle> {
    let mut token = std::ptr::null_mut();
    // SAFETY: the pseudo handle of the process is always valid, and `token` is a place for a handle.
    if unsafe { OpenProcessToken(GetCurrentProcess(), access, &raw mut token) } == 0 {
        return Err(failed("OpenProcessToken"));
    }
    // SAFETY: the call succeeded, so this is an open handle that nobody else has.
    Ok(unsafe { OwnedHandle::from_raw_handle(token) })
}

/// The thread's own token; `None` when it runs with the process's.
fn thread_token() -> Result<Option<OwnedHandle>> {
    let access = TOKEN_DUPLICATE | TOKEN_IMPERSONATE | TOKEN_QUERY;
    let mut token = std::ptr::null_mut();
    // The third argument: the right to open it is judged by the process token, since the thread's may be of a client
    // that has none. SAFETY: the pseudo handle of the thread is always valid, and `token` is a place for a handle.
    if unsafe { OpenThreadToken(GetCurrentThread(), access, 1, &raw mut token) } == 0 {
        return if last_error() == HResult::from_win32(ERROR_NO_TOKEN) {
            Ok(None)
        } else {
            Err(failed("OpenThreadToken"))
        };
    }
    // SAFETY: the call succeeded, so this is an open handle that nobody else has.
    Ok(Some(unsafe { OwnedHandle::from_raw_handle(token) }))
}

/// A copy of a token that a thread can wear.
fn duplicate(token: &OwnedHandle) -> Result<OwnedHandle> {
    let access = TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY | TOKEN_IMPERSONATE | TOKEN_DUPLICATE;
    let mut copy = std::ptr::null_mut();
    // SAFETY: the handle is open with TOKEN_DUPLICATE, no security attributes are given, and `copy` is a place for a
    // handle.
    let done = unsafe {
        DuplicateTokenEx(
            raw(token),
            access,
            std::ptr::null(),
            SecurityImpersonation,
            TokenImpersonation,
            &raw mut copy,
        )
    };
    if done == 0 {
        return Err(failed("DuplicateTokenEx"));
    }
    // SAFETY: the call succeeded, so this is an open handle that nobody else has.
    Ok(unsafe { OwnedHandle::from_raw_handle(copy) })
}

/// Gives the calling thread a token, or takes its own away.
fn set_thread_token(token: Option<&OwnedHandle>) -> Result<()> {
    let token = token.map_or(std::ptr::null_mut(), raw);
    // SAFETY: null for the thread means the calling one; the token is null, or an open impersonation token.
    if unsafe { SetThreadToken(std::ptr::null(), token) } == 0 {
        Err(failed("SetThreadToken"))
    } else {
        Ok(())
    }
}

fn luid(privilege: Privilege) -> Result<LUID> {
    let mut luid = LUID { LowPart: 0, HighPart: 0 };
    let name =
        WideString::new(privilege.name().as_ref()).ok_or_else(|| Error::Nul(privilege.name().into()))?;
    // SAFETY: null means this system; the name is NUL-terminated and outlives the call; `luid` is a place for the
    // result.
    if unsafe { LookupPrivilegeValueW(std::ptr::null(), name.as_ptr(), &raw mut luid) } == 0 {
        return Err(failed("LookupPrivilegeValueW"));
    }
    Ok(luid)
}

/// Enables one privilege in a token. `false`: the token does not hold it.
fn switch_on(token: &OwnedHandle, privilege: Privilege) -> Result<bool> {
    let new = TOKEN_PRIVILEGES {
        PrivilegeCount: 1,
        Privileges: [LUID_AND_ATTRIBUTES { Luid: luid(privilege)?, Attributes: SE_PRIVILEGE_ENABLED }],
    };
    // SAFETY: the handle is open with TOKEN_ADJUST_PRIVILEGES; `new` holds as many privileges as it says; the previous
    // state is not asked for, so both of its pointers may be null.
    let done = unsafe {
        AdjustTokenPrivileges(raw(token), 0, &raw const new, 0, std::ptr::null_mut(), std::ptr::null_mut())
    };
    // It succeeds as well when the token does not hold the privilege; only the last error tells.
    let code = last_error();
    if done == 0 {
        return Err(failed("AdjustTokenPrivileges"));
    }
    Ok(code != HResult::from_win32(ERROR_NOT_ALL_ASSIGNED))
}

/// All privileges of a token, with their attributes.
fn privileges_of(token: &OwnedHandle) -> Result<Vec<(LUID, u32)>> {
    let mut needed = 0_u32;
    // SAFETY: the handle is open for queries; a buffer of no bytes may be null, and `needed` takes the size.
    unsafe {
        GetTokenInformation(raw(token), TokenPrivileges, std::ptr::null_mut(), 0, &raw mut needed);
    }
    // Of u64 for its alignment: TOKEN_PRIVILEGES is made of u32.
    let mut buffer = vec![0_u64; (needed as usize).div_ceil(8).max(1)];
    let size = u32::try_from(buffer.len() * 8).unwrap_or(u32::MAX);
    // SAFETY: as above, and the buffer has the size that is given.
    let done = unsafe {
        GetTokenInformation(raw(token), TokenPrivileges, buffer.as_mut_ptr().cast(), size, &raw mut needed)
    };
    if done == 0 {
        return Err(failed("GetTokenInformation"));
    }
    let start = buffer.as_ptr().cast::<TOKEN_PRIVILEGES>();
    // SAFETY: the call has filled in the count, which is the first field.
    let count = unsafe { (&raw const (*start).PrivilegeCount).read() } as usize;
    let room = (buffer.len() * 8 - 4) / size_of::<LUID_AND_ATTRIBUTES>();
    // SAFETY: the entries follow the count, the call has filled in as many as it says, and no more are read than the
    // buffer has room for; LUID_AND_ATTRIBUTES is made of u32, as is what comes before it, so they are aligned.
    let entries = unsafe {
        std::slice::from_raw_parts(
            (&raw const (*start).Privileges).cast::<LUID_AND_ATTRIBUTES>(),
            count.min(room),
        )
    };
    Ok(entries.iter().map(|entry| (entry.Luid, entry.Attributes)).collect())
}
