//! The verbs of containers. Flags mean what they mean to podman.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use layerstone_oci::Platform;

#[derive(Debug, Subcommand)]
pub(crate) enum ContainerVerb {
    /// Run a program in a new container
    Run(Box<Run>),
    /// Make a container without starting it, and print its id
    Create(Box<Create>),
    /// Start containers that were made, or have stopped
    Start(Start),
    /// Stop containers and start them again
    Restart(Stop),
    /// Check the health of a container now: 0 when it is well, else 1
    Healthcheck(Healthcheck),
    /// List the containers that run
    Ps(Ps),
    /// Show what a container has printed
    Logs(Logs),
    /// Run another program in a container
    Exec(Exec),
    /// Wait until containers have ended, and print their exit codes
    Wait(Names),
    /// Ask containers to stop, and kill those that do not
    Stop(Stop),
    /// Send a signal to containers
    Kill(Kill),
    /// Freeze all processes of containers
    Pause(Names),
    /// Let frozen containers go on
    Unpause(Names),
    /// Show what containers use
    Stats(Stats),
    /// Remove containers, and what was written in them
    Rm(Rm),
    /// Keep the containers of a file in their wanted state, and serve an HTTP API over a socket
    Agent(Agent),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Print the container's id and leave it running
    #[arg(short, long)]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) create: Create,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What to call it [default: made up]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Remove it when its program has ended
    #[arg(long)]
    pub(crate) rm: bool,
    /// Pass standard input on
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give it a terminal; ctrl-p ctrl-q lets go of it
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Set a variable: NAME=VALUE, or NAME for this process's own
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Set the variables in a file, one a line
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Where its program starts; made if it is missing
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Who it runs as: user[:group], names or numbers of the image
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Run this instead of the image's entrypoint: a program, or a JSON list
    #[arg(long, value_name = "COMMAND")]
    pub(crate) entrypoint: Option<String>,
    /// Show a file or directory of the host: SOURCE:DESTINATION[:ro,nosuid,nodev,noexec,...]
    #[arg(short, long, value_name = "SOURCE:DESTINATION")]
    pub(crate) volume: Vec<String>,
    /// Mount a tmpfs: DESTINATION[:size=64m,mode=1777,...]
    #[arg(long, value_name = "DESTINATION")]
    pub(crate) tmpfs: Vec<String>,
    /// Let nothing be written but to volumes, tmpfs, /run, /tmp and /var/tmp
    #[arg(long)]
    pub(crate) read_only: bool,
    /// The most memory: 512m, 2g
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// The most processors: 1.5
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<f64>,
    /// The most processes, -1 for no limit [default: 2048]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Give it a capability, or ALL
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    pub(crate) cap_drop: Vec<String>,
    /// seccomp=unconfined, seccomp=PROFILE.json, no-new-privileges
    #[arg(long, value_name = "OPTION")]
    pub(crate) security_opt: Vec<String>,
    /// none, host, or ns:PATH of a network namespace
    #[arg(long, default_value = "none")]
    pub(crate) network: String,
    /// Its host name [default: the beginning of its id]
    #[arg(long)]
    pub(crate) hostname: Option<String>,
    /// The signal that asks it to stop [default: the image's, else TERM]
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// How many seconds it has to stop then [default: 10]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) stop_timeout: Option<u32>,
    /// Start it again when its program has ended: no, on-failure[:TIMES], always
    #[arg(long, value_name = "POLICY", default_value = "no")]
    pub(crate) restart: String,
    /// Let its first process only reap and pass signals on; the program is the second
    #[arg(long)]
    pub(crate) init: bool,
    /// Note something about it
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<String>,
    #[command(flatten)]
    pub(crate) health: Health,
    /// What makes the container: youki (built in), or runc, crun, or the path of a program like them; on Windows hcs
    #[arg(long, value_name = "RUNTIME", default_value = if cfg!(windows) { "hcs" } else { "youki" })]
    pub(crate) runtime: String,
    /// Which platform, where the image's name stands for several
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    /// The image
    pub(crate) image: String,
    /// The program and its arguments [default: the image's]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// Flags about a container's health.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Check its health with this: a line for its shell, a JSON list, or none [default: the image's]
    #[arg(long, value_name = "COMMAND")]
    pub(crate) health_cmd: Option<String>,
    /// How long from one check to the next, or disable [default: the image's, else 30s]
    #[arg(long, value_name = "TIME")]
    pub(crate) health_interval: Option<String>,
    /// How long one may take [default: the image's, else 30s]
    #[arg(long, value_name = "TIME")]
    pub(crate) health_timeout: Option<String>,
    /// How many in a row have to fail [default: the image's, else 3]
    #[arg(long, value_name = "N")]
    pub(crate) health_retries: Option<u32>,
    /// How long after the start failures do not count [default: the image's, else 0s]
    #[arg(long, value_name = "TIME")]
    pub(crate) health_start_period: Option<String>,
    /// What happens when it is unhealthy: none, kill, restart, stop
    #[arg(long, value_name = "ACTION", default_value = "none")]
    pub(crate) health_on_failure: String,
    /// Do not check its health, whatever the image says
    #[arg(long, conflicts_with = "health_cmd")]
    pub(crate) no_healthcheck: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Show what it prints, and pass signals on, until it has ended
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Pass standard input on, if the container takes any
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Which
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Healthcheck {
    /// The container
    pub(crate) container: String,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Print nothing and leave it running
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Pass standard input on
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Set a variable: NAME=VALUE, or NAME for this process's own
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Where it starts [default: where the container's program did]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Who it runs as [default: the container's user]
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// The container
    pub(crate) container: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Those that have stopped, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only those with it: label=NAME[=VALUE], name=PART, status=STATE, health=STATE
    #[arg(short, long, value_name = "CONDITION")]
    pub(crate) filter: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on until it has ended
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only what is newer: RFC 3339, seconds since 1970, or a duration like 10m
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) tail: Option<usize>,
    /// Put the time in front of each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// The container
    pub(crate) container: String,
}

#[derive(Debug, Args)]
pub(crate) struct Names {
    /// Which
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// How many seconds they have [default: their own]
    #[arg(short, long, value_name = "SECONDS")]
    pub(crate) time: Option<u32>,
    /// Which
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Which signal
    #[arg(short, long, default_value = "KILL")]
    pub(crate) signal: String,
    /// Which
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Print once, and not again and again
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value = "5")]
    pub(crate) interval: u32,
    /// Which [default: all that run]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Kill them first, if they run
    #[arg(short, long)]
    pub(crate) force: bool,
    /// All of them
    #[arg(short, long, conflicts_with = "containers")]
    pub(crate) all: bool,
    /// Which
    #[arg(required_unless_present = "all")]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// The file of wanted containers; without one there is only the API
    #[arg(long, value_name = "FILE")]
    pub(crate) spec: Option<PathBuf>,
    /// Where to serve the API [default: agent.sock in the runtime directory]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Check the file, print what would be done, and do nothing
    #[arg(long)]
    pub(crate) check: bool,
    /// Stop the file's containers when asked to end; they go on otherwise
    #[arg(long)]
    pub(crate) stop_on_exit: bool,
}
