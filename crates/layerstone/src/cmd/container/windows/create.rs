//! `run`.

use layerstone_agent::options::{
    Limits, Network, RestartPolicy, RunOptions, RuntimeChoice, Seccomp, Volume, parse_bytes,
};
use layerstone_agent::{Attached, Error as AgentError, env, parse_volume};
use serde::Serialize;

use super::super::flags;
use crate::args::container::{Create, Run};
use crate::cmd::App;
use crate::error::{Error, IoContext as _, Result};

pub(super) fn run(app: &App, args: &Run) -> Result<u8> {
    let create = &args.create;
    let options = options(create)?;
    let agent = super::agent(app)?;
    app.detail(format_args!("runtime: {}", options.runtime));
    let image = agent.store().image(&create.image, create.platform.as_ref())?;
    if image.config.healthcheck().is_some() && !create.health.no_healthcheck {
        app.detail(format_args!("the image's health check is made on Linux alone"));
    }
    let container = agent.create(&image, &options)?;
    if args.detach {
        agent.start(&container, None)?;
        #[derive(Serialize)]
        struct Row<'a> {
            id: &'a str,
            name: &'a str,
        }
        let config = container.config();
        app.print(&Row { id: &config.id, name: &config.name }, |out| writeln!(out, "{}", config.id))?;
        return Ok(0);
    }
    let client = agent.start(&container, Some(Attached { interactive: create.interactive }))?;
    let ended = client.attach();
    if ended.is_err() {
        // If its shim has died, what that has left is put in order now.
        let _ = agent.find(&container.config().id);
    }
    let ended = ended?;
    match ended.windows_code {
        // The program's own exit code, which is larger than those of this program.
        Some(code) => std::process::exit(code.cast_signed()),
        None => Ok(ended.exit.code),
    }
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
    let mut volumes = Vec::new();
    for text in &args.volume {
        volumes.push(parse_volume(text)?);
    }
    for text in &args.tmpfs {
        // Refused when the container is made, in words of its own.
        volumes.push(Volume { source: None, destination: text.clone(), options: Vec::new() });
    }
    if args.cpus.is_some_and(|cpus| !cpus.is_finite() || cpus <= 0.0) {
        return Err(Error::Usage("--cpus takes a number above 0".to_owned()));
    }
    if let Some(option) = args.security_opt.first() {
        return Err(AgentError::Unsupported {
            doing: "apply a --security-opt",
            missing: format!("containers of Windows have no like of `{option}`"),
        }
        .into());
    }
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
        seccomp: Seccomp::Default,
        no_new_privileges: false,
        network: network(&args.network)?,
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

/// `none`, `host`, or `ns:GUID`.
fn network(text: &str) -> Result<Network> {
    match text.strip_prefix("ns:") {
        Some(namespace) => Ok(Network::Namespace(namespace.into())),
        None => Ok(Network::parse(text)?),
    }
}

fn runtime(text: &str) -> Result<RuntimeChoice> {
    if text == "hcs" {
        return Ok(RuntimeChoice::Hcs);
    }
    Err(AgentError::Unsupported {
        doing: "use this runtime",
        missing: format!("`{text}` runs containers of Linux; on Windows there is `--runtime hcs` alone"),
    }
    .into())
}
