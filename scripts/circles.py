#!/usr/bin/env python3
"""Circles between the files of a crate: file A names something of file B, and B, perhaps by way of others, something of A.

  scripts/circles.py                 every crate of the workspace; exit code 1 where there is a circle
  scripts/circles.py adam-plugin     crates by folder
  scripts/circles.py --edges DIR     also prints which file names what of which

A name is followed to the file that defines it: `use super::Engine` is an edge to the file with `struct Engine`, whatever re-exports
lie between. A re-export (`pub use`) and a declaration (`mod a;`) are no edges. Code that only tests compile is left out.
"""

import pathlib
import re
import sys
from collections import defaultdict

ROOT = pathlib.Path(__file__).resolve().parent.parent
ITEM = re.compile(
    r"^\s*(?:pub(?:\([^)]*\))?\s+)?(?:default\s+)?(?:const\s+|async\s+|unsafe\s+|extern\s+\"[^\"]*\"\s+)*"
    r"(?:struct|enum|union|trait|type|fn|const|static|macro_rules!)\s+(?:mut\s+)?(\w+)",
    re.M,
)
MOD = re.compile(r"^\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;", re.M)
USE = re.compile(r"\b(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);")
PATH = re.compile(r"(?<![\w:])((?:crate|self|super|[a-z_]\w*)(?:::\w+)+)")


def stripped(text):
    """The text without comments, texts and characters, so that braces can be counted."""
    token = re.compile(
        r"//[^\n]*|/\*.*?\*/|b?r(#*)\".*?\"\1|b?\"(?:\\.|[^\"\\])*\"|b?'(?:\\.[^']*|[^'\\])'", re.S
    )
    # Lines stay lines.
    return token.sub(lambda found: "\n" * found.group().count("\n"), text)


