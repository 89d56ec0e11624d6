//! Layers: import, export, base layers, deletion.

use std::io;
use std::path::Path;

use super::{BaseOs, ComputeStorage};
use crate::error::{Error, Result};
use crate::functions::Build;
use crate::hresult::HResult;
use crate::schema::{Document, OsLayerOptions, RawDocument};
use crate::windows::privilege::Needs;
use crate::windows::wide::WideString;

/// Layers.
impl ComputeStorage {
    /// Makes a layer of a transport folder (`HcsImportLayer`).
    ///
    /// `layer` is created when it is not there, and has to be another folder than `source`; `chain` has all parents of
    /// the new layer, and is [`LayerChain::base`](crate::LayerChain::base) for a base layer. The transport folder has
    /// to be whole: `Files`, `Hives` with all five `*_Delta`, the `.$wcidirs$` files and `tombstones.txt`. A base layer
    /// is not ready afterwards: see
    /// [`ComputeStorage::setup_base_os_layer`].
    ///
    /// Needs SeBackupPrivilege and SeRestorePrivilege, which are enabled, and an elevated process. Takes the longest of
    /// all: it writes the layer. It is not tried again when it fails, because the folder is then half written; destroy
    /// it.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsimportlayer>
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for a transport folder that is not whole and for parents
    /// that cannot be found, and those of all methods.
    pub fn import_layer(&self, layer: &Path, source: &Path, chain: &(impl Document + ?Sized)) -> Result<()> {
        let (path, source) = (WideString::from_path(layer)?, WideString::from_path(source)?);
        let chain = WideString::from_document(chain)?;
        self.entries.import_layer.call(&self.library, Needs::WRITE, layer, |function| {
            // SAFETY: the function has this type; all strings are NUL-terminated and outlive the call, which does not
            // keep them.
            unsafe { function(path.as_ptr(), source.as_ptr(), chain.as_ptr()) }
        })
    }

    /// Makes a transport folder of a layer (`HcsExportLayer`).
    ///
    /// `destination` has to exist and be empty. With
    /// [`ExportLayerOptions::is_writable_layer`](crate::ExportLayerOptions), `layer` is the mounted volume of a
    /// scratch, whose filter is attached, and what is exported are its changes.
    ///
    /// Needs SeBackupPrivilege, which is enabled; SeRestorePrivilege and SeSecurityPrivilege are as well where they are
    /// held. A base layer that was set up lacks its `*_Delta` hives and cannot be exported until they are put back.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsexportlayer>
    ///
    /// # Errors
    /// Those of all methods.
    pub fn export_layer(
        &self,
        layer: &Path,
        destination: &Path,
        chain: &(impl Document + ?Sized),
        options: &(impl Document + ?Sized),
    ) -> Result<()> {
        let (path, destination) = (WideString::from_path(layer)?, WideString::from_path(destination)?);
        let (chain, options) = (WideString::from_document(chain)?, WideString::from_document(options)?);
        self.entries.export_layer.call(&self.library, Needs::READ, layer, |function| {
            // SAFETY: the function has this type; all strings are NUL-terminated and outlive the call, which does not
            // keep them.
            unsafe { function(path.as_ptr(), destination.as_ptr(), chain.as_ptr(), options.as_ptr()) }
        })
    }

    /// Makes a transport folder of a scratch that consists of a mounted volume and a folder with the hives
    /// (`HcsExportLegacyWritableLayer`).
    ///
    /// `mount` is the volume, `layer` the folder, `destination` a folder that exists. No program is known that calls
    /// it; it is here because it is documented.
    ///
    /// Needs SeBackupPrivilege, which is enabled.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsexportlegacywritablelayer>
    ///
    /// # Errors
    /// Those of all methods.
    pub fn export_legacy_writable_layer(
        &self,
        mount: &Path,
        layer: &Path,
        destination: &Path,
        chain: &(impl Document + ?Sized),
    ) -> Result<()> {
        let (volume, path) = (WideString::from_path(mount)?, WideString::from_path(layer)?);
        let (destination, chain) = (WideString::from_path(destination)?, WideString::from_document(chain)?);
        self.entries.export_legacy_writable_layer.call(&self.library, Needs::READ, layer, |function| {
            // SAFETY: the function has this type; all strings are NUL-terminated and outlive the call, which does not
            // keep them.
            unsafe { function(volume.as_ptr(), path.as_ptr(), destination.as_ptr(), chain.as_ptr()) }
        })
    }

