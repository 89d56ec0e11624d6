//! `run`, `create`, `start` and `exec`.

use std::path::{Path, PathBuf};

use layerstone_agent::options::{
    Limits, Network, RestartPolicy, RunOptions, RuntimeChoice, Seccomp, Volume, parse_bytes,
};
use layerstone_agent::{Agent, Attached, Client, Container, Ended, ExecOptions, Signals, env, seccomp};
use serde::Serialize;

use super::super::flags;
use crate::args::container::{Create, Exec, Run, Start};
use crate::cmd::App;
use crate::error::{Error, IoContext as _, Result};

pub(super) fn run(app: &App, args: &Run) -> Result<u8> {
    let agent = super::agent(app)?;
    let create = &args.create;
    let options = options(create)?;
    app.detail(format_args!("runtime: {}", options.runtime));
    let image = agent.store().image(&create.image, create.platform.as_ref())?;
    let signals = if args.detach { None } else { Some(Signals::take()?) };
    let container = agent.create(&image, &options)?;
    let Some(signals) = signals else {
        agent.start(&container, false)?;
        print_id(app, &container)?;
        return Ok(0);
    };
    start_attached(&agent, &container, create.interactive, &signals)
}

pub(super) fn create(app: &App, args: &Create) -> Result<u8> {
    let agent = super::agent(app)?;
    let options = options(args)?;
    let image = agent.store().image(&args.image, args.platform.as_ref())?;
    let container = agent.create(&image, &options)?;
    agent.keep(&container)?;
    print_id(app, &container)?;
    Ok(0)
}

pub(super) fn start(app: &App, args: &Start) -> Result<u8> {
    if !args.attach && !args.interactive {
        super::manage::start(app, &args.containers)?;
        return Ok(0);
    }
    let [name] = args.containers.as_slice() else {
        return Err(Error::Usage("only one container can be started with -a or -i".to_owned()));
    };
    let agent = super::agent(app)?;
    let container = agent.find(name)?;
    let signals = Signals::take()?;
    start_attached(&agent, &container, args.interactive, &signals)
}

fn print_id(app: &App, container: &Container) -> Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        id: &'a str,
        name: &'a str,
    }
    let config = container.config();
    app.print(&Row { id: &config.id, name: &config.name }, |out| writeln!(out, "{}", config.id))
}

fn start_attached(agent: &Agent, container: &Container, interactive: bool, signals: &Signals) -> Result<u8> {
    let client = agent.start(container, true)?;
    let config = container.config();
    let ended = attached(client, Attached { interactive, tty: config.tty }, signals);
    if ended.is_err() {
        // If its shim has died, what that has left is put in order now.
        let _ = agent.find(&config.id);
    }
    ended
}

pub(super) fn exec(app: &App, args: &Exec) -> Result<u8> {
    let agent = super::agent(app)?;
    let container = agent.find(&args.container)?;
    let options = ExecOptions {
        command: args.command.clone(),
        env: env::of_flags(&args.env, own_variable)?,
        workdir: args.workdir.clone(),
        user: args.user.clone(),
        tty: args.tty,
        interactive: args.interactive && !args.detach,
    };
    if args.detach {
        agent.exec(&container, &options, false)?;
        return Ok(0);
    }
    let signals = Signals::take()?;
    let client = agent.exec(&container, &options, true)?;
    attached(client, Attached { interactive: args.interactive, tty: args.tty }, &signals)
}

fn attached(client: Client, attached: Attached, signals: &Signals) -> Result<u8> {
    Ok(match client.attach(attached, signals)? {
        Ended::Exit(exit) => exit.code,
        Ended::Detached => 0,
    })
}

