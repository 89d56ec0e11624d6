//! Makes a scratch over layers of this Windows, writes a file in it, and removes it again.
//!
//! ```text
//! cargo run --example windows_scratch -p layerstone-store -- C:\scratch\try C:\layers\app C:\layers\base
//! ```
//!
//! First the folder for the scratch, which must not exist, then the parent layers, nearest first, the base layer last. It
//! wants an elevated prompt, and layer folders that Windows made: those of Docker are below
//! `C:\ProgramData\docker\windowsfilter`, those of containerd below
//! `C:\ProgramData\containerd\root\io.containerd.snapshotter.v1.windows\snapshots`.

#[cfg(windows)]
mod windows {
    use std::error::Error;
    use std::path::PathBuf;

    use layerstone_hcs::host;
    use layerstone_store::storage::{Hcs, LayerStorage, ScratchLayer, ScratchOptions};

    pub(crate) fn run(folder: PathBuf, parents: Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
        println!("Windows build {}, elevated: {}", host::build(), host::is_elevated()?);
        for missing in host::probe().iter().filter(|probe| !probe.is_present()) {
            println!("not here: {}", missing.function.name);
        }
        let storage = Hcs::system();
        let chain = storage.chain(&parents)?;
        for parent in chain.parents() {
            println!("parent {} {}", parent.id, parent.path.display());
        }
        let scratch = ScratchLayer::create(&storage, &folder, &chain, &ScratchOptions::default())?;
        println!("the scratch is at {}", scratch.mount_path().display());
        let file = scratch.mount_path().join("hello.txt");
        std::fs::write(&file, "written in a scratch\r\n")?;
        for name in std::fs::read_dir(scratch.mount_path())? {
            println!("  {}", name?.file_name().display());
        }

        let detached = scratch.detach().map_err(layerstone_store::storage::Error::from)?;
        println!("detached; attaching it again");
        let scratch = detached.attach(&storage)?;
        let file = scratch.mount_path().join("hello.txt");
        println!("the file says: {}", std::fs::read_to_string(file)?.trim_end());
        scratch.destroy()?;
        println!("destroyed");
        Ok(())
    }
}

#[cfg(not(windows))]
mod windows {
    use std::error::Error;
    use std::path::PathBuf;

    pub(crate) fn run(_: PathBuf, _: Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
        Err("this needs Windows with the Containers feature, an elevated prompt, and layer folders".into())
    }
}

fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(std::path::PathBuf::from);
    let (Some(folder), parents) = (arguments.next(), arguments.collect::<Vec<_>>()) else {
        eprintln!("usage: windows_scratch SCRATCH-FOLDER PARENT-LAYER...");
        return std::process::ExitCode::from(2);
    };
    if parents.is_empty() {
        eprintln!("usage: windows_scratch SCRATCH-FOLDER PARENT-LAYER...");
        return std::process::ExitCode::from(2);
    }
    match windows::run(folder, parents) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            std::process::ExitCode::FAILURE
        }
    }
}
