//! The differential table: one line a case, each run with both runtimes, whose exit code and output have to be the same, and
//! those that are written here.

use crate::host::{Called, Host, RUNTIMES};

/// What the program prints on standard output.
enum Out {
    /// This.
    Is(&'static str),
    /// Something with this in it.
    Has(&'static str),
    /// The same from both runtimes.
    Same,
    /// Something of the container's own, like its id.
    Any,
}
use Out::{Any, Has, Is, Same};

struct Case {
    name: &'static str,
    /// Flags of `run`, separated by blanks; `@x` is the path `x` of the test's directory.
    flags: &'static str,
    command: &'static [&'static str],
    code: i32,
    out: Out,
}

const fn case(
    name: &'static str,
    flags: &'static str,
    command: &'static [&'static str],
    code: i32,
    out: Out,
) -> Case {
    Case { name, flags, command, code, out }
}

/// A shell line.
const fn shell(
    name: &'static str,
    flags: &'static str,
    line: &'static [&'static str; 3],
    code: i32,
    out: Out,
) -> Case {
    Case { name, flags, command: line, code, out }
}

const CASES: &[Case] = &[
    // Exit codes.
    case("success", "", &["true"], 0, Is("")),
    case("failure", "", &["false"], 1, Is("")),
    shell("own code", "", &["sh", "-c", "exit 7"], 7, Is("")),
    shell("largest code", "", &["sh", "-c", "exit 255"], 255, Is("")),
    shell("killed child", "", &["sh", "-c", "sh -c 'kill -9 $$'; echo $?"], 0, Is("137\n")),
    shell("crashed child", "", &["sh", "-c", "sh -c 'kill -SEGV $$'; echo $?"], 0, Is("139\n")),
    // What cannot be executed.
    case("missing in PATH", "", &["nope"], 127, Is("")),
    case("missing by path", "", &["/bin/nope"], 127, Is("")),
    case("missing directory", "", &["/nope/nope"], 127, Is("")),
    case("not executable", "", &["/bin/plain"], 126, Is("")),
    case("a directory", "", &["/etc"], 126, Is("")),
    case("a script", "", &["script", "a", "b c"], 0, Is("script a b c\n")),
    case("a script by path", "", &["/bin/script", "x"], 0, Is("script x\n")),
    case("root's own script as root", "", &["private"], 0, Is("private\n")),
    case("root's own script as another", "-u anna", &["/bin/private"], 126, Is("")),
    // The image's configuration, and what replaces it.
    case("command of the image", "", &[], 0, Is("hello from the image\n")),
    case("entrypoint replaces the command", "--entrypoint echo", &[], 0, Is("\n")),
    case("entrypoint with arguments", "--entrypoint echo", &["a", "b"], 0, Is("a b\n")),
    case("entrypoint as a list", "--entrypoint [\"echo\",\"x\"]", &["y"], 0, Is("x y\n")),
    shell("environment of the image", "", &["sh", "-c", "echo $FROM_IMAGE $SECOND"], 0, Is("yes 2\n")),
    shell("a variable", "-e A=1", &["sh", "-c", "echo $A"], 0, Is("1\n")),
    shell("a variable over the image's", "-e SECOND=3", &["sh", "-c", "echo $SECOND"], 0, Is("3\n")),
    shell("an empty variable", "-e A=", &["sh", "-c", "echo \"<${A-unset}>\""], 0, Is("<>\n")),
    shell(
        "a file of variables",
        "--env-file @vars -e C=c",
        &["sh", "-c", "echo $A-$B-$C"],
        0,
        Is("a-b b-c\n"),
    ),
    shell("HOME of root", "", &["sh", "-c", "echo $HOME"], 0, Is("/root\n")),
    shell("HOME of a user", "-u anna", &["sh", "-c", "echo $HOME"], 0, Is("/home/anna\n")),
    shell("HOME of nobody known", "-u 4242", &["sh", "-c", "echo $HOME"], 0, Is("/\n")),
    shell("nothing of the host's environment", "--hostname h", &["sh", "-c", "env | sort"], 0, Same),
    // Where.
    case("working directory of the image", "", &["pwd"], 0, Is("/srv\n")),
    case("another working directory", "-w /tmp", &["pwd"], 0, Is("/tmp\n")),
    case("a new working directory", "-w /made/for/this", &["pwd"], 0, Is("/made/for/this\n")),
    case("a relative working directory", "-w tmp", &["pwd"], 125, Is("")),
    case("a working directory through a link", "-w /absolute", &["ls"], 0, Is("inside\n")),
    // Who.
    case("root", "", &["id"], 0, Is("uid=0(root) gid=0(root)\n")),
    case(
        "a user by name",
        "-u anna",
        &["id"],
        0,
        Is("uid=1001(anna) gid=1002(staff) groups=29(audio),44(video)\n"),
    ),
    case(
        "a user by number",
        "-u 1001",
        &["id"],
        0,
        Is("uid=1001(anna) gid=1002(staff) groups=29(audio),44(video)\n"),
    ),
    case("user and group by name", "-u anna:video", &["id"], 0, Is("uid=1001(anna) gid=44(video)\n")),
    case("unknown numbers", "-u 4242:4343", &["id"], 0, Is("uid=4242 gid=4343\n")),
    case("an unknown number without a group", "-u 4242", &["id"], 0, Is("uid=4242 gid=0(root)\n")),
    case("a group alone", "-u :audio", &["id"], 0, Is("uid=0(root) gid=29(audio)\n")),
    case("an unknown user", "-u nobody-here", &["id"], 125, Is("")),
    case("an unknown group", "-u anna:none-such", &["id"], 125, Is("")),
    // Capabilities, seccomp, privileges.
    case("capabilities", "", &["grep", "Cap", "/proc/self/status"], 0, Has("CapEff:\t00000000800405fb")),
    case(
        "capabilities of a user",
        "-u anna",
        &["grep", "Cap", "/proc/self/status"],
        0,
        Has("CapEff:\t0000000000000000"),
    ),
    case(
        "no capabilities",
        "--cap-drop ALL",
        &["grep", "Cap", "/proc/self/status"],
        0,
        Has("CapBnd:\t0000000000000000"),
    ),
    case("one fewer", "--cap-drop chown", &["chown", "anna", "/etc/motd"], 1, Is("")),
    case(
        "one more",
        "--cap-add NET_ADMIN",
        &["grep", "Cap", "/proc/self/status"],
        0,
        Has("CapEff:\t00000000800415fb"),
    ),
    case(
        "only one",
        "--cap-drop ALL --cap-add CAP_KILL",
        &["grep", "CapEff", "/proc/self/status"],
        0,
        Is("CapEff:\t0000000000000020\n"),
    ),
    case(
        "one for a user",
        "-u anna --cap-add net_bind_service",
        &["grep", "Cap", "/proc/self/status"],
        0,
        Has("CapAmb:\t0000000000000400"),
    ),
    case("an unknown capability", "--cap-add FLY", &["true"], 125, Is("")),
    case("a filter", "", &["grep", "Seccomp", "/proc/self/status"], 0, Has("Seccomp:\t2")),
    case(
        "no filter",
        "--security-opt seccomp=unconfined",
        &["grep", "Seccomp:", "/proc/self/status"],
        0,
        Is("Seccomp:\t0\n"),
    ),
    case("the filter forbids", "", &["unshare", "-m", "true"], 1, Is("")),
    case(
        "the filter allows with the capability",
        "--cap-add SYS_ADMIN",
        &["unshare", "-m", "true"],
        0,
        Is(""),
    ),
    shell(
        "a profile of one's own",
        "--security-opt seccomp=@profile.json",
        &["sh", "-c", "mkdir /x; echo $?; uname"],
        0,
        Is("1\nLinux\n"),
    ),
    shell(
        "a profile by arguments",
        "--security-opt seccomp=@arguments.json",
        &["sh", "-c", "kill -0 1; echo $?; kill -USR1 $$ 2>&1; echo still"],
        0,
        Same,
    ),
    shell(
        "a profile for a user",
        "-u anna --security-opt seccomp=@profile.json",
        &["sh", "-c", "mkdir /tmp/x; echo $?; grep Seccomp: /proc/self/status"],
        0,
        Is("1\nSeccomp:\t2\n"),
    ),
    case("a broken profile", "--security-opt seccomp=@vars", &["true"], 125, Is("")),
    case("new privileges", "", &["grep", "NoNewPrivs", "/proc/self/status"], 0, Is("NoNewPrivs:\t0\n")),
    case(
        "no new privileges",
        "--security-opt no-new-privileges",
        &["grep", "-E", "NoNewPrivs|Seccomp:", "/proc/self/status"],
        0,
        Is("NoNewPrivs:\t1\nSeccomp:\t2\n"),
    ),
    // The file system.
    shell(
        "writing",
        "",
        &["sh", "-c", "echo x > /new && cat /new && rm /etc/motd && ls /etc/motd"],
        1,
        Is("x\n"),
    ),
    shell(
        "a read-only root",
        "--read-only",
        &["sh", "-c", "touch /new || touch /tmp/x && echo fine"],
        0,
        Is("fine\n"),
    ),
    shell(
        "a volume of the image stays writable",
        "--read-only",
        &["sh", "-c", "echo more > /data/new && cat /data/inside /data/new"],
        0,
        Is("of the image\nmore\n"),
    ),
    shell(
        "a tmpfs",
        "--tmpfs /fresh:size=1m,mode=700",
        &["sh", "-c", "stat -c %a /fresh; df -k /fresh | tail -n 1 | tr -s ' ' | cut -d' ' -f2"],
        0,
        Is("700\n1024\n"),
    ),
    shell(
        "a directory of the host",
        "-v @shared:/mnt",
        &["sh", "-c", "cat /mnt/file; echo x > /mnt/from-inside"],
        0,
        Is("shared\n"),
    ),
    shell(
        "the same read-only",
        "-v @shared:/mnt:ro",
        &["sh", "-c", "cat /mnt/file; echo x > /mnt/no"],
        1,
        Is("shared\n"),
    ),
    case("a file of the host", "-v @shared/file:/etc/motd", &["cat", "/etc/motd"], 0, Is("shared\n")),
    case(
        "a mount point that is missing",
        "-v @shared:/not/there/yet",
        &["cat", "/not/there/yet/file"],
        0,
        Is("shared\n"),
    ),
    case(
        "a mount point through a link",
        "-v @shared:/absolute/mnt",
        &["cat", "/data/mnt/file"],
        0,
        Is("shared\n"),
    ),
    case("a source that is missing", "-v @nothing:/mnt", &["true"], 125, Is("")),
    case("an option that does not exist", "-v @shared:/mnt:fast", &["true"], 125, Is("")),
    shell(
        "a mount that may not execute",
        "-v @shared:/mnt:noexec",
        &["sh", "-c", "/mnt/program; echo $?"],
        0,
        Is("126\n"),
    ),
    case(
        "mount points of the system",
        "",
        &["sh", "-c", "mount | cut -d' ' -f3,5 | grep -E '^/(proc|dev|sys)' | sort"],
        0,
        Same,
    ),
    case("devices", "", &["ls", "/dev"], 0, Same),
    shell(
        "a device that nobody may make",
        "--cap-add MKNOD",
        &["sh", "-c", "mknod /dev/kmsg2 c 1 11 && head -c 1 /dev/kmsg2 2>&1 | grep -c permitted"],
        0,
        Is("1\n"),
    ),
    case(
        "masked",
        "",
        &["sh", "-c", "cat /proc/keys /proc/timer_list | wc -c; ls /proc/acpi /sys/firmware"],
        0,
        Is("0\n/proc/acpi:\n\n/sys/firmware:\n"),
    ),
    shell("settings of the kernel", "", &["sh", "-c", "echo 1 > /proc/sys/kernel/panic"], 1, Is("")),
    shell("sysfs", "", &["sh", "-c", "mkdir /sys/x; echo $?"], 0, Is("1\n")),
    // Namespaces and network.
    shell("the first process", "", &["sh", "-c", "echo $$"], 0, Is("1\n")),
    shell("no processes of others", "", &["sh", "-c", "set -- /proc/[0-9]*; echo $#"], 0, Is("1\n")),
    case(
        "a host name",
        "--hostname web.example",
        &["sh", "-c", "hostname; cat /etc/hostname"],
        0,
        Is("web.example\nweb.example\n"),
    ),
    case("a host name of its own", "", &["hostname"], 0, Any),
    case("a host name that is none", "--hostname a/b", &["hostname"], 125, Is("")),
    case("no network", "", &["ls", "/sys/class/net"], 0, Is("lo\n")),
    case("the host's network", "--network host", &["cut", "-d:", "-f1", "/proc/net/dev"], 0, Same),
    case("a network that does not exist", "--network mars", &["true"], 125, Is("")),
    case(
        "hosts",
        "--hostname h --name fixed",
        &["grep", "fixed", "/etc/hosts"],
        0,
        Is("127.0.1.1\th fixed\n"),
    ),
    shell("control groups of its own", "", &["sh", "-c", "cut -d: -f3 /proc/self/cgroup | sort -u"], 0, Same),
    // Limits.
    shell(
        "memory",
        "--memory 24m",
        &["sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=60 2>/dev/null; echo $?"],
        0,
        Is("137\n"),
    ),
    case(
        "enough memory",
        "--memory 200m",
        &["dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=8"],
        0,
        Is(""),
    ),
    case("memory that is no size", "--memory lots", &["true"], 125, Is("")),
    shell(
        "processes",
        "--pids-limit 4",
        &["sh", "-c", "for i in 1 2 3 4 5 6; do sleep 0.2 & done 2>&1; wait"],
        2,
        Has("can't fork"),
    ),
    case("processors", "--cpus 0.5", &["true"], 0, Is("")),
    case("open files", "", &["sh", "-c", "ulimit -n; ulimit -Hn"], 0, Same),
    // Streams.
    shell("standard error", "", &["sh", "-c", "echo out; echo err >&2"], 0, Is("out\n")),
    shell(
        "much output",
        "",
        &["sh", "-c", "dd if=/dev/zero bs=64k count=128 2>/dev/null | tr '\\0' x"],
        0,
        Same,
    ),
    case("many lines", "", &["seq", "1", "30000"], 0, Same),
    shell(
        "bytes that are no text",
        "",
        &["sh", "-c", "printf '\\377\\000\\303'; printf '\\303\\244\\n'"],
        0,
        Same,
    ),
    case("no standard input", "", &["cat"], 0, Is("")),
    case("no terminal", "", &["test", "-t", "1"], 1, Is("")),
    case("a terminal", "-t", &["test", "-t", "1"], 0, Is("")),
    shell("output of a terminal", "-t", &["sh", "-c", "echo out; echo err >&2"], 0, Is("out\r\nerr\r\n")),
    shell("a controlling terminal", "-t", &["sh", "-c", "echo found > /dev/tty"], 0, Is("found\r\n")),
    shell(
        "output by name as a user",
        "-u anna",
        &["sh", "-c", "echo x > /dev/stdout; echo y > /dev/stderr"],
        0,
        Is("x\n"),
    ),
    shell(
        "a pipe that breaks",
        "",
        &["sh", "-c", "yes | head -n 1; grep -E 'Sig(Blk|Cgt)' /proc/self/status"],
        0,
        Is("y\nSigBlk:\t0000000000000000\nSigCgt:\t0000000000000000\n"),
    ),
    shell("descriptors", "", &["sh", "-c", "ls /proc/self/fd | wc -l"], 0, Is("4\n")),
    shell("the mask of new files", "", &["sh", "-c", "umask"], 0, Is("0022\n")),
];