fn own_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn options(args: &Create) -> Result<RunOptions> {
    let mut variables = Vec::new();
    for path in &args.env_file {
        let text = std::fs::read_to_string(path).doing("read", path)?;
        variables.extend(env::of_file(&text, own_variable)?);
    }
    variables.extend(env::of_flags(&args.env, own_variable)?);
    let here = std::env::current_dir().doing("find", ".")?;
    let mut volumes = Vec::new();
    for text in &args.volume {
        volumes.push(Volume::parse_bind(text, &here)?);
    }
    for text in &args.tmpfs {
        volumes.push(Volume::parse_tmpfs(text)?);
    }
    let mut destinations: Vec<&str> = volumes.iter().map(|volume| volume.destination.as_str()).collect();
    destinations.sort_unstable();
    if let Some(twice) = destinations.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::Usage(format!("two volumes are to be at `{}`", twice[0])));
    }
    if args.cpus.is_some_and(|cpus| !cpus.is_finite() || cpus <= 0.0) {
        return Err(Error::Usage("--cpus takes a number above 0".to_owned()));
    }
    let (seccomp, no_new_privileges) = security(&args.security_opt)?;
    Ok(RunOptions {
        name: args.name.clone(),
        auto_remove: args.rm,
        interactive: args.interactive,
        tty: args.tty,
        env: variables,
        workdir: args.workdir.clone(),
        user: args.user.clone(),
        entrypoint: args.entrypoint.as_deref().map(flags::entrypoint),
        command: args.command.clone(),
        volumes,
        read_only: args.read_only,
        limits: Limits {
            memory: args.memory.as_deref().map(parse_bytes).transpose()?,
            cpus: args.cpus,
            pids: args.pids_limit,
        },
        cap_add: args.cap_add.clone(),
        cap_drop: args.cap_drop.clone(),
        seccomp,
        no_new_privileges,
        network: Network::parse(&args.network)?,
        hostname: args.hostname.clone(),
        stop_signal: args.stop_signal.clone(),
        stop_timeout: args.stop_timeout,
        runtime: runtime(&args.runtime)?,
        restart: RestartPolicy::parse(&args.restart)?,
        health: flags::health(&args.health)?,
        init: args.init,
        labels: args.label.iter().map(|text| flags::label(text)).collect(),
    })
}

fn security(options: &[String]) -> Result<(Seccomp, bool)> {
    let mut seccomp = Seccomp::Default;
    let mut no_new_privileges = false;
    for option in options {
        match option.split_once(['=', ':']) {
            None if option == "no-new-privileges" => no_new_privileges = true,
            Some(("no-new-privileges", "true")) => no_new_privileges = true,
            Some(("no-new-privileges", "false")) => no_new_privileges = false,
            Some(("seccomp", "unconfined")) => seccomp = Seccomp::Unconfined,
            Some(("seccomp", path)) => seccomp = Seccomp::Profile(profile(Path::new(path))?),
            _ => {
                return Err(Error::Usage(format!(
                    "`{option}` is not supported: --security-opt takes seccomp=unconfined, seccomp=FILE and no-new-privileges"
                )));
            }
        }
    }
    Ok((seccomp, no_new_privileges))
}

fn profile(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).doing("look at", path)?.len();
    if size > seccomp::MAX_PROFILE {
        return Err(Error::Usage(format!("`{}` is too large for a seccomp profile", path.display())));
    }
    std::fs::read_to_string(path).doing("read", path)
}

/// The built-in runtime, a program of `PATH`, or the path of one.
fn runtime(text: &str) -> Result<RuntimeChoice> {
    if text == "youki" {
        return Ok(RuntimeChoice::Youki);
    }
    if text == "hcs" {
        return Err(layerstone_agent::Error::Unsupported {
            doing: "run containers with the Host Compute Service",
            missing: "it is a part of Windows; here the runtime is youki, runc or crun".to_owned(),
        }
        .into());
    }
    let candidates: Vec<PathBuf> = if text.contains('/') {
        vec![text.into()]
    } else {
        // Administrators' programs are not in everybody's PATH.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories = std::env::split_paths(&path).chain(["/usr/local/sbin".into(), "/usr/sbin".into()]);
        directories.map(|directory| directory.join(text)).collect()
    };
    let found = candidates.into_iter().find(|path| path.is_file());
    let found = found.ok_or_else(|| {
        Error::Usage(format!("there is no runtime `{text}`: it is in no directory of PATH"))
    })?;
    Ok(RuntimeChoice::Program(found.canonicalize().doing("find", &found)?))
}
