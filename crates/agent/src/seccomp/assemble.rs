//! Classic BPF: instructions with names for places, made into the kernel's numbers.
//!
//! A filter reads `struct seccomp_data` (`include/uapi/linux/seccomp.h`), 64 bytes:
//!
//! | offset | size | what |
//! | --- | --- | --- |
//! | 0 | 4 | number of the system call |
//! | 4 | 4 | architecture (`AUDIT_ARCH_*`) |
//! | 8 | 8 | instruction pointer |
//! | 16 | 6 x 8 | arguments |

use super::Error;

/// An instruction (`struct sock_filter`, `include/uapi/linux/filter.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions are passed over when a comparison holds.
    pub jt: u8,
    /// And when it does not.
    pub jf: u8,
    /// Its operand.
    pub k: u32,
}

/// A filter, ready for the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The instructions.
    pub instructions: Vec<Instruction>,
    /// Flags of `seccomp(SECCOMP_SET_MODE_FILTER)`.
    pub flags: u32,
}

/// The most instructions of a filter (`BPF_MAXINSNS`).
const MAX_INSTRUCTIONS: usize = 4096;

/// `BPF_LD | BPF_W | BPF_ABS`.
pub(super) const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`.
const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`.
const JUMP: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const JUMP_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`.
const JUMP_GREATER: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`.
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;

/// A comparison of the accumulator with a constant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
}

/// A place in the program that is yet to come: jumps only go forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

#[derive(Debug)]
enum Step {
    Plain(Instruction),
    /// To the label when the comparison comes out as `when`, else on.
    Branch {
        test: Test,
        value: u32,
        when: bool,
        to: Label,
    },
    Jump(Label),
}

/// A program that is being written.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    steps: Vec<Step>,
    /// Where each label is, in steps.
    labels: Vec<usize>,
}

impl Assembler {
    /// A label that is not placed yet.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(usize::MAX);
        Label(self.labels.len() - 1)
    }

    /// Places a label here.
    pub(super) fn place(&mut self, label: Label) {
        self.labels[label.0] = self.steps.len();
    }

    /// Loads 4 bytes of the call's data.
    pub(super) fn load(&mut self, offset: u32) {
        self.plain(LOAD, offset);
    }

    pub(super) fn and(&mut self, mask: u32) {
        self.plain(AND, mask);
    }

    pub(super) fn give(&mut self, value: u32) {
        self.plain(RETURN, value);
    }

    pub(super) fn jump(&mut self, to: Label) {
        self.steps.push(Step::Jump(to));
    }

    /// Goes to `to` when the comparison comes out as `when`.
    pub(super) fn branch(&mut self, test: Test, value: u32, when: bool, to: Label) {
        self.steps.push(Step::Branch { test, value, when, to });
    }

    fn plain(&mut self, code: u16, k: u32) {
        self.steps.push(Step::Plain(Instruction { code, jt: 0, jf: 0, k }));
    }

    /// Replaces names by distances. A conditional jump reaches 255 instructions; one that goes further becomes two.
    pub(super) fn finish(self) -> Result<Vec<Instruction>, Error> {
        // How many instructions each step takes. A long branch never becomes short again, so this ends.
        let mut sizes = vec![1_usize; self.steps.len()];
        loop {
            let mut starts = vec![0];
            for size in &sizes {
                starts.push(starts.last().unwrap_or(&0) + size);
            }
            let mut grown = false;
            for (at, step) in self.steps.iter().enumerate() {
                if let Step::Branch { to, .. } = step
                    && sizes[at] == 1
                    && starts[self.labels[to.0]] - (starts[at] + 1) > usize::from(u8::MAX)
                {
                    sizes[at] = 2;
                    grown = true;
                }
            }
            if !grown {
                return self.emit(&sizes, &starts);
            }
        }
    }

    fn emit(&self, sizes: &[usize], starts: &[usize]) -> Result<Vec<Instruction>, Error> {
        let mut out = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            let distance = |to: &Label| starts[self.labels[to.0]] - (starts[at] + sizes[at]);
            match step {
                Step::Plain(instruction) => out.push(*instruction),
                Step::Jump(to) => {
                    let k = u32::try_from(distance(to)).unwrap_or(u32::MAX);
                    out.push(Instruction { code: JUMP, jt: 0, jf: 0, k });
                }
                Step::Branch { test, value, when, to } => {
                    let code = match test {
                        Test::Equal => JUMP_EQUAL,
                        Test::Greater => JUMP_GREATER,
                        Test::GreaterOrEqual => JUMP_GREATER_OR_EQUAL,
                    };
                    let distance = distance(to);
                    let near = u8::try_from(distance).ok().filter(|_| sizes[at] == 1);
                    // A far one passes over a plain jump when it is not taken.
                    let (taken, not_taken) = match near {
                        Some(near) => (near, 0),
                        None => (0, 1),
                    };
                    let (jt, jf) = if *when { (taken, not_taken) } else { (not_taken, taken) };
                    out.push(Instruction { code, jt, jf, k: *value });
                    if near.is_none() {
                        let k = u32::try_from(distance).unwrap_or(u32::MAX);
                        out.push(Instruction { code: JUMP, jt: 0, jf: 0, k });
                    }
                }
            }
        }
        if out.len() > MAX_INSTRUCTIONS {
            return Err(Error::TooLong { found: out.len(), limit: MAX_INSTRUCTIONS });
        }
        Ok(out)
    }
}
