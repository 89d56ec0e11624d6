//! `mount` and `umount`.

use layerstone_store::attach::AttachOptions;

use super::App;
use super::object::{self, Object};
use crate::args::{Mount, Umount};
use crate::error::{Error, Result};

pub(crate) fn mount(app: &App, args: &Mount) -> Result<()> {
    let store = app.existing_store()?;
    let mut options = AttachOptions::default();
    options.raw = args.raw;
    let attachment = match object::find(&store, &args.object, args.platform.as_ref())? {
        Object::Image(image) => store.attach_image(&image, &args.dir, &options)?,
        Object::Scratch(scratch) => store.attach_scratch(&scratch, &args.dir, &options)?,
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
    app.existing_store()?.detach(&args.dir)?;
    app.print(&args.dir, |out| writeln!(out, "{}", args.dir.display()))
}
