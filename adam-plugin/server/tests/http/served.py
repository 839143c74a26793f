"""Starts `adam serve` on a free port of loopback with a small index of its own."""

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[4]
MODEL = pathlib.Path(os.environ.get("ADAM_MODEL", ROOT / ".native" / "minilm-onnx"))

DOCUMENTS = [
    {"id": "crow", "title": "Crows as toolmakers", "text": "New Caledonian crows bend pieces of wire into hooks and pull food out of narrow tubes with them.", "metadata": {"year": 2002}},
    {"id": "raven", "title": "Ravens plan ahead", "text": "Ravens put aside a tool that they will need only the next day, and barter for it.", "metadata": {"year": 2017}},
    {"id": "glass", "title": "Why glass is no crystal", "text": "Molten sand that cools fast has no time to order its atoms, so glass stays a solid without crystals.", "metadata": {"year": 2011}},
    {"id": "bread", "title": "Rising dough", "text": "Yeast eats sugar and gives off gas; the gas is caught by gluten, and the bread rises.", "metadata": {"year": 1999}},
    {"id": "sleep", "title": "Sleep and weight", "text": "People who sleep fewer hours eat more on the following day and gain weight over the years.", "metadata": {"year": 2013}},
    {"id": "markup", "title": "<img src=x onerror=\"document.title='broken in'\">", "text": "A document with <b>markup</b> & caf\u00e9 crumbs: \u00fcber \U0001f426 wire, which must stay text.", "metadata": {"year": 2020}},
]


@contextlib.contextmanager
def served(*arguments, documents=DOCUMENTS):
    """The base address of a running server; it must end in good order."""
    key = arguments[arguments.index("--api-key") + 1] if "--api-key" in arguments else None
    with tempfile.TemporaryDirectory() as folder:
        command = [ROOT / "target/release/adam", "serve", "--index", f"{folder}/index", "--model", MODEL, "--listen", "127.0.0.1:0", *arguments]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            said = ""
            while "http://" not in said:
                line = process.stderr.readline()
                if not line:
                    raise SystemExit(f"adam serve ended: {said}")
                said += line
            address = "http://" + said.split("http://")[1].split(" ")[0]
            if documents:
                headers = {"content-type": "application/json"}
                if key:
                    headers["authorization"] = f"Bearer {key}"
                request = urllib.request.Request(f"{address}/documents?commit=true", json.dumps(documents).encode(), headers)
                assert json.load(urllib.request.urlopen(request))["accepted"] == len(documents)
            yield address
        finally:
            process.terminate()
            rest = process.stderr.read()
            code = process.wait(timeout=60)
        if code != 0:
            raise SystemExit(f"adam serve ended with {code}: {rest}")
