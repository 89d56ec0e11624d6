//! The containers of a store: making, finding, removing them.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use layerstone_oci::durable;
use layerstone_store::{Store, StoredImage};

use super::bundle::{self, Places};
use super::container::Container;
use super::files::{self, Lasting};
use super::{process, reconcile};
use crate::error::{Error, IoContext as _, Result};
use crate::id;
use crate::model::{Identity, State, Status};
use crate::options::RunOptions;

/// The containers of a store.
#[derive(Debug)]
pub struct Agent {
    pub(super) store: Store,
    root: PathBuf,
    run_root: PathBuf,
    /// Where brief containers are, of this boot.
    brief_root: PathBuf,
    /// Where the program of the shims is, of this boot.
    program_root: PathBuf,
}

/// What was found of containers.
#[derive(Debug, Default)]
pub struct Survey {
    /// Those that are in order, the newest first.
    pub containers: Vec<Container>,
    /// The ids of those that are not, and why.
    pub failed: Vec<(String, Error)>,
}

impl Agent {
    /// The containers of `store`.
    ///
    /// # Errors
    /// When this process is not root: namespaces, mounts and control groups need it.
    pub fn open(store: Store) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            let missing = super::probe::missing();
            return Err(Error::Unsupported {
                doing: "run containers as an ordinary user",
                missing: if missing.is_empty() {
                    "nothing that was looked for, but this version does it as root only".to_owned()
                } else {
                    missing.join("; ")
                },
            });
        }
        let root = store.root().canonicalize().doing("find", store.root())?.join("containers");
        let run_root = store.runtime_root();
        private_directory(&run_root)?;
        let run_root = run_root.canonicalize().doing("find", &run_root)?.join("containers");
        let (own, boot) = (store.own_runtime_dir()?, process::boot()?);
        let (brief_root, program_root) = (own.join("brief").join(&boot), own.join("program").join(&boot));
        Ok(Agent { store, root, run_root, brief_root, program_root })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn load(&self, id: &str) -> Result<Option<Container>> {
        let run_directory = self.run_root.join(id);
        match Container::load(&self.store, &self.root.join(id), &run_directory)? {
            None => Container::load(&self.store, &self.brief_root.join(id), &run_directory),
            found => Ok(found),
        }
    }

    fn ids(&self) -> Result<Vec<String>> {
        let mut names = names_in(&self.root)?;
        names.extend(names_in(&self.brief_root)?);
        names.retain(|name| id::is_id(name));
        Ok(names)
    }

    /// All containers as their files say, the newest first; whether their shims are alive is not asked.
    fn noted(&self) -> Result<Vec<Container>> {
        let mut containers = Vec::new();
        for id in self.ids()? {
            containers.extend(self.load(&id)?);
        }
        containers.sort_by(|a, b| b.config.created.cmp(&a.config.created));
        Ok(containers)
    }

    /// All containers, the newest first. Those whose shim has died are put in order first.
    ///
    /// # Errors
    /// When the files cannot be read, or what a dead shim has left cannot be taken away.
    pub fn containers(&self) -> Result<Vec<Container>> {
        self.sweep_unfinished()?;
        let mut containers = Vec::new();
        for mut container in self.noted()? {
            if reconcile::reconcile(&self.store, &mut container)? {
                containers.push(container);
            }
        }
        Ok(containers)
    }

    /// All containers, each by itself: one that is damaged, or cannot be put in order, is told beside the others, with its id.
    ///
    /// # Errors
    /// When the directory of containers cannot be read.
    pub fn survey(&self) -> Result<Survey> {
        self.sweep_unfinished()?;
        let mut survey = Survey::default();
        for id in self.ids()? {
            let looked = self.load(&id).and_then(|container| match container {
                Some(mut container) => {
                    Ok(reconcile::reconcile(&self.store, &mut container)?.then_some(container))
                }
                None => Ok(None),
            });
            match looked {
                Ok(container) => survey.containers.extend(container),
                Err(error) => survey.failed.push((id, error)),
            }
        }
        survey.containers.sort_by(|a, b| b.config.created.cmp(&a.config.created));
        Ok(survey)
    }

    /// Where the containers are: one directory for each, named after its id.
    pub fn directory(&self) -> &Path {
        &self.root
    }

    /// The same for those that remove themselves, which are of this boot only.
    pub fn brief_directory(&self) -> &Path {
        &self.brief_root
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
                let fits: Vec<&Container> = all
                    .iter()
                    .filter(|c| reference.len() >= 2 && c.config.id.starts_with(reference))
                    .collect();
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
        if reconcile::reconcile(&self.store, &mut container)? {
            Ok(container)
        } else {
            Err(Error::NoContainer(reference.to_owned()))
        }
    }

    /// Where the program of the shims is.
    pub(super) fn program_directory(&self) -> &Path {
        &self.program_root
    }

    /// The shims of containers that run, as noted: one of them may have the program that the next one needs.
    pub(super) fn shims(&self) -> Result<Vec<Identity>> {
        Ok(self.noted()?.into_iter().filter_map(|container| container.state.shim).collect())
    }

    /// Makes a container, which does not run yet.
    ///
    /// # Errors
    /// When the options make no sense for this image or this host, or the name is taken. Nothing is left then.
    pub fn create(&self, image: &StoredImage, options: &RunOptions) -> Result<Container> {
        if let Some(name) = &options.name {
            id::check_name(name)?;
        }
        private_directory(&self.root)?;
        let _lock = self.lock()?;
        let existing = self.noted()?;
        let id = new_id(&existing)?;
        let name = name_for(options, &id, &existing)?;
        let run_directory = self.run_root.join(&id);
        let root = if options.auto_remove { &self.brief_root } else { &self.root };
        private_directory(root)?;
        let directory = root.join(&id);
        let places = Places { directory: &directory, rootfs: &run_directory.join("rootfs") };
        let (config, spec) = bundle::build(&self.store, image, options, &id, &name, &places)?;
        let lasting = if config.auto_remove { Lasting::Unsynced } else { Lasting::Synced };

        let container = Container::new(&self.store, directory, run_directory, config, State::created())?;
        let staged = root.join(format!(".new-{id}"));
        let made = (|| {
            private_directory(&staged)?;
            for name in ["files", "bundle"] {
                let path = staged.join(name);
                // What is mounted into the container has to be readable there by everybody.
                DirBuilder::new().mode(0o755).create(&path).doing("create", &path)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                    .doing("set the mode of", path)?;
            }
            for (name, text) in bundle::files(&container.config) {
                let path = staged.join("files").join(name);
                let mut file = File::create_new(&path).doing("create", &path)?;
                // Whatever the caller's mask is: everybody in the container reads these.
                file.set_permissions(fs::Permissions::from_mode(0o644)).doing("set the mode of", &path)?;
                file.write_all(text.as_bytes()).doing("write", path)?;
            }
            files::write_json(&staged.join("bundle/config.json"), &spec, Lasting::Unsynced)?;
            files::write_json(&staged.join("state.json"), &container.state, Lasting::Unsynced)?;
            files::write_json(&staged.join("container.json"), &container.config, lasting)?;
            durable::rename(&staged, &container.directory).doing("move into place", &container.directory)?;
            // From here on the container can be seen, and removed with all that it has.
            let scratch = &container.config.scratch;
            match lasting {
                Lasting::Synced => {
                    durable::sync_directory(root).doing("sync", root)?;
                    self.store.create_scratch(scratch, image)?;
                }
                Lasting::Unsynced => drop(self.store.create_volatile_scratch(scratch, image)?),
            }
            Ok(())
        })();
        if let Err(error) = made {
            // The error that led here is the one to tell.
            let _ = fs::remove_dir_all(&staged);
            let _ = reconcile::remove(&self.store, &container);
            return Err(error);
        }
        Ok(container)
    }

    /// A container that was made is to wait until somebody starts it, whoever that is and however long it takes. Otherwise one that
    /// removes itself, and that its maker has not started before it ended, is left over.
    ///
    /// # Errors
    /// When its state cannot be written.
    pub fn keep(&self, container: &Container) -> Result<()> {
        let mut container = container.clone();
        let Some(_lock) = container.lock()? else {
            return Err(Error::NoContainer(container.config.id.clone()));
        };
        container.reload_state()?;
        container.state.kept = true;
        container.write_state()
    }

    /// Removes a container and what was written in it. One that runs is killed first, if `force` says so.
    ///
    /// # Errors
    /// When it runs and may not be killed, or something cannot be removed.
    pub fn remove(&self, container: &Container, force: bool) -> Result<()> {
        let mut container = container.clone();
        container.reload_state()?;
        if container.state.status.is_up() && !force {
            return Err(container.state_error("remove"));
        }
        if let Some(shim) = container.state.shim.clone().filter(|_| container.state.status != Status::Stopped)
        {
            if !force {
                return Err(container.state_error("remove"));
            }
            self.end(&container, &shim)?;
        }
        let Some(_lock) = container.lock()? else { return Ok(()) };
        container.reload_state()?;
        let is_over = container.state.status == Status::Stopped;
        if container.state.shim.is_some() && !is_over && !force {
            // Somebody has just started it.
            return Err(container.state_error("remove"));
        }
        if !is_over {
            reconcile::dismantle(&self.store, &container)?;
        }
        reconcile::remove(&self.store, &container)
    }

    /// Kills a container that runs, and waits until its shim has put everything in order.
    fn end(&self, container: &Container, shim: &Identity) -> Result<()> {
        let Some(shim) = process::open(shim)? else { return Ok(()) };
        // The shim may have just begun, and not have a first process yet: then both are killed.
        let asked =
            super::client::Client::connect(container).and_then(|mut client| client.kill(crate::signal::KILL));
        if asked.is_err() || !process::wait(&shim, Some(super::client::PATIENCE))? {
            process::kill(&shim)?;
            process::wait(&shim, None)?;
        }
        Ok(())
    }

    fn lock(&self) -> Result<File> {
        let path = self.root.join("lock");
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).doing("open", &path)?;
        file.lock().doing("lock", path)?;
        Ok(file)
    }

    /// Directories of makers that died before they had finished, and what is noted of brief containers of earlier boots.
    fn sweep_unfinished(&self) -> Result<()> {
        let mut unfinished = Vec::new();
        for root in [&self.root, &self.brief_root] {
            let names = names_in(root)?.into_iter().filter(|name| name.starts_with('.'));
            unfinished.extend(names.map(|name| root.join(name)));
        }
        if let (Some(all), Some(boot)) = (self.brief_root.parent(), self.brief_root.file_name()) {
            let past = names_in(all)?.into_iter().filter(|name| boot != name.as_str());
            unfinished.extend(past.map(|name| all.join(name)));
        }
        if unfinished.is_empty() {
            return Ok(());
        }
        let _lock = self.lock()?;
        for path in unfinished {
            files::if_there(fs::remove_dir_all(&path)).doing("remove", path)?;
        }
        Ok(())
    }
}

/// The names in a directory that may not exist.
fn names_in(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.doing("list", directory)?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    let names = names.collect::<io::Result<Vec<_>>>().doing("list", directory)?;
    Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

fn new_id(existing: &[Container]) -> Result<String> {
    loop {
        let mut bytes = [0; 32];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
                .doing("read", "random numbers")?;
        }
        let id = id::from_bytes(&bytes);
        // The short form names the scratch.
        if !existing.iter().any(|container| container.config.short_id() == crate::model::short(&id)) {
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

/// Makes a directory that only root can look into, with those above it.
pub(super) fn private_directory(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).doing("create", path)
}

/// Removes a container's directory. It vanishes by one rename; the name it has then is swept when this dies.
pub(super) fn remove_directory(directory: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else { return Ok(()) };
    let aside = parent.join(format!(".removed-{}", name.to_string_lossy()));
    match fs::rename(directory, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.doing("remove", directory)?,
    }
    files::if_there(fs::remove_dir_all(&aside)).doing("remove", aside)
}
