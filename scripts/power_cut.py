#!/usr/bin/env python3
"""Cuts the power of a disk under adam, and looks whether everything that was promised is there.

    unshare -m scripts/power_cut.py --adam target/release/adam --model MODEL --other OTHER_MODEL [--rounds 20]

A file system (ext4) is made in a file, mounted, and shut down without flushing its journal, as at a power cut; then it is
mounted again. Needs root, mkfs.ext4 and mount; the mounts are seen in the mount namespace of `unshare -m` only. Prints
`skipped: WHY` and exits with 0 where the machine does not allow it, exits with 1 where a promise was broken.
"""

import argparse
import fcntl
import http.client
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

# EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: what is not in the journal on disk is gone.
SHUTDOWN, WITHOUT_FLUSH = 0x8004587D, 2
DOCUMENTS = 120
DELETED = ("d1", "d2", "d7", "d30", "d119")


def skip(why):
    print(f"skipped: {why}")
    sys.exit(0)


class Disk:
    def __init__(self, home):
        self.image, self.at = os.path.join(home, "disk"), os.path.join(home, "mounted")
        os.mkdir(self.at)
        with open(self.image, "wb") as image:
            image.truncate(96 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True)

    def mount(self):
        subprocess.run(["mount", "-o", "loop", self.image, self.at], check=True, capture_output=True)

    def unmount(self):
        subprocess.run(["umount", self.at], check=True)

    def cut(self):
        top = os.open(self.at, os.O_RDONLY)
        fcntl.ioctl(top, SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
        os.close(top)

    def cut_and_mount(self):
        self.cut()
        self.unmount()
        self.mount()

    def path(self, name):
        return os.path.join(self.at, name)


def usable(home):
    """A disk on which a cut loses what was not synced, and nothing else."""
    if os.geteuid() != 0:
        skip("power cuts need root, to mount a disk")
    for tool in ("mkfs.ext4", "mount", "umount"):
        if not shutil.which(tool):
            skip(f"power cuts need {tool}")
    disk = Disk(home)
    try:
        disk.mount()
    except subprocess.CalledProcessError as fault:
        skip(f"no disk can be mounted here: {fault.stderr.decode().strip()}")
    with open(disk.path("synced"), "w") as file:
        file.write("x")
        file.flush()
        os.fsync(file.fileno())
    top = os.open(disk.at, os.O_RDONLY)
    os.fsync(top)
    os.close(top)
    with open(disk.path("unsynced"), "w") as file:
        file.write("x")
    try:
        disk.cut_and_mount()
    except OSError as fault:
        skip(f"the file system cannot be cut off: {fault}")
    left = os.listdir(disk.at)
    if "synced" not in left or "unsynced" in left:
        skip(f"a cut does not lose what was not synced here: {left}")
    return disk


class Adam:
    def __init__(self, program, home):
        self.program, self.home = program, home

    def run(self, *words):
        done = subprocess.run([self.program, *words], cwd=self.home, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout, done.stderr

    def done(self, *words):
        code, out, err = self.run(*words)
        assert code == 0, f"adam {words}: {err}"
        return out

    def ids(self, index, mode="bm25"):
        out = self.done("search", "--index", index, "--mode", mode, "--top", "10000", "--json", "everyone")
        return sorted(hit["id"] for hit in json.loads(out)["hits"])


class Server:
    def __init__(self, adam, *words):
        self.log = open(os.path.join(adam.home, "serve.log"), "w+")
        self.process = subprocess.Popen(
            [adam.program, "serve", "--listen", "127.0.0.1:0", *words], cwd=adam.home, stderr=self.log
        )
        for _ in range(600):
            said = open(self.log.name).read()
            if "http://" in said:
                self.port = int(said.split("http://127.0.0.1:")[1].split()[0])
                return
            time.sleep(0.05)
        raise AssertionError(f"the server does not start: {said}")

    def post(self, path, body):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        client.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = client.getresponse()
        answer.read()
        return answer.status

    def kill(self):
        self.process.kill()
        self.process.wait()


def cut_off(adam, disk, words, chance):
    """Begins a command and cuts the power at a random moment of it, or a little after its end."""
    process = subprocess.Popen([adam.program, *words], cwd=adam.home, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    time.sleep(chance.uniform(0.02, 1.2))
    disk.cut()
    process.kill()
    process.wait()
    disk.unmount()
    disk.mount()


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--adam", required=True)
    words.add_argument("--model", required=True)
    words.add_argument("--other", required=True, help="another model, for adam reembed")
    words.add_argument("--plain", help="a tantivy index with texts in `key` (d0 to d119) and `body`, for adam import")
    words.add_argument("--rounds", type=int, default=3, help="random cuts of each kind")
    words.add_argument("--seed", type=int, default=1)
    args = words.parse_args()
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as home:
        disk = usable(home)
        adam = Adam(os.path.abspath(args.adam), home)
        model, other = os.path.abspath(args.model), os.path.abspath(args.other)
        data = os.path.join(home, "corpus.jsonl")
        with open(data, "w") as file:
            for number in range(DOCUMENTS):
                file.write(json.dumps({"_id": f"d{number}", "text": f"everyone reads of mark{number}"}) + "\n")
        try:
            broken = check(args, chance, disk, adam, model, other, data)
        finally:
            disk.unmount()
    for line in broken:
        print(f"broken: {line}")
    print(f"{len(broken)} promises broken")
    sys.exit(1 if broken else 0)


def check(args, chance, disk, adam, model, other, data):
    broken = []
    everything = sorted(f"d{number}" for number in range(DOCUMENTS))

    def expect(what, index, wanted):
        for mode in ("bm25", "dense"):
            try:
                found = adam.ids(index, mode)
            except AssertionError as fault:
                broken.append(f"{what}: {fault}")
                return
            if found != wanted:
                broken.append(f"{what}, by {mode}: {len(found)} documents in place of {len(wanted)}")
        code, out, err = adam.run("check", index)
        if code != 0:
            broken.append(f"{what}: {out}{err}")

    # A command that has ended has written.
    index, deep = disk.path("index"), disk.path("new/folders/index")
    for where in (index, deep):
        adam.done("index", "--model", model, "--data", data, "--index", where)
        disk.cut_and_mount()
        expect("adam index", where, everything)
    adam.done("delete", "--index", index, "d1", "d2")
    disk.cut_and_mount()
    expect("adam delete", index, [name for name in everything if name not in ("d1", "d2")])
    adam.done("reembed", index, "--model", other, "--index", disk.path("again"))
    disk.cut_and_mount()
    expect("adam reembed", disk.path("again"), [name for name in everything if name not in ("d1", "d2")])
    vectors = disk.path("vectors.npy")
    adam.done("encode", "--model", model, "--input", data, "--output", vectors)
    disk.cut_and_mount()
    if not (os.path.exists(vectors) and os.path.getsize(vectors) > 4 * DOCUMENTS):
        broken.append("adam encode: its file is gone")

    # A commit that was acknowledged is there.
    for round in range(args.rounds):
        server = Server(adam, "--index", disk.path("served"), "--model", model, "--commit-every", "0")
        for commit in range(3):
            answer = server.post("/documents?commit=true", [{"id": f"r{round}-{commit}", "text": "everyone"}])
            if answer != 200:
                broken.append(f"adam serve: {answer}")
        disk.cut()
        server.kill()
        disk.unmount()
        disk.mount()
        expect("adam serve", disk.path("served"), sorted(f"r{r}-{c}" for r in range(round + 1) for c in range(3)))

    # A command that was cut off goes on, whenever that was.
    kept = os.path.join(adam.home, "kept")
    adam.done("index", "--model", model, "--data", data, "--index", kept)
    without = [name for name in everything if name not in DELETED]
    target = disk.path("cut")
    commands = {
        "index": (("index", "--model", model, "--data", data, "--index", target, "--commit-every", "20"), everything),
        "reembed": (("reembed", kept, "--model", other, "--index", target, "--commit-every", "20"), everything),
        "delete": (("delete", "--index", target, *DELETED), without),
    }
    if args.plain:
        words = ("import", os.path.abspath(args.plain), "--model", model, "--key", "key", "--fields", "body")
        commands["import"] = ((*words, "--index", target, "--commit-every", "20"), everything)
    for command, (words, wanted) in commands.items():
        for _ in range(args.rounds):
            shutil.rmtree(target, ignore_errors=True)
            if command == "delete":
                shutil.copytree(kept, target)
            # Else the cut could bring back the folder of the round before.
            os.sync()
            cut_off(adam, disk, words, chance)
            code, _, err = adam.run(*words)
            if code != 0:
                broken.append(f"adam {command} after a cut: {err}")
            else:
                expect(f"adam {command} after a cut", target, wanted)
    whole = os.path.join(adam.home, "whole.npy")
    adam.done("encode", "--model", model, "--input", data, "--output", whole)
    for _ in range(args.rounds):
        for left in os.listdir(disk.at):
            if left.startswith("vectors"):
                os.unlink(disk.path(left))
        os.sync()
        words = ("encode", "--model", model, "--input", data, "--output", vectors)
        cut_off(adam, disk, words, chance)
        # A file of that name is whole, however the cut fell.
        if os.path.exists(vectors) and open(vectors, "rb").read() != open(whole, "rb").read():
            broken.append("adam encode after a cut: half a file bears the name of the whole")
        code, _, err = adam.run(*words)
        if code != 0:
            broken.append(f"adam encode after a cut: {err}")
        elif open(vectors, "rb").read() != open(whole, "rb").read():
            broken.append("adam encode after a cut: another file than undisturbed")
    return broken


if __name__ == "__main__":
    main()
