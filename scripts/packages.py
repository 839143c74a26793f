#!/usr/bin/env python3
"""Packages every publishable crate, unpacks the packages outside of the workspace, and checks and tests them there.

  scripts/packages.py                 all of it
  scripts/packages.py --check-only    compile the packages and their tests, run none
  scripts/packages.py --keep DIR      unpack into DIR and leave it there

Outside means: no workspace, no `.cargo/config.toml`, no file that is not in a package. The unpacked crates take each other
from where they lie, in place of a registry, and the versions of this workspace's Cargo.lock. The compiled dependencies of
the workspace are used again.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A package without one of these would be refused or hard to find.
NEEDED = ["description", "license", "repository", "readme", "keywords", "categories", "rust_version"]
NEEDED_FILES = ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "src/lib.rs"]


def cargo(*arguments, cwd=ROOT, **environment):
    print("+ cargo", *arguments, file=sys.stderr, flush=True)
    return subprocess.run(["cargo", *arguments], cwd=cwd, env={**os.environ, **environment}, check=True)


def metadata():
    out = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    return json.loads(out.stdout)


def publishable(workspace):
    """Packages that may be published: `publish` is an empty list where it is false, and null where anywhere is allowed."""
    return [package for package in workspace["packages"] if package["publish"] is None]


def problems(package, folder):
    for field in NEEDED:
        if not package.get(field):
            yield f"Cargo.toml has no `{field.replace('_', '-')}`"
    for name in NEEDED_FILES:
        path = folder / name
        if not path.is_file() or path.is_symlink():
            yield f"the package has no file {name}"
    for dependency in package["dependencies"]:
        if dependency.get("path") and dependency["kind"] != "dev" and dependency["req"] == "*":
            yield f"the dependency {dependency['name']} has a path and no version"


def unpack(workspace, packages, out):
    members = {}
    for package in packages:
        stem = f"{package['name']}-{package['version']}"
        with tarfile.open(Path(workspace["target_directory"]) / "package" / f"{stem}.crate") as archive:
            archive.extractall(out, filter="data")
        members[package["name"]] = stem
        shutil.rmtree(out / stem / "target", ignore_errors=True)
    profile = tomllib.loads((ROOT / "Cargo.toml").read_text())["profile"]["release"]
    lines = ["[workspace]", 'resolver = "3"', f"members = {json.dumps(sorted(members.values()))}", "", "[patch.crates-io]"]
    lines += [f"{name} = {{ path = {json.dumps(stem)} }}" for name, stem in sorted(members.items())]
    lines += ["", "[profile.release]"] + [f"{key} = {json.dumps(value)}" for key, value in profile.items() if not isinstance(value, dict)]
    (out / "Cargo.toml").write_text("\n".join(lines) + "\n")
    shutil.copy(ROOT / "Cargo.lock", out / "Cargo.lock")
    return members


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check-only", action="store_true")
    parser.add_argument("--keep", type=Path, metavar="DIR")
    arguments = parser.parse_args()

    workspace = metadata()
    packages = publishable(workspace)
    names = [package["name"] for package in packages]
    if not names:
        sys.exit("packages: error: no package of this workspace may be published")
    cargo("package", "--locked", "--no-verify", "--allow-dirty", *[part for name in names for part in ("-p", name)])

    out = arguments.keep or Path(tempfile.mkdtemp(prefix="adam-packages-"))
    out.mkdir(parents=True, exist_ok=True)
    try:
        members = unpack(workspace, packages, out)
        faults = [
            f"{package['name']}: {problem}"
            for package in packages
            for problem in problems(package, out / members[package["name"]])
        ]
        if faults:
            sys.exit("packages: error: " + "\n  ".join(["not fit to publish", *faults]))
        target = os.environ.get("CARGO_TARGET_DIR", workspace["target_directory"])
        native = ROOT / ".native/onnxruntime/libonnxruntime.so"
        environment = {"CARGO_TARGET_DIR": target}
        if native.exists():
            environment["ORT_DYLIB_PATH"] = os.environ.get("ORT_DYLIB_PATH", str(native))
        for name in names:
            verb = "check" if arguments.check_only else "test"
            cargo(verb, "--release", "-p", name, *(["--all-targets"] if arguments.check_only else []), cwd=out, **environment)
    except subprocess.CalledProcessError as fault:
        sys.exit(f"packages: error: {' '.join(fault.cmd)} ended with {fault.returncode}")
    finally:
        if not arguments.keep:
            shutil.rmtree(out, ignore_errors=True)
    print(f"packages: {', '.join(names)} build {'and test themselves ' if not arguments.check_only else ''}outside of the workspace")


if __name__ == "__main__":
    main()