fn run(host: &Host, runtime: &str, case: &Case) -> Called {
    let shared = host.path("");
    let words: Vec<String> = case
        .flags
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(|word| word.replace('@', shared.to_str().expect("a path of text")))
        .collect();
    let mut args = vec!["run", "--rm", "--runtime", runtime];
    args.extend(words.iter().map(String::as_str));
    args.push("box");
    args.extend(case.command);
    host.call(&args)
}

fn prepare(host: &Host) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir(host.path("shared")).unwrap();
    std::fs::write(host.path("shared/file"), "shared\n").unwrap();
    std::fs::write(host.path("shared/program"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(host.path("shared/program"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(host.path("vars"), "# comment\nA=a\n\nB=b b\nC=x\n").unwrap();
    let deny = |rule: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#);
    let mkdir = r#"{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}"#;
    std::fs::write(host.path("profile.json"), deny(mkdir)).unwrap();
    let kill = r#"{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 3,
        "args": [{"index": 1, "value": 0, "op": "SCMP_CMP_GT"}, {"index": 0, "value": 0, "op": "SCMP_CMP_NE"}]}"#;
    std::fs::write(host.path("arguments.json"), deny(kill)).unwrap();
}

#[test]
fn every_case_is_the_same_with_the_built_in_runtime_and_with_runc() {
    let Some(host) = Host::new("every_case_is_the_same_with_the_built_in_runtime_and_with_runc") else {
        return;
    };
    prepare(&host);
    let mut wrong = Vec::new();
    for case in CASES {
        let [ours, theirs] = RUNTIMES.map(|runtime| run(&host, runtime, case));
        for (runtime, called) in RUNTIMES.iter().zip([&ours, &theirs]) {
            let text = called.text();
            let fits = match case.out {
                Is(expected) => text == expected,
                Has(part) => text.contains(part),
                Same | Any => true,
            };
            if called.code != case.code || !fits {
                let shown: String = text.chars().take(300).collect();
                wrong.push(format!(
                    "{} ({runtime}): {} {shown:?} {:?}",
                    case.name, called.code, called.stderr
                ));
            }
        }
        if !matches!(case.out, Any) && ours.stdout != theirs.stdout {
            let shown = |called: &Called| called.text().chars().take(500).collect::<String>();
            wrong.push(format!(
                "{}: differs\n  youki {:?}\n  runc  {:?}",
                case.name,
                shown(&ours),
                shown(&theirs)
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    // What was written by cases went to the host where it should, and nowhere else.
    assert_eq!(std::fs::read_to_string(host.path("shared/from-inside")).unwrap(), "x\n");
    assert!(!host.path("shared/no").exists());
    assert!(host.ids().is_empty(), "--rm has left containers");
    host.assert_clean();
    assert_eq!(host.call(&["verify"]).code, 0);
}

#[test]
fn a_file_that_the_kernel_cannot_execute_is_126_and_is_given_to_no_shell() {
    let Some(host) = Host::new("a_file_that_the_kernel_cannot_execute_is_126_and_is_given_to_no_shell")
    else {
        return;
    };
    for program in ["broken", "/bin/broken", "/bin/shell-less"] {
        let called = host.call(&["run", "--rm", "box", program]);
        assert_eq!((called.code, called.text().as_str()), (126, ""), "{program}: {}", called.stderr);
        assert!(called.stderr.contains("exec format error"), "{}", called.stderr);
    }
    // The interpreter of a script is what is missing, and runc only finds that out when it is too late to tell.
    assert_eq!(host.call(&["run", "--rm", "box", "/bin/lost"]).code, 127);
    host.assert_clean();
}
