"""Writes the archives of the corpus into a directory: what tar allows and unpackers must agree on."""

import io
import os
import subprocess
import sys
import tarfile
from tarfile import BLKTYPE, CHRTYPE, DIRTYPE, FIFOTYPE, LNKTYPE, SYMTYPE

OUT = sys.argv[1]


class Archive:
    def __init__(self, name, form=tarfile.PAX_FORMAT):
        self.tar = tarfile.open(os.path.join(OUT, name + ".tar"), "w", format=form,
                                encoding="utf-8", errors="surrogateescape")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tar.close()

    def add(self, name, data=b"", **fields):
        if isinstance(name, bytes):
            name = name.decode("utf-8", "surrogateescape")
        info = tarfile.TarInfo(name)
        info.mtime = 1_500_000_000
        info.mode = 0o644
        for key, value in fields.items():
            setattr(info, key, value)
        info.size = len(data)
        self.tar.addfile(info, io.BytesIO(data) if data else None)

    def dir(self, name, mode=0o755, **fields):
        self.add(name, type=DIRTYPE, mode=mode, **fields)

    def link(self, name, target, **fields):
        self.add(name, type=LNKTYPE, linkname=target, **fields)

    def symlink(self, name, target, **fields):
        self.add(name, type=SYMTYPE, linkname=target, mode=0o777, **fields)


with Archive("links") as a:
    a.add("file", b"content", uid=5)
    a.link("hard", "file")
    a.link("dir/hard", "./file")
    a.symlink("symlink", "nowhere")
    a.link("hard-symlink", "symlink")
    a.add("null", type=CHRTYPE, devmajor=1, devminor=3)
    a.link("hard-null", "/null")
    a.add("large", b"x" * 100_000)
    a.link("hard-large", "large")

with Archive("link-before-target") as a:
    a.link("a", "b")
    a.link("b", "c")
    a.link("z", "a")
    a.link("gone", "nowhere")
    a.add("c", b"late")

with Archive("duplicates") as a:
    a.add("file", b"first", mode=0o600)
    a.add("file", b"second", mode=0o640)
    a.dir("dir", 0o700)
    a.add("dir/child", b"child")
    a.dir("dir", 0o711, uid=3)
    a.dir("was-dir")
    a.add("was-dir", b"file now")
    a.add("was-file", b"x" * 5000)
    a.dir("was-file")
    a.add("was-file/in", b"in")
    a.symlink("was-link", "file")
    a.add("was-link", b"no link")
    a.add("to-link", b"old")
    a.symlink("to-link", "file")
    a.add("old", b"old bytes")
    a.link("keeps-old", "old")
    a.add("old", b"new bytes")
    a.add("again", b"1")
    a.link("again", "file")

with Archive("full-directory-to-file") as a:
    a.dir("dir")
    a.add("dir/child", b"child")
    a.add("dir", b"file")

with Archive("missing-parents") as a:
    a.add("a/b/c/file", b"x")
    a.symlink("d/e/link", "x")
    a.dir("a/b", 0o700)
    a.add("f/pipe", type=FIFOTYPE)

with Archive("through-symlinks") as a:
    a.dir("real")
    a.symlink("alias", "real")
    a.add("alias/file", b"through")
    a.dir("alias/sub/")
    a.add("alias/sub/deep", b"deeper")
    a.link("alias/hard", "alias/file")

with Archive("names") as a:
    a.dir("./", 0o750, uid=9)
    a.add("./dot", b"1")
    a.add("././/twice//slashed", b"2")
    a.add("/absolute/name", b"3")
    a.add("../up", b"4")
    a.add("x/../../y/z", b"5")
    a.add("stay/in/../here", b"6")
    a.add(b"odd-\xff\xfe", b"7")
    a.add("space and\nnewline\t\x7f", b"8")
    a.add("n" * 255, b"9")
    a.add("trailing-slash/", type=DIRTYPE)
    a.add("-dash", b"a")
    a.add("\u00fcml\u00e4ut", b"b")
    a.symlink("odd-target", b"\xff\xfe".decode("utf-8", "surrogateescape"))
    a.symlink("long-target", "t" * 4000)

for form, name in ((tarfile.GNU_FORMAT, "gnu"), (tarfile.PAX_FORMAT, "pax")):
    with Archive("metadata-" + name, form) as a:
        a.add("setuid", b"x", mode=0o4755)
        a.add("setgid", b"x", mode=0o2755)
        a.dir("sticky", 0o1777)
        a.add("none", b"x", mode=0)
        a.add("owner-16", b"x", uid=65535, gid=65536)
        a.add("owner-31", b"x", uid=2**31, gid=2**31 + 1)
        a.add("owner-32", b"x", uid=2**32 - 2, gid=2**32 - 2)
        a.add("before-1970", b"x", mtime=-1_000_000)
        a.add("epoch", b"x", mtime=0)
        a.add("after-2038", b"x", mtime=2**33 - 5)
        a.add("sda1", type=BLKTYPE, devmajor=8, devminor=1, mode=0o660, gid=6)
        a.add("wide", type=CHRTYPE, devmajor=511, devminor=70_000)
        a.add("pipe", type=FIFOTYPE, mode=0o600)
        a.symlink("owned-link", "x", uid=1000, gid=1000)
        if form == tarfile.PAX_FORMAT:
            for at, time in enumerate(("1.000000001", "1600000000.999999999", "-0.5", "-1.000000001",
                                       "-2000000000.25", "9000000000.5")):
                a.add("fraction-%d" % at, b"x", pax_headers={"mtime": time})
            a.dir("fraction-dir", pax_headers={"mtime": "-3.75"})