    /// Deletes a layer's folder with all that is in it (`HcsDestroyLayer`), and sees that it is gone.
    ///
    /// **It deletes any folder**: with the privileges of a backup program, whatever the files' descriptors say. Give it
    /// paths that your program has made itself. Detach the layer's disk first; never destroy a base layer that is in
    /// use.
    ///
    /// The function may report success and leave the folder; it is looked for afterwards. A sharing violation is tried
    /// again. SeBackupPrivilege and SeRestorePrivilege are enabled where they are held.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsdestroylayer>
    ///
    /// # Errors
    /// [`Error::StillThere`], and those of all methods.
    pub fn destroy_layer(&self, layer: &Path) -> Result<()> {
        let path = WideString::from_path(layer)?;
        let entry = &self.entries.destroy_layer;
        self.transient.run(&[HResult::SHARING_VIOLATION], || {
            entry.call(&self.library, Needs::OWN, layer, |function| {
                // SAFETY: the function has this type; the string is NUL-terminated and outlives the call, which does
                // not keep it.
                unsafe { function(path.as_ptr()) }
            })
        })?;
        gone(entry.name(), layer)
    }

    /// Makes a base layer ready for use (`HcsSetupBaseOSLayer`).
    ///
    /// For [`BaseOs::Container`], `layer` is the layer's folder, which holds `Files`; delete `Hives` and `Layout` of an
    /// earlier try first, or it fails because they exist. For [`BaseOs::Vm`], `layer` is its `UtilityVM` folder. The
    /// document's `Type` is that of `base`; set the other options as you need them.
    ///
    /// SeBackupPrivilege and SeRestorePrivilege are enabled.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcssetupbaseoslayer>
    ///
    /// # Errors
    /// [`Error::Argument`] when `options` has the type of the other sort of base; [`ErrorKind::AlreadyExists`] for
    /// left-over `Hives` and `Layout`; those of all methods.
    ///
    /// [`ErrorKind::AlreadyExists`]: crate::ErrorKind::AlreadyExists
    pub fn setup_base_os_layer(
        &self,
        layer: &Path,
        base: BaseOs<'_>,
        options: &OsLayerOptions,
    ) -> Result<()> {
        if options.layer_type.is_some_and(|layer_type| layer_type != base.layer_type()) {
            return Err(Error::Argument {
                function: self.entries.setup_base_os_layer.name(),
                subject: layer.to_owned(),
                reason: "the type in the options is not that of the base",
            });
        }
        let options = OsLayerOptions { layer_type: Some(base.layer_type()), ..*options };
        self.setup(layer, base, &options)
    }

    /// [`ComputeStorage::setup_base_os_layer`] with a document of your own, which is passed as it is.
    ///
    /// # Errors
    /// As there.
    pub fn setup_base_os_layer_raw(
        &self,
        layer: &Path,
        base: BaseOs<'_>,
        options: &RawDocument,
    ) -> Result<()> {
        self.setup(layer, base, options)
    }

    fn setup(&self, layer: &Path, base: BaseOs<'_>, options: &impl Document) -> Result<()> {
        let (path, options) = (WideString::from_path(layer)?, WideString::from_document(options)?);
        self.entries.setup_base_os_layer.call(&self.library, Needs::WRITE, layer, |function| {
            // SAFETY: the function has this type; the strings are NUL-terminated and outlive the call; the handle is
            // null, or open for as long as `base` lives, and is neither kept nor closed by the call.
            unsafe { function(path.as_ptr(), base.handle(), options.as_ptr()) }
        })
    }

    /// Makes a base layer ready whose files are on a mounted volume (`HcsSetupBaseOSVolume`).
    ///
    /// `volume` has the form `\\?\Volume{…}\`, with the backslash at its end. On a volume that is no base layer's disk
    /// the function succeeds without doing anything: look for `WcSandboxState` on it. As with
    /// [`ComputeStorage::setup_base_os_layer`], `Hives` and `Layout` must not exist. The options are an
    /// [`OsLayerOptions`]; their type is yours to set.
    ///
    /// SeBackupPrivilege and SeRestorePrivilege are enabled.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcssetupbaseosvolume>
    ///
    /// # Errors
    /// [`Error::Build`] before build 19645, and those of all methods.
    pub fn setup_base_os_volume(
        &self,
        layer: &Path,
        volume: &Path,
        options: &(impl Document + ?Sized),
    ) -> Result<()> {
        let entry = &self.entries.setup_base_os_volume;
        let found = self.build();
        if found < Build::BASE_OS_VOLUME {
            return Err(Error::Build { function: entry.name(), needed: Build::BASE_OS_VOLUME, found });
        }
        let (path, volume) = (WideString::from_path(layer)?, WideString::from_path(volume)?);
        let options = WideString::from_document(options)?;
        entry.call(&self.library, Needs::WRITE, layer, |function| {
            // SAFETY: the function has this type; all strings are NUL-terminated and outlive the call, which does not
            // keep them.
            unsafe { function(path.as_ptr(), volume.as_ptr(), options.as_ptr()) }
        })
    }
}

/// Sees that a folder that was to be deleted is not there.
pub(in crate::windows) fn gone(function: &'static str, path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A name that cannot exist does not.
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => Ok(()),
        // Also when it cannot be looked at: a folder that is being deleted is in the way of a new one.
        _ => Err(Error::StillThere { function, path: path.to_owned() }),
    }
}
