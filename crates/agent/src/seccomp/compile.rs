//! From `linux.seccomp` to a program.
//!
//! ```text
//! load the architecture; one section each, any other kills the process
//!   load the number
//!   ranges of calls with one outcome, in order:   number in a..=b ─► that outcome
//!   calls with conditions:                        number == n     ─► each rule in turn, else the default
//!   everything else ─► the default
//! ```
//!
//! The kernel remembers calls that are allowed whatever their arguments (`seccomp_cache`), so the linear search is done once
//! per call and process on kernels since 5.11.

use std::collections::BTreeMap;

use super::assemble::{Assembler, Label, Program, Test};
use super::numbers::Arch;
use super::{Action, Argument, Comparison, EPERM, Error, Filter};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
/// A call has six.
const ARGUMENT_COUNT: u32 = 6;

/// `SECCOMP_RET_*`.
const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

/// `ENOSYS`, which calls of x32 fail with.
const ENOSYS: u32 = 38;
/// Marks the numbers of x32 (`__X32_SYSCALL_BIT`).
const X32_BIT: u32 = 0x4000_0000;

/// What the kernel is to return for an action.
fn outcome(action: Action, errno: Option<u32>) -> Result<u32, Error> {
    // 16 bits of data.
    let data = errno.unwrap_or(EPERM) & 0xffff;
    Ok(match action {
        Action::Kill | Action::KillThread => KILL_THREAD,
        Action::KillProcess => KILL_PROCESS,
        Action::Trap => TRAP,
        Action::Errno => ERRNO | data,
        Action::Trace => TRACE | data,
        Action::Log => LOG,
        Action::Allow => ALLOW,
        Action::Notify => {
            return Err(Error::Unsupported { what: "the action", value: "SCMP_ACT_NOTIFY".to_owned() });
        }
    })
}

/// The call is done, or may be.
fn lets_through(action: Action) -> bool {
    matches!(action, Action::Allow | Action::Log | Action::Trace)
}

fn flag(name: &str) -> Result<u32, Error> {
    Ok(match name {
        "SECCOMP_FILTER_FLAG_TSYNC" => 1,
        "SECCOMP_FILTER_FLAG_LOG" => 2,
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 4,
        _ => return Err(Error::Unsupported { what: "the flag", value: name.to_owned() }),
    })
}

/// A rule with conditions that have to hold all.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Case {
    arguments: Vec<Argument>,
    outcome: u32,
}

/// Compiles a filter for this machine.
///
/// # Errors
/// When it has no section for this machine, or wants what cannot be expressed.
pub fn compile(filter: &Filter) -> Result<Program, Error> {
    let default = outcome(filter.default_action, filter.default_errno_ret)?;
    let native = Arch::native().ok_or(Error::NoArchitecture(std::env::consts::ARCH))?;
    let mut arches = Vec::new();
    for name in &filter.architectures {
        let arch = Arch::from_name(name)
            .ok_or_else(|| Error::Unsupported { what: "the architecture", value: name.clone() })?;
        if !arches.contains(&arch) {
            arches.push(arch);
        }
    }
    if arches.is_empty() {
        arches.push(native);
    }
    if !arches.contains(&native) {
        return Err(Error::NoArchitecture(std::env::consts::ARCH));
    }
    let flags = filter.flags.iter().try_fold(0, |all, name| Ok::<_, Error>(all | flag(name)?))?;

    let mut program = Assembler::default();
    program.load(ARCHITECTURE);
    for arch in arches.into_iter().filter(|arch| *arch != Arch::X32) {
        let next = program.label();
        program.branch(Test::Equal, arch.audit(), false, next);
        section(&mut program, arch, filter, default)?;
        program.place(next);
    }
    program.give(KILL_PROCESS);
    Ok(Program { instructions: program.finish()?, flags })
}

/// The calls of one architecture. Always returns.
fn section(program: &mut Assembler, arch: Arch, filter: &Filter, default: u32) -> Result<(), Error> {
    let calls = cases(arch, filter, default)?;
    program.load(NUMBER);
    if arch == Arch::X86_64 {
        let own = program.label();
        program.branch(Test::GreaterOrEqual, X32_BIT, false, own);
        program.give(ERRNO | ENOSYS);
        program.place(own);
    }
    // Neighbours with one outcome whatever their arguments are one comparison.
    let mut ranges: Vec<(u32, u32, u32)> = Vec::new();
    for (&number, cases) in &calls {
        if let [Case { arguments, outcome }, ..] = cases.as_slice()
            && arguments.is_empty()
        {
            match ranges.last_mut() {
                Some((_, end, same)) if *end + 1 == number && same == outcome => *end = number,
                _ => ranges.push((number, number, *outcome)),
            }
        }
    }
    for (start, end, outcome) in ranges {
        let next = program.label();
        if start == end {
            program.branch(Test::Equal, start, false, next);
        } else {
            program.branch(Test::GreaterOrEqual, start, false, next);
            program.branch(Test::Greater, end, true, next);
        }
        program.give(outcome);
        program.place(next);
    }
    for (&number, cases) in &calls {
        if cases.first().is_some_and(|case| !case.arguments.is_empty()) {
            let next = program.label();
            program.branch(Test::Equal, number, false, next);
            for case in cases {
                let other = program.label();
                for argument in &case.arguments {
                    unless(program, argument, other);
                }
                program.give(case.outcome);
                program.place(other);
            }
            program.give(default);
            program.place(next);
        }
    }
    program.give(default);
    Ok(())
}

