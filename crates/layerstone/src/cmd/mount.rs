//! `mount` and `umount`.

use layerstone_store::attach::AttachOptions;

use super::App;
use super::object::{self, Object};
use crate::args::{Mount, Umount};
use crate::error::{Error, Result};

pub(crate) fn mount(app: &App, args: &Mount) -> Result<()> {
    let store = app.existing_store()?;
    let options = AttachOptions { raw: args.raw, ..AttachOptions::default() };
    let attachment = match object::find(&store, &args.object, args.platform.as_ref())? {
        Object::Image(image) => store.attach_image(&image, &args.dir, options)?,
        Object::Scratch(scratch) => store.attach_scratch(&scratch, &args.dir, options)?,
        Object::Layer(_) => {
            return Err(Error::Usage(format!(
                "`{}` is a layer: mount an image or a scratch (a single layer.erofs can be mounted with `mount -t erofs`)",
                args.object
            )));
        }
    };
    app.print(&attachment, |out| writeln!(out, "{}", args.dir.display()))
}

pub(crate) fn umount(app: &App, args: &Umount) -> Result<()> {
    let detached = app.existing_store()?.detach(&args.dir)?;
    app.print(&detached, |out| writeln!(out, "{}", args.dir.display()))?;
    if !detached.was_mounted {
        app.remark("it had been unmounted already; what was left over is cleaned up");
    }
    if detached.lazy {
        app.remark("files in it are still open: it is out of sight, and gone when they are closed");
    }
    for place in &detached.also_at {
        app.remark(format_args!("it is still mounted at `{}` too", place.display()));
    }
    Ok(())
}
