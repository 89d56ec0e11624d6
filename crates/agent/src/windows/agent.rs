//! The containers of a store: making, finding, stopping, removing them.

use std::fs::{self, File};
use std::io;
use std::os::windows::io::OwnedHandle;
use std::path::{Path, PathBuf};
use std::time::Duration;

use layerstone_hcs::ErrorKind;
use layerstone_hcs::compute::ProcessSignal;
use layerstone_oci::durable;
use layerstone_store::{Store, StoredImage};

use super::container::{Container, Ended};
use super::files::{self, Lasting};
use super::host::{Host, ShimProgram};
use super::{config, process, reconcile};
use crate::error::{Error, IoContext as _, Result};
use crate::model::{State, Status, short};
use crate::options::RunOptions;
use crate::{id, signal};

/// How long a shim may take to tidy up after its container was ended. Detaching a filter alone may take ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The containers of a store.
#[derive(Debug)]
pub struct Agent {
    pub(super) store: Store,
    pub(super) host: Host,
    pub(super) shim: ShimProgram,
    root: PathBuf,
}

impl Agent {
    /// The containers of `store`, made with the DLLs of this Windows.
    ///
    /// # Errors
    /// When the process is not elevated; when the system does not say where the store, or this program, is.
    pub fn open(store: Store) -> Result<Self> {
        if !layerstone_hcs::host::is_elevated()? {
            return Err(Error::Unsupported {
                doing: "run containers without an administrator's token",
                missing: "the layer functions need it: start the prompt with \"Run as administrator\""
                    .to_owned(),
            });
        }
        Self::with(store, Host::system(), ShimProgram::this()?)
    }

