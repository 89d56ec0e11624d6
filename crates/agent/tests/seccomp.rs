//! Profiles and the programs that they become: run by an interpreter of the kernel's instructions, which shares nothing with
//! the compiler.

#![cfg(target_os = "linux")]

mod bpf;

use bpf::interpret;
use layerstone_agent::seccomp::{Error, Filter, Target, compile, resolve};
use serde_json::{Value, json};

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const fn errno(number: u32) -> u32 {
    0x0005_0000 | number
}

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;

fn filter(document: Value) -> Filter {
    serde_json::from_value(document).unwrap()
}

fn target<'a>(capabilities: &'a [&'static str]) -> Target<'a> {
    Target { machine: std::env::consts::ARCH, capabilities, kernel: (6, 1) }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_default_profile_allows_what_programs_do_and_forbids_what_takes_a_capability() {
    let program = compile(&resolve(None, &target(&[])).unwrap()).unwrap();
    let call = |number| interpret(&program, X86_64, number, [0; 6]);
    for allowed in [0, 1, 2, 59, 56, 231, 257, 202] {
        assert_eq!(call(allowed), ALLOW, "call {allowed}");
    }
    // init_module, acct, settimeofday, kexec_load; unknown ones do not exist.
    for forbidden in [175, 163, 164, 246] {
        assert_eq!(call(forbidden), errno(1), "call {forbidden}");
    }
    assert_eq!(call(100_000), errno(38));
    // The numbers of x32 are none of x86-64's; another machine's calls kill.
    assert_eq!(call(0x4000_0001), errno(38));
    assert_eq!(interpret(&program, X86, 4, [0; 6]), ALLOW, "write of 32-bit programs");
    assert_eq!(interpret(&program, 0xc000_00b7, 64, [0; 6]), KILL_PROCESS);
    // socket(AF_NETLINK, ..., NETLINK_AUDIT), and any other.
    assert_eq!(interpret(&program, X86_64, 41, [16, 3, 9, 0, 0, 0]), errno(22));
    assert_eq!(interpret(&program, X86_64, 41, [16, 3, 0, 0, 0, 0]), ALLOW);
    assert_eq!(interpret(&program, X86_64, 41, [2, 1, 9, 0, 0, 0]), ALLOW);
    // personality: five values.
    assert_eq!(interpret(&program, X86_64, 135, [8, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(interpret(&program, X86_64, 135, [0xffff_ffff, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(interpret(&program, X86_64, 135, [9, 0, 0, 0, 0, 0]), errno(38));
    assert_eq!(interpret(&program, X86_64, 135, [1 << 32 | 8, 0, 0, 0, 0, 0]), errno(38));

    let more = compile(&resolve(None, &target(&["CAP_SYS_MODULE", "CAP_SYS_TIME"])).unwrap()).unwrap();
    assert_eq!(interpret(&more, X86_64, 175, [0; 6]), ALLOW);
    assert_eq!(interpret(&more, X86_64, 164, [0; 6]), ALLOW);
    assert_eq!(interpret(&more, X86_64, 163, [0; 6]), errno(1));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn each_comparison_is_of_64_bits_without_sign() {
    let values = [0, 1, 7, 8, 9, 0xffff_fffe, 0xffff_ffff, 1 << 32, (1 << 32) | 8, u64::MAX - 1, u64::MAX];
    let holds: [(&str, fn(u64, u64) -> bool); 6] = [
        ("SCMP_CMP_EQ", |a, b| a == b),
        ("SCMP_CMP_NE", |a, b| a != b),
        ("SCMP_CMP_LT", |a, b| a < b),
        ("SCMP_CMP_LE", |a, b| a <= b),
        ("SCMP_CMP_GT", |a, b| a > b),
        ("SCMP_CMP_GE", |a, b| a >= b),
    ];
    for (op, holds) in holds {
        for value in values {
            for index in 0..6 {
                let program = compile(&filter(json!({
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5,
                        "args": [{"index": index, "value": value, "op": op}]}],
                })))
                .unwrap();
                for argument in values {
                    let mut arguments = [3; 6];
                    arguments[index] = argument;
                    let expected = if holds(argument, value) { errno(5) } else { ALLOW };
                    let found = interpret(&program, X86_64, 0, arguments);
                    assert_eq!(found, expected, "{argument:#x} {op} {value:#x} in argument {index}");
                }
            }
        }
    }
    let masked = compile(&filter(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 0x1_0000_00f0_u64, "valueTwo": 0x1_0000_0050_u64, "op": "SCMP_CMP_MASKED_EQ"}]}],
    })))
    .unwrap();
    assert_eq!(interpret(&masked, X86_64, 56, [0x1_0000_005f, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(interpret(&masked, X86_64, 56, [0x5f, 0, 0, 0, 0, 0]), errno(1));
    assert_eq!(interpret(&masked, X86_64, 56, [0x1_0000_0060, 0, 0, 0, 0, 0]), errno(1));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn conditions_on_different_arguments_hold_all_and_on_one_argument_are_alternatives() {
    let rule = |args: Value| {
        compile(&filter(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRAP", "args": args}],
        })))
        .unwrap()
    };
    let condition = |index: u32, value: u64| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    let both = rule(json!([condition(0, 1), condition(1, 2)]));
    let trap = 0x0003_0000;
    assert_eq!(interpret(&both, X86_64, 0, [1, 2, 0, 0, 0, 0]), trap);
    assert_eq!(interpret(&both, X86_64, 0, [1, 3, 0, 0, 0, 0]), ALLOW);
    let either = rule(json!([condition(0, 1), condition(0, 2)]));
    assert_eq!(interpret(&either, X86_64, 0, [1, 0, 0, 0, 0, 0]), trap);
    assert_eq!(interpret(&either, X86_64, 0, [2, 0, 0, 0, 0, 0]), trap);
    assert_eq!(interpret(&either, X86_64, 0, [3, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn jumps_that_are_too_far_for_one_instruction_are_two() {
    // A call with more alternatives than a short jump can pass over.
    let cases: Vec<Value> =
        (0..200).map(|value| json!({"index": 0, "value": value, "op": "SCMP_CMP_EQ"})).collect();
    let program = compile(&filter(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": cases},
            {"names": ["uname"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_NE"}]},
        ],
    })))
    .unwrap();
    if cfg!(target_arch = "x86_64") {
        for value in [0, 1, 198, 199] {
            assert_eq!(interpret(&program, X86_64, 135, [value, 0, 0, 0, 0, 0]), ALLOW);
        }
        assert_eq!(interpret(&program, X86_64, 135, [200, 0, 0, 0, 0, 0]), errno(1));
        assert_eq!(interpret(&program, X86_64, 63, [0; 6]), ALLOW);
        assert_eq!(interpret(&program, X86_64, 63, [1, 0, 0, 0, 0, 0]), errno(1));
    }
}

#[test]
fn what_cannot_be_applied_is_an_error() {
    let error = |document: Value| compile(&filter(document)).unwrap_err();
    assert!(matches!(
        error(
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["tomorrow"], "action": "SCMP_ACT_KILL"}]})
        ),
        Error::UnknownCall(_)
    ));
    assert!(matches!(
        error(
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]})
        ),
        Error::Unsupported { .. }
    ));
    assert!(matches!(
        error(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW"]})),
        Error::Unsupported { .. }
    ));
    assert!(matches!(
        error(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_S390X"]})),
        Error::Unsupported { .. }
    ));
    assert!(matches!(
        error(json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]})),
        Error::NoArgument { .. }
    ));
    // What an older machine does not know is not let through, which is what the profile says of everything else.
    let known = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["tomorrow"], "action": "SCMP_ACT_ALLOW"}]});
    assert!(compile(&filter(known)).is_ok());
    let resolved = |text: &str| resolve(Some(text), &target(&[]));
    assert!(matches!(resolved("[]"), Err(Error::Json(_))));
    assert!(matches!(resolved(r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#), Err(Error::Json(_))));
    assert!(matches!(
        resolved(r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x"}"#),
        Err(Error::Unsupported { .. })
    ));
}