def block_end(text, start):
    """Where the block that opens at or behind `start` ends."""
    depth = 0
    for at in range(text.index("{", start), len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return at + 1
    return len(text)


def without_tests(text):
    """The text without what only tests compile, and the names of modules that are left out with it."""
    left_out = set()
    pattern = re.compile(r"#\[cfg\((?:all\()?test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*")
    while found := pattern.search(text):
        rest = text[found.end() :]
        declared = re.match(r"(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;", rest)
        if declared:
            left_out.add(declared.group(1))
        statement = re.match(r"[^{;]*;", rest)
        is_use = re.match(r"(?:pub(?:\([^)]*\))?\s+)?use\b[^;]*;", rest)
        if is_use:
            end = found.end() + is_use.end()
        elif statement:
            end = found.end() + statement.end()
        else:
            end = block_end(text, found.end())
        text = text[: found.start()] + text[end:]
    return text, left_out


def leaves(tree, before=()):
    """The paths of a use tree, as (path, name it gets)."""
    tree = tree.strip()
    opening = tree.find("{")
    if opening < 0:
        path, _, name = tree.partition(" as ")
        parts = before + tuple(part.strip() for part in path.split("::") if part.strip())
        if parts and parts[-1] == "self":
            parts = parts[:-1]
        yield parts, name.strip() or (parts[-1] if parts else "")
        return
    head = before + tuple(part.strip() for part in tree[:opening].split("::") if part.strip())
    depth, piece = 0, ""
    for letter in tree[opening + 1 : tree.rindex("}")]:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            yield from leaves(piece, head)
            piece = ""
        else:
            piece += letter
    if piece.strip():
        yield from leaves(piece, head)


class Module:
    def __init__(self, name, file, text):
        self.name, self.file, self.text = name, file, text
        self.children, self.imports, self.items = {}, {}, set()
        self.reexports = set()
        self.globs = []


class Crate:
    def __init__(self, root):
        self.modules = {}
        self.read((), root, root.parent)
        for module in self.modules.values():
            self.note(module)

    def read(self, name, file, folder):
        text, left_out = without_tests(stripped(file.read_text()))
        # `stripped` takes texts away, and so the paths that modules are told to lie at.
        paths = dict(re.findall(r"#\[path = \"([^\"]+)\"\]\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)", file.read_text()))
        paths = {child: path for path, child in paths.items()}
        module = self.modules[name] = Module(name, file, text)
        for child in MOD.findall(text):
            if child in left_out:
                continue
            places = [folder / f"{child}.rs", folder / child / "mod.rs"]
            if child in paths:
                places = [file.parent / paths[child]]
            place = next((place for place in places if place.is_file()), None)
            if place:
                module.children[child] = name + (child,)
                self.read(name + (child,), place, folder / child)

    def note(self, module):
        module.items = set(ITEM.findall(module.text))
        for public, tree in USE.findall(module.text):
            for path, name in leaves(tree):
                if name == "*":
                    module.globs.append(path[:-1])
                    continue
                module.imports[name] = path
                if public:
                    module.reexports.add(name)

    def target(self, module, path, seen=()):
        """The module that defines what a path names, seen from a module; None for what is not of this crate."""
        if not path:
            return None
        at, rest = module.name, list(path)
        if rest[0] == "crate":
            at, rest = (), rest[1:]
        elif rest[0] in ("self", "super"):
            while rest and rest[0] in ("self", "super"):
                at = at[:-1] if rest[0] == "super" else at
                rest = rest[1:]
        elif rest[0] not in module.children and rest[0] not in module.imports:
            return None
        while rest:
            here = self.modules[at]
            if rest[0] in here.children:
                at, rest = here.children[rest[0]], rest[1:]
                continue
            if rest[0] in here.items:
                return here
            if (at, rest[0]) in seen:
                return None
            if rest[0] in here.imports:
                return self.target(here, here.imports[rest[0]], seen + ((at, rest[0]),))
            for glob in here.globs:
                through = self.target(here, glob + (rest[0],), seen + ((at, rest[0]),))
                if through:
                    return through
            # A macro, or a name that a macro makes.
            return here
        return self.modules[at]

    def edges(self):
        found = defaultdict(lambda: defaultdict(set))
        for module in self.modules.values():
            paths = [path for name, path in module.imports.items() if name not in module.reexports]
            rest = USE.sub("", module.text)
            paths += [tuple(path.split("::")) for path in PATH.findall(rest)]
            for path in paths:
                target = self.target(module, path)
                # A module that is named and not used for anything in it is no edge: `use super::parse;` counts by `parse::text`.
                if target and target.file != module.file:
                    if not (path[-1][0].islower() and target.name and target.name[-1] == path[-1] and path[-1] not in target.items):
                        found[module.file][target.file].add("::".join(path))
        return found


def circles(edges):
    """Strongly connected sets of more than one file, by Tarjan."""
    index, low, on, stack, out = {}, {}, set(), [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on.add(node)
        for following in edges.get(node, {}):
            if following not in index:
                visit(following)
                low[node] = min(low[node], low[following])
            elif following in on:
                low[node] = min(low[node], index[following])
        if low[node] == index[node]:
            members = []
            while True:
                member = stack.pop()
                on.discard(member)
                members.append(member)
                if member == node:
                    break
            if len(members) > 1:
                out.append(sorted(members))

    sys.setrecursionlimit(10_000)
    for node in list(edges):
        if node not in index:
            visit(node)
    return out


def main(arguments):
    show = "--edges" in arguments
    folders = [ROOT / name for name in arguments if name != "--edges"]
    if not folders:
        members = re.search(r"members = \[([^\]]*)\]", (ROOT / "Cargo.toml").read_text()).group(1)
        folders = [ROOT / name for name in re.findall(r"\"([^\"]+)\"", members)]
    bad = 0
    for folder in folders:
        roots = [root for root in (folder / "src/lib.rs", folder / "src/main.rs") if root.is_file()]
        for root in roots:
            edges = Crate(root).edges()
            shown = lambda file: file.relative_to(folder / "src")
            found = circles(edges)
            bad += len(found)
            print(f"{folder.relative_to(ROOT)}: {len(edges)} files name others, {len(found)} circles")
            for members in found:
                print("  circle:")
                for file in members:
                    for target, names in sorted(edges[file].items()):
                        if target in members:
                            print(f"    {shown(file)} -> {shown(target)}: {', '.join(sorted(names))}")
            if show:
                for file, targets in sorted(edges.items()):
                    for target, names in sorted(targets.items()):
                        print(f"  {shown(file)} -> {shown(target)}: {', '.join(sorted(names))}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