with Archive("many") as a:
    a.dir("many")
    for at in range(100_000):
        a.add("many/%x" % (at * 2654435761 % 2**32), b"%d" % at if at % 100 == 0 else b"")

with Archive("sizes") as a:
    for size in (1, 511, 512, 513, 2047, 2048, 2049, 4095, 4096, 4097, 8192, 8193, 100_000, 1 << 20, (1 << 20) + 5):
        a.add("size-%d" % size, bytes(at * 7 % 251 for at in range(min(size, 9973))) * (size // min(size, 9973))
              + b"r" * (size % min(size, 9973)))

with Archive("deep") as a:
    a.add("/".join("d%03d" % at for at in range(400)) + "/file", b"bottom")

with Archive("empty"):
    pass
open(os.path.join(OUT, "nothing.tar"), "wb").close()

with Archive("whiteouts") as a:
    a.add(".wh.gone")
    a.add("dir/.wh..wh..opq")
    a.add("dir/kept", b"k")
    a.add("zero", type=CHRTYPE, devmajor=0, devminor=0)

# A real tree, for the tools to write.
TREE = os.path.join(OUT, "tree")
os.makedirs(TREE + "/dir/sub")
for name, data in (("dir/file", b"hello"), ("plain", b"p" * 10_000), ("dir/sub/nothing", b"")):
    with open(os.path.join(TREE, name), "wb") as file:
        file.write(data)
os.symlink("../file", TREE + "/dir/sub/link")
os.link(TREE + "/plain", TREE + "/hard")
os.chown(TREE + "/plain", 1000, 1001)
os.chmod(TREE + "/plain", 0o4711)
os.utime(TREE + "/dir/file", ns=(0, 1_234_567_890_123_456_789))
os.mkfifo(TREE + "/pipe")
for form in ("v7", "ustar", "oldgnu", "gnu", "posix"):
    # V7 has no fifos.
    names = ["dir", "hard", "plain"] if form == "v7" else ["."]
    subprocess.run(["tar", "-C", TREE, "--format=" + form, "--sort=name", "-cf",
                    os.path.join(OUT, "tool-%s.tar" % form), *names], check=True)

if hasattr(os, "setxattr") and os.geteuid() == 0:
    value = bytes(range(256))
    for path in ("dir/file", "dir", "plain"):
        for name in ("user.note", "user.a=b%c", "trusted.secret", "security.mark"):
            os.setxattr(os.path.join(TREE, path), name, value + path.encode())
    os.setxattr(TREE + "/dir/file", "user.empty", b"")
    os.setxattr(TREE + "/dir/sub/link", "trusted.on-link", b"l", follow_symlinks=False)
    os.setxattr(TREE + "/pipe", "trusted.on-pipe", b"p")
    # cap_net_raw+ep, as file capabilities are kept.
    os.setxattr(TREE + "/plain", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    subprocess.run(["tar", "-C", TREE, "--format=posix", "--sort=name", "--xattrs", "--xattrs-include=*", "-cf",
                    OUT + "/xattrs-gnu.tar", "."], check=True)
    subprocess.run(["bsdtar", "-C", TREE, "--format", "pax", "--xattrs", "-cf", OUT + "/xattrs-bsdtar.tar", "."],
                   check=False)

HOLES = os.path.join(OUT, "holes")
os.makedirs(HOLES)
with open(HOLES + "/sparse", "wb") as file:
    for at in range(30):
        file.seek(at * 70_000)
        file.write(bytes([at + 1]) * 4096)
    file.truncate(30 * 70_000 + 12_345)
with open(HOLES + "/only-hole", "wb") as file:
    file.truncate(5_000_000)
with open(HOLES + "/odd-end", "wb") as file:
    file.seek(1 << 20)
    file.write(b"end")
for form in ("oldgnu", "gnu", "posix-0.0", "posix-0.1", "posix-1.0"):
    form, _, version = form.partition("-")
    options = ["--sparse-version=" + version] if version else []
    subprocess.run(["tar", "-C", HOLES, "--format=" + form, "--sparse", *options, "-cf",
                    os.path.join(OUT, "sparse-%s%s.tar" % (form, version)), "."], check=True)
with open(HOLES + "/over-8-gib", "wb") as file:
    file.seek(3 << 30)
    file.write(b"middle" * 1000)
    file.seek((9 << 30) + 17)
    file.write(b"end of nine gibibytes")
subprocess.run(["tar", "-C", HOLES, "--format=posix", "--sparse", "--sparse-version=1.0", "-cf",
                OUT + "/sparse-huge.tar", "over-8-gib"], check=True)