/// The cases of each call, in the order of the profile, as far as they can be reached.
fn cases(arch: Arch, filter: &Filter, default: u32) -> Result<BTreeMap<u32, Vec<Case>>, Error> {
    let mut calls: BTreeMap<u32, Vec<Case>> = BTreeMap::new();
    for rule in &filter.syscalls {
        let outcome = outcome(rule.action, rule.errno_ret)?;
        // As runc has it: a rule that says what happens anyway is no rule.
        if outcome == default {
            continue;
        }
        for name in &rule.names {
            let Some(number) = arch.number(name) else {
                // What nobody knows cannot be let through, which is safe. It cannot be forbidden either, which is not, unless
                // everything unknown is forbidden anyway.
                let forbidden = lets_through(rule.action) || !lets_through(filter.default_action);
                if forbidden || Arch::any_has(name) {
                    continue;
                }
                return Err(Error::UnknownCall(name.clone()));
            };
            if let Some(argument) = rule.args.iter().find(|argument| argument.index >= ARGUMENT_COUNT) {
                return Err(Error::NoArgument { call: name.clone(), index: argument.index });
            }
            let known = calls.entry(number).or_default();
            for arguments in alternatives(&rule.args) {
                // Nothing comes after a case without conditions.
                if known.last().is_none_or(|last| !last.arguments.is_empty()) {
                    known.push(Case { arguments, outcome });
                }
            }
        }
    }
    // libseccomp gives a rule without conditions precedence over those with some.
    for cases in calls.values_mut() {
        if let Some(at) = cases.iter().position(|case| case.arguments.is_empty()) {
            let whole = cases.remove(at);
            *cases = vec![whole];
        }
    }
    Ok(calls)
}

/// Conditions on different arguments belong together; when one argument has several, each is a rule of its own.
fn alternatives(arguments: &[Argument]) -> Vec<Vec<Argument>> {
    let repeated =
        arguments.iter().any(|one| arguments.iter().filter(|other| other.index == one.index).count() > 1);
    if repeated {
        arguments.iter().map(|argument| vec![argument.clone()]).collect()
    } else {
        vec![arguments.to_vec()]
    }
}

/// Goes to `other` unless the condition holds. Arguments are 64 bits, and are compared half by half.
fn unless(program: &mut Assembler, argument: &Argument, other: Label) {
    let offset = ARGUMENTS + 8 * argument.index;
    // Both machines are little-endian.
    let (low, high) = (offset, offset + 4);
    let halves = |value: u64| ((value & 0xffff_ffff) as u32, (value >> 32) as u32);
    let (value_low, value_high) = halves(argument.value);
    match argument.op {
        Comparison::Equal => {
            program.load(high);
            program.branch(Test::Equal, value_high, false, other);
            program.load(low);
            program.branch(Test::Equal, value_low, false, other);
        }
        Comparison::NotEqual => {
            let holds = program.label();
            program.load(high);
            program.branch(Test::Equal, value_high, false, holds);
            program.load(low);
            program.branch(Test::Equal, value_low, true, other);
            program.place(holds);
        }
        Comparison::MaskedEqual => {
            let (wanted_low, wanted_high) = halves(argument.value_two);
            program.load(high);
            program.and(value_high);
            program.branch(Test::Equal, wanted_high, false, other);
            program.load(low);
            program.and(value_low);
            program.branch(Test::Equal, wanted_low, false, other);
        }
        Comparison::Greater | Comparison::GreaterOrEqual => {
            let test = if argument.op == Comparison::Greater { Test::Greater } else { Test::GreaterOrEqual };
            let holds = program.label();
            program.load(high);
            program.branch(Test::Greater, value_high, true, holds);
            program.branch(Test::Equal, value_high, false, other);
            program.load(low);
            program.branch(test, value_low, false, other);
            program.place(holds);
        }
        Comparison::Less | Comparison::LessOrEqual => {
            let test = if argument.op == Comparison::Less { Test::GreaterOrEqual } else { Test::Greater };
            let holds = program.label();
            let same = program.label();
            program.load(high);
            program.branch(Test::Equal, value_high, true, same);
            program.branch(Test::Greater, value_high, true, other);
            program.jump(holds);
            program.place(same);
            program.load(low);
            program.branch(test, value_low, true, other);
            program.place(holds);
        }
    }
}
