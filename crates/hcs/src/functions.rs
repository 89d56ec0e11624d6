//! The functions that this crate calls when they are there: which DLL has them, and since when.
//!
//! None of them is imported by the program file. A program that uses this crate therefore starts on every Windows; a
//! function that is missing is an error of the call that wanted it ([`Error::Unavailable`](crate::Error::Unavailable)).

use std::fmt;

/// A function of a DLL of Windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Function {
    /// The DLL.
    pub library: &'static str,
    /// The function's name.
    pub name: &'static str,
    /// The first build of Windows that has it, where that is published.
    pub since: Option<Build>,
    /// Its documentation, where there is any.
    pub page: Option<&'static str>,
}

/// A build number of Windows, the third part of `10.0.17763`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Build(pub u32);

impl Build {
    /// Windows 7: virtual disks.
    pub const WINDOWS_7: Self = Build(7600);
    /// Windows 10 1607 and Windows Server 2016: containers.
    pub const SERVER_2016: Self = Build(14393);
    /// Windows 10 1809 and Windows Server 2019: computestorage.dll.
    pub const SERVER_2019: Self = Build(17763);
    /// Windows 10 1903. Before it, [`HcsFormatWritableLayerVhd`](COMPUTESTORAGE) takes the handle of a disk.
    pub const WINDOWS_10_1903: Self = Build(18362);
    /// Windows Server 2022: waiting for the end of systems and processes in one call.
    pub const SERVER_2022: Self = Build(20348);
    /// The first build in which `HcsSetupBaseOSVolume` is used: an insider build on the way to Windows Server 2022.
    pub const BASE_OS_VOLUME: Self = Build(19645);

