#!/usr/bin/env python3
"""Makes the two images that `layerstone demo` carries, with nothing but Python's standard library: the demo must not
read only what our own writers wrote. Run it in this directory; the result is the same every time."""

import base64
import gzip
import hashlib
import io
import json
import struct
import tarfile


def sid(*parts):
    authority, subs = parts[0], parts[1:]
    return struct.pack("<BB", 1, len(subs)) + authority.to_bytes(6, "big") + struct.pack(f"<{len(subs)}I", *subs)


ADMINISTRATORS, SYSTEM, USERS = sid(5, 32, 544), sid(5, 18), sid(5, 32, 545)


def descriptor(inherit):
    """O:BAG:SY, full control for administrators and the system, read and execute for users (MS-DTYP 2.4.6)."""
    flags = 3 if inherit else 0
    aces = b"".join(
        struct.pack("<BBHI", 0, flags, 8 + len(who), mask) + who
        for who, mask in ((ADMINISTRATORS, 0x1F01FF), (SYSTEM, 0x1F01FF), (USERS, 0x1200A9))
    )
    acl = struct.pack("<BBHHH", 2, 0, 8 + len(aces), 3, 0) + aces
    owner = 20
    group = owner + len(ADMINISTRATORS)
    dacl = group + len(SYSTEM)
    return struct.pack("<BBHIIII", 1, 0, 0x8004, owner, group, 0, dacl) + ADMINISTRATORS + SYSTEM + acl


class Layer:
    def __init__(self, windows):
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.PAX_FORMAT)
        self.windows = windows

    def add(self, name, kind=tarfile.REGTYPE, data=b"", link="", mode=0o644, time=1_700_000_000.25, attributes=None, **pax):
        info = tarfile.TarInfo(name)
        info.type, info.size, info.linkname, info.mode = kind, len(data), link, mode
        info.mtime = time
        if self.windows and attributes is not None:
            info.mode = 0
            pax["MSWINDOWS.fileattr"] = str(attributes)
            pax["LIBARCHIVE.creationtime"] = "1699999999.5"
            if kind != tarfile.LNKTYPE:
                pax["MSWINDOWS.rawsd"] = base64.b64encode(descriptor(kind == tarfile.DIRTYPE)).decode()
        info.pax_headers = {key.replace("__", "."): value for key, value in pax.items()}
        self.tar.addfile(info, io.BytesIO(data))

    def directory(self, name, **more):
        self.add(name, tarfile.DIRTYPE, attributes=0x10 if self.windows else None, mode=0o755, **more)

    def finish(self):
        self.tar.close()
        return self.buffer.getvalue()


def windows_base():
    layer = Layer(True)
    layer.directory("Files")
    layer.directory("Files/Windows")
    layer.directory("Files/Windows/System32")
    layer.directory("Files/Windows/System32/config")
    for hive in ("DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"):
        layer.add(f"Files/Windows/System32/config/{hive}", attributes=0x20)
    layer.add("Files/Windows/System32/notepad.exe", data=b"MZ" + bytes(range(256)) * 24, attributes=0x20,
              **{"MSWINDOWS.xattr.$KERNEL.PURGE.ESBCACHE": base64.b64encode(b"\x01\x02\x03\x04").decode()})
    layer.add("Files/Windows/notepad.exe", tarfile.LNKTYPE, link="Files/Windows/System32/notepad.exe", attributes=0x20)
    layer.add("Files/License.txt", data=b"Read me first.\r\n", attributes=0x21)
    layer.add("Files/License.txt:Zone.Identifier", data=b"[ZoneTransfer]\r\nZoneId=3\r\n")
    layer.directory("Files/Users")
    layer.directory("Files/Users/Public")
    layer.add("Files/Users/All Users", tarfile.SYMTYPE, link="C:\\ProgramData", attributes=0x410)
    layer.add("Files/Documents and Settings", tarfile.SYMTYPE, link="C:\\Users", attributes=0x2416,
              MSWINDOWS__mountpoint="1")
    layer.directory("UtilityVM")
    layer.directory("UtilityVM/Files")
    layer.add("UtilityVM/Files/notepad.exe", tarfile.LNKTYPE, link="Files/Windows/System32/notepad.exe", attributes=0x20)
    return layer.finish()


def windows_app():
    layer = Layer(True)
    layer.directory("Files")
    # Another spelling than the layer below has: on Windows it is the same directory.
    layer.directory("Files/WINDOWS")
    layer.add("Files/WINDOWS/app.exe", data=b"MZ" + b"app" * 3000, attributes=0x20)
    # A hard link into the layer below.
    layer.add("Files/editor.exe", tarfile.LNKTYPE, link="Files/Windows/System32/notepad.exe", attributes=0x20)
    layer.add("Files/.wh.License.txt")
    layer.directory("Hives")
    layer.add("Hives/Software_Delta", data=b"regf" + bytes(8188), attributes=0x20)
    return layer.finish()


def linux_base():
    layer = Layer(False)
    for name in ("bin", "etc", "tmp", "var"):
        layer.directory(name)
    layer.add("bin/busybox", data=b"\x7fELF" + b"busy" * 4000, mode=0o755)
    layer.add("bin/sh", tarfile.LNKTYPE, link="bin/busybox", mode=0o755)
    layer.add("bin/su", data=b"\x7fELF su", mode=0o4755)
    layer.add("etc/os-release", data=b"NAME=Sample\nID=sample\n")
    layer.add("etc/issue", tarfile.SYMTYPE, link="os-release", mode=0o777)
    layer.add("var/old.log", data=b"old\n", time=-86_400.5)
    return layer.finish()


def linux_app():
    layer = Layer(False)
    layer.add("etc/app.conf", data=b"answer = 42\n", **{"SCHILY.xattr.user.origin": "sample"})
    layer.add("var/.wh.old.log")
    return layer.finish()


def image(path, name, config, layers):
    blobs = {}

    def put(data, media):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)}

    config["rootfs"] = {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest() for tar in layers]}
    descriptors = [put(gzip.compress(tar, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip") for tar in layers]
    as_json = lambda value: json.dumps(value, separators=(",", ":")).encode()
    manifest = put(as_json({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(as_json(config), "application/vnd.oci.image.config.v1+json"),
        "layers": descriptors,
    }), "application/vnd.oci.image.manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": name}
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        files = {"oci-layout": as_json({"imageLayoutVersion": "1.0.0"}),
                 "index.json": as_json({"schemaVersion": 2, "manifests": [manifest]})}
        files.update({f"blobs/sha256/{digest}": data for digest, data in sorted(blobs.items())})
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


image("windows.oci.tar", "sample/windows:1", {
    "created": "2023-11-14T22:13:20Z", "architecture": "amd64", "os": "windows", "os.version": "10.0.20348.2113",
    "config": {"Cmd": ["c:\\windows\\app.exe"]}, "history": [{"created_by": "base"}, {"created_by": "app"}],
}, [windows_base(), windows_app()])
image("linux.oci.tar", "sample/linux:1", {
    "created": "2023-11-14T22:13:20Z", "architecture": "amd64", "os": "linux",
    "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}, "history": [{"created_by": "base"}, {"created_by": "app"}],
}, [linux_base(), linux_app()])