    /// The same with other DLLs, and another program as the shim: for tests.
    ///
    /// # Errors
    /// When the system does not say where the store is.
    pub fn with(store: Store, host: Host, shim: ShimProgram) -> Result<Self> {
        let root = std::path::absolute(store.root()).doing("find", store.root())?.join("containers");
        Ok(Agent { store, host, shim, root })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn load(&self, id: &str) -> Result<Option<Container>> {
        Container::load(&self.root.join(id))
    }

    fn names(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.doing("list", &self.root)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.doing("list", &self.root)?.file_name().into_string().ok());
        }
        Ok(names)
    }

    /// All containers as their files say, the newest first; whether their shims are alive is not asked.
    fn noted(&self) -> Result<Vec<Container>> {
        let mut containers = Vec::new();
        for name in self.names()?.iter().filter(|name| id::is_id(name)) {
            containers.extend(self.load(name)?);
        }
        containers.sort_by(|a, b| b.config.created.cmp(&a.config.created));
        Ok(containers)
    }

    /// All containers, the newest first. Those whose shim has died are put in order first.
    ///
    /// # Errors
    /// When the files cannot be read, or what a dead shim has left cannot be taken away.
    pub fn containers(&self) -> Result<Vec<Container>> {
        self.sweep()?;
        let mut containers = Vec::new();
        for mut container in self.noted()? {
            if reconcile::reconcile(self, &mut container)? {
                containers.push(container);
            }
        }
        Ok(containers)
    }

    /// The container of that name, id, or beginning of an id.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&self, reference: &str) -> Result<Container> {
        let all = self.noted()?;
        let named = all.iter().find(|c| c.config.name == reference || c.config.id == reference);
        let mut container = match named {
            Some(container) => container.clone(),
            None => {
                let begins = |c: &&Container| reference.len() >= 2 && c.config.id.starts_with(reference);
                let fits: Vec<&Container> = all.iter().filter(begins).collect();
                match fits.as_slice() {
                    [] => return Err(Error::NoContainer(reference.to_owned())),
                    [one] => (*one).clone(),
                    _ => {
                        let fits = fits.iter().map(|c| c.config.short_id().to_owned()).collect();
                        return Err(Error::Ambiguous { id: reference.to_owned(), fits });
                    }
                }
            }
        };
        if reconcile::reconcile(self, &mut container)? {
            Ok(container)
        } else {
            Err(Error::NoContainer(reference.to_owned()))
        }
    }

    /// Makes a container, which does not run yet.
    ///
    /// # Errors
    /// When the options make no sense for this image or this host, or the name is taken. Nothing is left then.
    pub fn create(&self, image: &StoredImage, options: &RunOptions) -> Result<Container> {
        if let Some(name) = &options.name {
            id::check_name(name)?;
        }
        self.host.core.available()?;
        fs::create_dir_all(&self.root).doing("create", &self.root)?;
        let _lock = self.lock()?;
        let existing = self.noted()?;
        let id = new_id(&existing)?;
        let name = name_for(options, &id, &existing)?;
        let (config, parameters) = config::build(image, options, &id, &name)?;
        let container = Container { directory: self.root.join(&id), config, state: State::created() };
        let staged = self.root.join(format!(".new-{id}"));
        let made = (|| {
            fs::create_dir(&staged).doing("create", &staged)?;
            files::write_json(&staged.join("process.json"), &parameters, Lasting::Unsynced)?;
            files::write_json(&staged.join("state.json"), &container.state, Lasting::Unsynced)?;
            files::write_json(&staged.join("container.json"), &container.config, Lasting::Synced)?;
            durable::rename(&staged, &container.directory).doing("move into place", &container.directory)?;
            // From here on the container can be seen, and removed with all that it has. The scratch of the store keeps the layers.
            self.store.create_scratch(&container.config.scratch, image)?;
            Ok(())
        })();
        if let Err(error) = made {
            // The error that led here is the one to tell.
            let _ = fs::remove_dir_all(&staged);
            let _ = reconcile::remove(&self.store, &self.host, &container);
            return Err(error);
        }
        Ok(container)
    }

    /// The shim of a container that runs, when it is alive.
    fn shim_of(container: &Container) -> Result<Option<OwnedHandle>> {
        container.state.shim.as_ref().map_or(Ok(None), process::open)
    }

    /// Sends a signal to the first process of a container that runs.
    ///
    /// # Errors
    /// When it does not run, Windows has no like of the signal, or the service refuses.
    pub fn kill(&self, container: &Container, number: i32) -> Result<()> {
        let init = match (&container.state.status, &container.state.init) {
            (Status::Running, Some(init)) => init,
            _ => return Err(container.state_error("send a signal to")),
        };
        let system = self.host.core.open_system(&container.config.id)?;
        let process = system.open_process(init.pid.cast_unsigned())?;
        match number {
            signal::KILL => process.terminate()?,
            other => process.signal(console_signal(other)?)?,
        }
        Ok(())
    }

    /// Asks a container to stop with its stop signal, and ends it when it has not by then. False when it had stopped already.
    ///
    /// # Errors
    /// When the service refuses, or the shim does not tidy up.
    pub fn stop(&self, container: &Container, seconds: Option<u32>) -> Result<bool> {
        let mut container = container.clone();
        container.reload_state()?;
        if container.state.status != Status::Running {
            return Ok(false);
        }
        let Some(shim) = Self::shim_of(&container)? else { return Ok(false) };
        let seconds = seconds.unwrap_or(container.config.stop_timeout);
        match self.kill(&container, container.config.stop_signal) {
            Err(Error::Hcs(error)) if error.kind() == ErrorKind::NotFound => {}
            asked => asked?,
        }
        if !process::wait(&shim, Some(Duration::from_secs(seconds.into())))? {
            self.end(&container, &shim)?;
        }
        Ok(true)
    }

    /// Ends a container that runs, and waits until its shim has put everything in order.
    fn end(&self, container: &Container, shim: &OwnedHandle) -> Result<()> {
        let ended = self.host.core.open_system(&container.config.id).and_then(|system| system.terminate());
        match ended {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            ended => ended?,
        }
        if !process::wait(shim, Some(PATIENCE))? {
            // What it has left is put in order by whoever looks at the container next.
            process::kill(shim)?;
            process::wait(shim, None)?;
        }
        Ok(())
    }

    /// Waits until a container has ended and everything of it is tidied up.
    ///
    /// # Errors
    /// When it was never started.
    pub fn wait(&self, container: &Container) -> Result<Ended> {
        let mut container = container.clone();
        container.reload_state()?;
        let shim = Self::shim_of(&container)?;
        match (container.state.status, shim) {
            (_, Some(shim)) => {
                process::wait(&shim, None)?;
                // One that removes itself leaves nothing but the exit code of its shim.
                match container.noted_exit()? {
                    Some(ended) => Ok(ended),
                    None => Ok(Ended::of_code(process::exit_code(&shim)?)),
                }
            }
            (Status::Created, None) => Err(container.state_error("wait for")),
            (_, None) => {
                // It has just ended, or its shim has died.
                let container = self.find(&container.config.id)?;
                match (container.noted_exit()?, &container.state.exit) {
                    (Some(ended), _) => Ok(ended),
                    (None, Some(exit)) => Ok(Ended { exit: exit.clone(), windows_code: None }),
                    (None, None) => Err(container.state_error("wait for")),
                }
            }
        }
    }

    /// Removes a container and what was written in it. One that runs is ended first, if `force` says so.
    ///
    /// # Errors
    /// When it runs and may not be ended, or something cannot be removed.
    pub fn remove(&self, container: &Container, force: bool) -> Result<()> {
        let mut container = container.clone();
        container.reload_state()?;
        if let Some(shim) = Self::shim_of(&container)?.filter(|_| container.state.status != Status::Stopped) {
            if !force {
                return Err(container.state_error("remove"));
            }
            self.end(&container, &shim)?;
        }
        let _lock = self.lock()?;
        let Some(container) = self.load(&container.config.id)? else { return Ok(()) };
        reconcile::dismantle(&self.store, &self.host, &container)?;
        reconcile::remove(&self.store, &self.host, &container)
    }

    /// Keeps others from making, tidying up and removing containers.
    pub(super) fn lock(&self) -> Result<File> {
        let path = self.root.join("lock");
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).doing("open", &path)?;
        file.lock().doing("lock", path)?;
        Ok(file)
    }

    /// Directories of makers that died before they had finished, and logs of shims whose container is gone.
    fn sweep(&self) -> Result<()> {
        let names = self.names()?;
        let left = |name: &&String| {
            let log = name.strip_suffix(".shim.log");
            name.starts_with('.') || log.is_some_and(|id| !names.iter().any(|other| other == id))
        };
        let left: Vec<&String> = names.iter().filter(left).collect();
        if left.is_empty() {
            return Ok(());
        }
        let _lock = self.lock()?;
        for name in left {
            let path = self.root.join(name);
            // A shim that is about to end may still have its log open; the next sweep takes it.
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
        Ok(())
    }
}

