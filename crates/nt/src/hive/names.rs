//! The five hives of a layer: what they are called where, and where they are mounted.
//!
//! A base layer has the hives themselves in `Files\Windows\System32\config`, and once processed, links to them in `Hives`
//! as `*_Base`. Other layers have their changes in `Hives` as `*_Delta`. The case of these names varies.

/// One of the five hives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SystemHive {
    /// The settings of services before anybody logs on.
    Default,
    /// Accounts.
    Sam,
    /// Policies and secrets of the local security authority.
    Security,
    /// Settings of programs and of Windows.
    Software,
    /// Services, drivers and how the system starts.
    System,
}

/// The folder of a base layer in which the hives are.
pub const CONFIG_DIRECTORY: &str = "Files/Windows/System32/config";
/// The folder of a layer in which the deltas are.
pub const HIVES_DIRECTORY: &str = "Hives";

/// A row for each hive: file in the config folder, stem in `Hives`, where it is mounted.
const TABLE: [(SystemHive, &str, &str, &str); 5] = [
    (SystemHive::Default, "DEFAULT", "DefaultUser", r"HKU\.DEFAULT"),
    (SystemHive::Sam, "SAM", "Sam", r"HKLM\SAM"),
    (SystemHive::Security, "SECURITY", "Security", r"HKLM\SECURITY"),
    (SystemHive::Software, "SOFTWARE", "Software", r"HKLM\SOFTWARE"),
    (SystemHive::System, "SYSTEM", "System", r"HKLM\SYSTEM"),
];

/// Long names of the registry's roots, and the short ones that they stand for.
const ROOTS: [(&str, &str); 2] = [("HKEY_LOCAL_MACHINE", "HKLM"), ("HKEY_USERS", "HKU")];

impl SystemHive {
    /// All five, in the order of the table.
    pub const ALL: [Self; 5] = [Self::Default, Self::Sam, Self::Security, Self::Software, Self::System];

    const fn row(self) -> &'static (Self, &'static str, &'static str, &'static str) {
        &TABLE[self as usize]
    }

    /// The file in the config folder: `SOFTWARE`.
    pub const fn file_name(self) -> &'static str {
        self.row().1
    }

    /// The stem of the files in `Hives`: `Software`.
    pub const fn stem(self) -> &'static str {
        self.row().2
    }

    /// The link of a processed base layer: `Software_Base`.
    pub fn base_name(self) -> String {
        format!("{}_Base", self.stem())
    }

    /// The changes of a layer: `Software_Delta`.
    pub fn delta_name(self) -> String {
        format!("{}_Delta", self.stem())
    }

    /// Where the hive is mounted: `HKLM\SOFTWARE`.
    pub const fn mount_point(self) -> &'static str {
        self.row().3
    }

    /// The hive of any of its names, in any case: `SOFTWARE`, `Software_Delta`, `software_base`, `HKLM\Software`.
    pub fn from_name(name: &str) -> Option<Self> {
        let short = short_root(name);
        let name = short.as_deref().unwrap_or(name);
        let lower = name.to_ascii_lowercase();
        let stem = lower.strip_suffix("_delta").or_else(|| lower.strip_suffix("_base"));
        TABLE
            .iter()
            .find(|(_, file, hive, mount)| match stem {
                Some(stem) => hive.eq_ignore_ascii_case(stem),
                None => [*file, *hive, *mount].iter().any(|known| known.eq_ignore_ascii_case(name)),
            })
            .map(|row| row.0)
    }

    /// The hive that a registry path lies in, and the path in it: `HKLM\SOFTWARE\Microsoft` is `Microsoft` in
    /// [`Software`](Self::Software). `None` for what is in none of the five.
    pub fn split_path(path: &str) -> Option<(Self, String)> {
        let path = path.trim_matches('\\');
        let short = short_root(path);
        let path = short.as_deref().unwrap_or(path);
        TABLE.iter().find_map(|&(hive, _, _, mount)| {
            let (head, rest) = path.split_at_checked(mount.len())?;
            let rest = if rest.is_empty() { rest } else { rest.strip_prefix('\\')? };
            head.eq_ignore_ascii_case(mount).then(|| (hive, rest.to_owned()))
        })
    }
}

/// The path with a short root, when it had a long one.
fn short_root(path: &str) -> Option<String> {
    ROOTS.iter().find_map(|(long, short)| {
        let (head, rest) = path.split_at_checked(long.len())?;
        (head.eq_ignore_ascii_case(long) && (rest.is_empty() || rest.starts_with('\\')))
            .then(|| format!("{short}{rest}"))
    })
}
