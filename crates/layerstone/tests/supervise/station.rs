//! A host with an agent on it.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::client::Client;
use crate::host::{Host, until, wait};

/// A host, a file, and an agent that may be running.
pub(crate) struct Station {
    agent: Option<Child>,
    // Dropped after the agent, or the agent would make again what is removed.
    pub(crate) host: Host,
}

impl Station {
    /// `None` when this machine cannot run containers, after that was said.
    pub(crate) fn new(test: &str) -> Option<Self> {
        Some(Station { agent: None, host: Host::new(test)? })
    }

    pub(crate) fn spec(&self) -> PathBuf {
        self.host.path("agent.yaml")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.host.path("agent.log")).unwrap_or_default()
    }

    /// Writes the file, as editors do.
    pub(crate) fn write(&self, text: &str) {
        let path = self.host.path("agent.yaml.new");
        std::fs::write(&path, text).unwrap();
        std::fs::rename(path, self.spec()).unwrap();
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.host.path("run/agent.sock"))
    }

    /// Starts an agent without waiting for it.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        let log =
            std::fs::File::options().create(true).append(true).open(self.host.path("agent.log")).unwrap();
        let mut command: Command = self.host.command(&[&["agent"], args].concat());
        // A group of its own: what is meant for the agent is for it alone.
        command.stdout(Stdio::null()).stderr(log).process_group(0);
        command.spawn().unwrap()
    }

    /// Starts the agent, and waits until it serves.
    pub(crate) fn start(&mut self, args: &[&str]) {
        assert!(self.agent.is_none());
        self.agent = Some(self.spawn(args));
        self.serves();
    }

    /// The same, with the file.
    pub(crate) fn keep(&mut self, text: &str) {
        self.write(text);
        self.keep_again(&[]);
    }

    pub(crate) fn keep_again(&mut self, more: &[&str]) {
        let spec = self.spec();
        let args = ["--spec", spec.to_str().unwrap()];
        self.start(&[&args, more].concat());
    }

    fn serves(&mut self) {
        let client = self.client();
        let log = self.host.path("agent.log");
        let agent = self.agent.as_mut().unwrap();
        until("the agent serves", || {
            let ended = agent.try_wait().unwrap();
            assert!(ended.is_none(), "it has ended: {}", std::fs::read_to_string(&log).unwrap());
            client.try_call("GET", "/v1/healthz", b"").is_ok_and(|answer| answer.status == 200)
        });
    }

    pub(crate) fn pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Kills the agent.
    pub(crate) fn kill(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Waits for the agent's end.
    pub(crate) fn ended(&mut self) {
        let code = wait(self.agent.take().unwrap(), "the end of the agent");
        assert_eq!(code, 0, "{}", self.log());
    }

    /// The containers by name.
    pub(crate) fn containers(&self) -> BTreeMap<String, Value> {
        let listed = self.client().get("/v1/containers").json();
        let list = listed["containers"].as_array().unwrap().clone();
        assert_eq!(listed["damaged"].as_array().unwrap().len(), 0, "{listed}");
        let count = list.len();
        let all: BTreeMap<String, Value> =
            list.into_iter().map(|one| (one["name"].as_str().unwrap().to_owned(), one)).collect();
        assert_eq!(all.len(), count, "two containers have one name");
        all
    }

    pub(crate) fn status(&self, name: &str) -> String {
        let all = self.containers();
        all.get(name).and_then(|one| one["status"].as_str()).unwrap_or("missing").to_owned()
    }

    /// Waits until these containers run.
    pub(crate) fn run(&self, names: &[&str]) {
        let mut seen = String::new();
        for name in names {
            let start = std::time::Instant::now();
            while self.status(name) != "running" {
                seen = format!("{}\n{}", self.client().get("/v1/spec").text(), self.log());
                assert!(start.elapsed().as_secs() < 60, "{name} does not run: {seen}");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        drop(seen);
    }

    /// Id, number of the first process and time of the start of each container: what must not change when nothing is done to it.
    pub(crate) fn identities(&self) -> BTreeMap<String, (Value, Value, Value)> {
        let one = |value: Value| (value["id"].clone(), value["pid"].clone(), value["started"].clone());
        self.containers().into_iter().map(|(name, value)| (name, one(value))).collect()
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
    }
}
