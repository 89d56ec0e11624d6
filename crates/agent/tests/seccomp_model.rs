//! Programs of random filters do what the rules say, for arguments around the values of the rules.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod bpf;

use bpf::interpret;
use layerstone_agent::seccomp::{Action, Argument, Comparison, Filter, Rule, compile};
use proptest::prelude::*;

/// Calls, and their numbers on this machine.
const CALLS: [(&str, u32); 6] =
    [("read", 0), ("write", 1), ("clone", 56), ("uname", 63), ("personality", 135), ("openat", 257)];
const X86_64: u32 = 0xc000_003e;

fn outcome(action: Action, errno: Option<u32>) -> u32 {
    match action {
        Action::Allow => 0x7fff_0000,
        Action::Log => 0x7ffc_0000,
        Action::Trap => 0x0003_0000,
        Action::KillProcess => 0x8000_0000,
        _ => 0x0005_0000 | errno.unwrap_or(1),
    }
}

fn holds(argument: &Argument, arguments: &[u64; 6]) -> bool {
    let (is, value) = (arguments[argument.index as usize], argument.value);
    match argument.op {
        Comparison::NotEqual => is != value,
        Comparison::Less => is < value,
        Comparison::LessOrEqual => is <= value,
        Comparison::Equal => is == value,
        Comparison::GreaterOrEqual => is >= value,
        Comparison::Greater => is > value,
        Comparison::MaskedEqual => is & value == argument.value_two,
    }
}

/// What runc and libseccomp make of a profile: rules that say what happens anyway are none; one without conditions comes before
/// those with some; conditions hold all, or, where one argument has several, each by itself; the first rule decides.
fn expected(filter: &Filter, call: &str, arguments: &[u64; 6]) -> u32 {
    let default = outcome(filter.default_action, filter.default_errno_ret);
    let mut conditional = None;
    for rule in filter.syscalls.iter().filter(|rule| rule.names.iter().any(|name| name == call)) {
        let outcome = outcome(rule.action, rule.errno_ret);
        if outcome == default {
            continue;
        }
        if rule.args.is_empty() {
            return outcome;
        }
        let mut indexes: Vec<u32> = rule.args.iter().map(|argument| argument.index).collect();
        indexes.sort_unstable();
        let repeated = indexes.windows(2).any(|pair| pair[0] == pair[1]);
        let mut each = rule.args.iter().map(|argument| holds(argument, arguments));
        let fits = if repeated { each.any(|holds| holds) } else { each.all(|holds| holds) };
        if fits && conditional.is_none() {
            conditional = Some(outcome);
        }
    }
    conditional.unwrap_or(default)
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(0xffff_ffff),
        Just(0x1_0000_0000),
        Just(0x1_0000_0001),
        Just(0xffff_ffff_0000_0000),
        Just(u64::MAX),
        any::<u64>(),
    ]
}

fn action() -> impl Strategy<Value = (Action, Option<u32>)> {
    prop_oneof![
        Just((Action::Allow, None)),
        Just((Action::Log, None)),
        Just((Action::Trap, None)),
        Just((Action::KillProcess, None)),
        proptest::option::of(1_u32..40).prop_map(|errno| (Action::Errno, errno)),
    ]
}

fn argument() -> impl Strategy<Value = Argument> {
    let op = prop_oneof![
        Just(Comparison::NotEqual),
        Just(Comparison::Less),
        Just(Comparison::LessOrEqual),
        Just(Comparison::Equal),
        Just(Comparison::GreaterOrEqual),
        Just(Comparison::Greater),
        Just(Comparison::MaskedEqual),
    ];
    (0_u32..3, value(), value(), op).prop_map(|(index, value, value_two, op)| {
        // Otherwise a masked comparison would hardly ever hold.
        let value_two = if op == Comparison::MaskedEqual { value_two & value } else { 0 };
        Argument { index, value, value_two, op }
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let names = proptest::sample::subsequence(CALLS.map(|(name, _)| name.to_owned()).to_vec(), 1..4);
    (names, action(), proptest::collection::vec(argument(), 0..4))
        .prop_map(|(names, (action, errno_ret), args)| Rule { names, action, errno_ret, args })
}

fn filter() -> impl Strategy<Value = Filter> {
    (action(), proptest::collection::vec(rule(), 0..12)).prop_map(|((default, errno), syscalls)| Filter {
        default_action: default,
        default_errno_ret: errno,
        architectures: Vec::new(),
        flags: Vec::new(),
        syscalls,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_program_does_what_its_rules_say(filter in filter(), random in proptest::array::uniform6(value())) {
        let program = compile(&filter).unwrap();
        let values: Vec<u64> = filter
            .syscalls
            .iter()
            .flat_map(|rule| &rule.args)
            .flat_map(|argument| {
                [argument.value, argument.value_two, argument.value.wrapping_add(1), argument.value.wrapping_sub(1)]
            })
            .collect();
        let mut all = vec![random];
        // Each value in each place where a rule looks, the other places as they are.
        for value in values {
            for index in 0..3 {
                let mut arguments = random;
                arguments[index] = value;
                all.push(arguments);
                all.push([value; 6]);
            }
        }
        for (call, number) in CALLS {
            for arguments in &all {
                prop_assert_eq!(
                    interpret(&program, X86_64, number, *arguments),
                    expected(&filter, call, arguments),
                    "{} {:x?}",
                    call,
                    arguments
                );
            }
        }
    }
}
