"""Writes random layers, `0.tar` lowest, into a directory: the same ones for the same seed.

What they do to each other: files, directories and links come, go, change their type, are hidden and come again, with hard
links into the layers below. Only what every unpacker understands in one way: no names below a symlink.
"""

import io
import os
import random
import sys
import tarfile
from tarfile import CHRTYPE, DIRTYPE, FIFOTYPE, LNKTYPE, SYMTYPE

OUT, SEED, LAYERS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(SEED)
# What is there after all layers so far: path -> "d" or anything else.
state = {"": "d"}


def below(path):
    return [p for p in state if p.startswith(path + "/")]


def remove(path):
    for p in [path, *below(path)]:
        state.pop(p, None)


def new_path():
    parent = rng.choice([p for p, kind in state.items() if kind == "d" and p.count("/") < 4])
    return (parent + "/" if parent else "") + rng.choice("abcdefgh") + rng.choice(["", "1", "\u00e9"])


for number in range(LAYERS):
    tar = tarfile.open(os.path.join(OUT, "%d.tar" % number), "w", format=tarfile.PAX_FORMAT)
    # What this layer has said so far; a whiteout and its name may come in either order.
    said, start, late = set(), dict(state), []
    time = 1_400_000_000 + number * 1000

    def add(name, data=b"", to=None, **fields):
        global time
        time += 1
        info = tarfile.TarInfo(name)
        info.mtime, info.mode, info.uid, info.gid = time, rng.choice([0o644, 0o600, 0o4755]), number, 7
        kind = fields.get("type", tarfile.REGTYPE)
        if rng.random() < 0.3 and kind != LNKTYPE:
            # Linux keeps `user` attributes of files and directories only.
            space = "user" if kind in (tarfile.REGTYPE, DIRTYPE) else "trusted"
            info.pax_headers = {"SCHILY.xattr.%s.layer" % space: "layer %d" % number, "mtime": "%d.%09d" % (time, time)}
        for key, value in fields.items():
            setattr(info, key, value)
        info.size = len(data)
        if to is None:
            tar.addfile(info, io.BytesIO(data) if data else None)
        else:
            to.append((info, data))

    def directories(path):
        """Entries for the directories above, as most writers have them; sometimes none, where they exist anyway."""
        parts = path.split("/")[:-1]
        for at in range(1, len(parts) + 1):
            parent = "/".join(parts[:at])
            if parent not in said and (parent not in state or rng.random() < 0.8):
                add(parent, type=DIRTYPE, mode=0o755)
                said.add(parent)
            state[parent] = "d"

    if number == 0 or rng.random() < 0.5:
        add("./", type=DIRTYPE, mode=0o751)
    for _ in range(rng.randint(5, 30)):
        choice = rng.random()
        if choice < 0.25 and len(start) > 1:
            # A whiteout of something below, maybe with a successor.
            path = rng.choice([p for p in start if p])
            if any(s == path or s.startswith(path + "/") or path.startswith(s + "/") and state.get(s) != "d" for s in said):
                continue
            if path not in state or any(state.get("/".join(path.split("/")[:at])) != "d" for at in range(1, path.count("/") + 1)):
                continue
            directories(path)
            parent, _, name = path.rpartition("/")
            mark = (parent + "/" if parent else "") + ".wh." + name
            again = rng.random() < 0.5
            first = rng.random() < 0.5
            if first or not again:
                add(mark)
            remove(path)
            said.add(path)
            if again:
                if rng.random() < 0.5:
                    add(path, type=DIRTYPE, mode=0o711)
                    add(path + "/inside", b"fresh %d" % number)
                    state[path], state[path + "/inside"] = "d", "-"
                    said.add(path + "/inside")
                else:
                    add(path, b"again %d" % number)
                    state[path] = "-"
                if not first:
                    add(mark, to=late)
        elif choice < 0.32:
            # Opaque, before or behind what is in it.
            path = rng.choice([p for p, kind in state.items() if kind == "d" and p] or [None])
            if path is None or any(s.startswith(path) or path.startswith(s + "/") and state.get(s) != "d" for s in said):
                continue
            directories(path + "/x")
            first = rng.random() < 0.5
            if first:
                add(path + "/.wh..wh..opq")
            remove(path)
            state[path] = "d"
            said.add(path)
            add(path + "/only", b"only %d" % number)
            state[path + "/only"] = "-"
            said.add(path + "/only")
            if not first:
                add(path + "/.wh..wh..opq", to=late)
        else:
            path = new_path()
            # One type for a name in one layer, and nothing below what is no directory any more.
            if any(s == path or s.startswith(path + "/") for s in said):
                continue
            if any(state.get("/".join(path.split("/")[:at]), "d") != "d" for at in range(1, path.count("/") + 1)):
                continue
            kind = rng.choice("ddd-----lhhpc")
            was_directory = state.get(path) == "d"
            directories(path)
            if kind == "d":
                add(path, type=DIRTYPE, mode=rng.choice([0o755, 0o700, 0o1777]))
                if not was_directory:
                    remove(path)
            else:
                if kind == "h":
                    # To a file of this layer or one below, but not one that is hidden or replaced by now.
                    files = [p for p, k in state.items() if k == "-" and p != path and not p.startswith(path + "/")]
                    if not files:
                        continue
                    target = rng.choice(files)
                    add(path, type=LNKTYPE, linkname=target)
                    # It must stay as it is in this layer: what comes first, link or whiteout, is nowhere defined.
                    said.add(target)
                elif kind == "l":
                    add(path, type=SYMTYPE, linkname=rng.choice(["a", "../b", "/c"]), mode=0o777)
                elif kind == "p":
                    add(path, type=FIFOTYPE)
                elif kind == "c":
                    add(path, type=CHRTYPE, devmajor=1, devminor=rng.randint(1, 9))
                else:
                    data = b"%d %s " % (number, path.encode()) * rng.choice([0, 1, 40, 600])
                    add(path, data)
                remove(path)
                kind = "-" if kind in "-h" else kind
            state[path] = kind
            said.add(path)
    for info, data in late:
        tar.addfile(info, io.BytesIO(data) if data else None)
    tar.close()