    const fn release(self) -> Option<&'static str> {
        match self.0 {
            7600 => Some("Windows 7, Windows Server 2008 R2"),
            14393 => Some("Windows 10 1607, Windows Server 2016"),
            17763 => Some("Windows 10 1809, Windows Server 2019"),
            18362 => Some("Windows 10 1903, Windows Server 1903"),
            19645 => Some("Windows Server 2022, Windows 11"),
            20348 => Some("Windows Server 2022"),
            _ => None,
        }
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.release() {
            Some(release) => write!(f, "{} ({release})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

macro_rules! functions {
    ($library:literal since $since:expr; $($name:literal $(since $other:expr;)? $(at $page:literal)?,)*) => {
        [$(Function {
            library: $library,
            name: $name,
            since: functions!(@since $since $(, $other)?),
            page: functions!(@page $($page)?),
        }),*]
    };
    (@since $since:expr) => { Some($since) };
    (@since $since:expr, $other:expr) => { $other };
    (@page) => { None };
    (@page $page:literal) => { Some(concat!("https://learn.microsoft.com/", $page)) };
}

/// computestorage.dll. "HCS reference", learn.microsoft.com; the two functions of the overlay filter have no page, and
/// the build that brought them is not published (they are in 26200).
pub const COMPUTESTORAGE: [Function; 14] = functions!("computestorage.dll" since Build::SERVER_2019;
    "HcsImportLayer" at "virtualization/api/hcs/reference/hcsimportlayer",
    "HcsExportLayer" at "virtualization/api/hcs/reference/hcsexportlayer",
    "HcsExportLegacyWritableLayer" at "virtualization/api/hcs/reference/hcsexportlegacywritablelayer",
    "HcsDestroyLayer" at "virtualization/api/hcs/reference/hcsdestroylayer",
    "HcsSetupBaseOSLayer" at "virtualization/api/hcs/reference/hcssetupbaseoslayer",
    "HcsSetupBaseOSVolume" since Some(Build::BASE_OS_VOLUME); at "virtualization/api/hcs/reference/hcssetupbaseosvolume",
    "HcsInitializeWritableLayer" at "virtualization/api/hcs/reference/hcsinitializewritablelayer",
    "HcsInitializeLegacyWritableLayer" at "virtualization/api/hcs/reference/hcsinitializelegacywritablelayer",
    "HcsAttachLayerStorageFilter" at "virtualization/api/hcs/reference/hcsattachlayerstoragefilter",
    "HcsDetachLayerStorageFilter" at "virtualization/api/hcs/reference/hcsdetachlayerstoragefilter",
    "HcsFormatWritableLayerVhd" at "virtualization/api/hcs/reference/hcsformatwritablelayervhd",
    "HcsGetLayerVhdMountPath" at "virtualization/api/hcs/reference/hcsgetlayervhdmountpath",
    "HcsAttachOverlayFilter" since None;,
    "HcsDetachOverlayFilter" since None;,
);

/// vmcompute.dll, the older interface. It has no documentation; its functions are those that hcsshim (MIT) declares.
pub const VMCOMPUTE: [Function; 15] = functions!("vmcompute.dll" since Build::SERVER_2016;
    "NameToGuid",
    "ProcessBaseImage",
    "ProcessUtilityImage",
    "CreateSandboxLayer",
    "ActivateLayer",
    "PrepareLayer",
    "UnprepareLayer",
    "DeactivateLayer",
    "GetLayerMountPath",
    "ExpandSandboxSize",
    "GrantVmAccess",
    "LayerExists",
    "DestroyLayer",
    "ImportLayer",
    "ExportLayer",
);

/// computecore.dll. "HCS reference", learn.microsoft.com.
pub const COMPUTECORE: [Function; 25] = functions!("computecore.dll" since Build::SERVER_2019;
    "HcsCreateOperation" at "virtualization/api/hcs/reference/hcscreateoperation",
    "HcsCloseOperation" at "virtualization/api/hcs/reference/hcscloseoperation",
    "HcsCancelOperation" at "virtualization/api/hcs/reference/hcscanceloperation",
    "HcsWaitForOperationResult" at "virtualization/api/hcs/reference/hcswaitforoperationresult",
    "HcsWaitForOperationResultAndProcessInfo" at
        "virtualization/api/hcs/reference/hcswaitforoperationresultandprocessinfo",
    "HcsEnumerateComputeSystems" at "virtualization/api/hcs/reference/hcsenumeratecomputesystems",
    "HcsCreateComputeSystem" at "virtualization/api/hcs/reference/hcscreatecomputesystem",
    "HcsOpenComputeSystem" at "virtualization/api/hcs/reference/hcsopencomputesystem",
    "HcsCloseComputeSystem" at "virtualization/api/hcs/reference/hcsclosecomputesystem",
    "HcsStartComputeSystem" at "virtualization/api/hcs/reference/hcsstartcomputesystem",
    "HcsShutDownComputeSystem" at "virtualization/api/hcs/reference/hcsshutdowncomputesystem",
    "HcsTerminateComputeSystem" at "virtualization/api/hcs/reference/hcsterminatecomputesystem",
    "HcsPauseComputeSystem" at "virtualization/api/hcs/reference/hcspausecomputesystem",
    "HcsResumeComputeSystem" at "virtualization/api/hcs/reference/hcsresumecomputesystem",
    "HcsGetComputeSystemProperties" at "virtualization/api/hcs/reference/hcsgetcomputesystemproperties",
    "HcsWaitForComputeSystemExit" since Some(Build::SERVER_2022); at
        "virtualization/api/hcs/reference/hcswaitforcomputesystemexit",
    "HcsCreateProcess" at "virtualization/api/hcs/reference/hcscreateprocess",
    "HcsOpenProcess" at "virtualization/api/hcs/reference/hcsopenprocess",
    "HcsCloseProcess" at "virtualization/api/hcs/reference/hcscloseprocess",
    "HcsTerminateProcess" at "virtualization/api/hcs/reference/hcsterminateprocess",
    "HcsSignalProcess" at "virtualization/api/hcs/reference/hcssignalprocess",
    "HcsGetProcessInfo" at "virtualization/api/hcs/reference/hcsgetprocessinfo",
    "HcsGetProcessProperties" at "virtualization/api/hcs/reference/hcsgetprocessproperties",
    "HcsModifyProcess" at "virtualization/api/hcs/reference/hcsmodifyprocess",
    "HcsWaitForProcessExit" since Some(Build::SERVER_2022); at
        "virtualization/api/hcs/reference/hcswaitforprocessexit",
);

/// virtdisk.dll.
pub const VIRTDISK: [Function; 5] = functions!("virtdisk.dll" since Build::WINDOWS_7;
    "CreateVirtualDisk" at "windows/win32/api/virtdisk/nf-virtdisk-createvirtualdisk",
    "OpenVirtualDisk" at "windows/win32/api/virtdisk/nf-virtdisk-openvirtualdisk",
    "AttachVirtualDisk" at "windows/win32/api/virtdisk/nf-virtdisk-attachvirtualdisk",
    "DetachVirtualDisk" at "windows/win32/api/virtdisk/nf-virtdisk-detachvirtualdisk",
    "GetVirtualDiskPhysicalPath" at "windows/win32/api/virtdisk/nf-virtdisk-getvirtualdiskphysicalpath",
);

/// Everything that [`COMPUTESTORAGE`], [`VMCOMPUTE`], [`VIRTDISK`] and [`COMPUTECORE`] list.
pub fn all() -> impl Iterator<Item = &'static Function> {
    COMPUTESTORAGE.iter().chain(&VMCOMPUTE).chain(&VIRTDISK).chain(&COMPUTECORE)
}

/// The entry of a function.
pub fn find(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name == name)
}
