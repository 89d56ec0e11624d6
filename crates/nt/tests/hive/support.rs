//! Samples, and how they are unpacked.

use std::io::Read as _;

/// All hives among the samples that can be read, with keys and values as `hivexml` (hivex 1.3.23), regipy 6.5 and
/// python-registry 1.3 count them; for those from the tests of notatin and dfwinreg, these say the same.
pub(crate) const HIVES: [(&str, u64, u64); 35] = [
    ("cfreds/base.hive.gz", 1, 0),
    ("dfwinreg/SECURITY.gz", 101, 110),
    ("ericz/Acronis_0x52_Usrclass.dat.gz", 205, 855),
    ("ericz/BCD.gz", 66, 46),
    ("ericz/NTUSER1.DAT.gz", 595, 878),
    ("ericz/SAM.gz", 68, 73),
    ("ericz/SAM_DUPENAME.gz", 112, 128),
    ("ericz/SAM_RootValue.gz", 65, 71),
    ("ericz/SAM_hasBigEndianDWord.gz", 92, 103),
    ("ericz/SECURITY.gz", 242, 242),
    ("ericz/SECURITYNoRoot", 8, 2),
    ("ericz/UsrClassDeletedBags.dat.gz", 37, 231),
    ("notatin/NTUSER.DAT.gz", 2853, 5523),
    ("openvmm/imc.hiv", 9, 15),
    ("plaso/100_sub_keys.hiv", 101, 100),
    ("plaso/NTUSER-WIN7.DAT.gz", 2288, 5470),
    ("plaso/NTUSER.DAT.gz", 1597, 2310),
    ("plaso/SAM.gz", 76, 84),
    ("plaso/UsrClass.dat.gz", 7505, 19987),
    ("plaso/win10-Amcache.hve.gz", 207, 4188),
    ("python-registry/REORGANIZED_VALUES_TESTS", 3, 22),
    ("python-registry/UNICODE_TESTS", 3, 22),
    ("python-registry/issue22.hive", 1, 10),
    ("regipy/BCD.xz", 132, 103),
    ("regipy/NTUSER-WSL.DAT.xz", 3074, 4949),
    ("regipy/NTUSER.DAT.xz", 1812, 4094),
    ("regipy/SAM.xz", 65, 70),
    ("regipy/SECURITY.xz", 100, 109),
    ("regipy/SYSTEM_B.xz", 33123, 74957),
    ("regipy/SYSTEM_WIN_10_1709.xz", 43211, 90307),
    ("regipy/UsrClass.dat.xz", 6205, 12369),
    ("regipy/amcache.hve.xz", 2105, 17539),
    ("regipy/ntuser_software_partial.xz", 6396, 19990),
    ("regipy/transactions_NTUSER.DAT.xz", 2590, 4119),
    ("regparser/NTUSER.DAT.gz", 1127, 5602),
];

/// The hives that this host can unpack: `xz` is a program that Windows does not have.
pub(crate) fn hives() -> impl Iterator<Item = (&'static str, u64, u64)> {
    HIVES.into_iter().filter(|(name, ..)| cfg!(unix) || !name.ends_with(".xz"))
}

/// A file of the samples, unpacked; `None` after having said what is missing.
#[track_caller]
pub(crate) fn sample(test: &str, name: &str) -> Option<Vec<u8>> {
    let path = layerstone_testing::sample(test, &format!("hives/{name}"))?;
    if name.ends_with(".xz") {
        let output = layerstone_testing::tool(test, "xz")?.arg("-dc").arg(&path).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        return Some(output.stdout);
    }
    let bytes = std::fs::read(&path).unwrap();
    if !name.ends_with(".gz") {
        return Some(bytes);
    }
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).unwrap();
    Some(unpacked)
}