/// What of the signals of Linux a program of Windows can be told.
pub(super) fn console_signal(number: i32) -> Result<ProcessSignal> {
    const INTERRUPT: i32 = 2;
    const QUIT: i32 = 3;
    const HANG_UP: i32 = 1;
    match number {
        INTERRUPT => Ok(ProcessSignal::CtrlC),
        QUIT => Ok(ProcessSignal::CtrlBreak),
        HANG_UP => Ok(ProcessSignal::CtrlClose),
        signal::TERM => Ok(ProcessSignal::CtrlShutdown),
        other => Err(Error::Unsupported {
            doing: "send this signal",
            missing: format!(
                "programs of Windows know no signal {other}: use INT (ctrl-c), QUIT (ctrl-break), HUP (close), TERM (shutdown), KILL"
            ),
        }),
    }
}

fn new_id(existing: &[Container]) -> Result<String> {
    loop {
        let id = id::from_bytes(&process::random()?);
        // The short form names the scratch.
        if !existing.iter().any(|container| container.config.short_id() == short(&id)) {
            return Ok(id);
        }
    }
}

fn name_for(options: &RunOptions, id: &str, existing: &[Container]) -> Result<String> {
    id::name_for(options.name.as_deref(), id, |name| {
        let has_it = existing.iter().find(|container| container.config.name == name);
        has_it.map(|container| container.config.short_id().to_owned())
    })
}

/// Where a container's scratch is, as the service knows it.
pub(super) fn scratch_folder(store: &Store, container: &Container) -> Result<PathBuf> {
    let root: &Path = &store.scratch_root();
    Ok(std::path::absolute(root).doing("find", root)?.join(&container.config.scratch).join("hcs"))
}
