"""A contender in a process of its own: the side that asks (`Peer`) and the side that answers (`serve`), a line of JSON each way."""

import json
import os
import select
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class PeerError(Exception):
    """A contender that is not installed, failed, or took too long. The message stands in the record."""


class Peer:
    """A running contender. Requests are dicts; what it answers is one, too."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str] | None = None):
        self.name = name
        self.errors: list[str] = []
        self._rest = b""
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **(environment or {})}
        )

    def ask(self, limit: float, **request: Any) -> dict[str, Any]:
        """The answer, within `limit` seconds; else the process is ended."""
        process = self._process
        assert process.stdin and process.stdout
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            raise PeerError(f"{self.name}: has ended before {request['do']}: {error}") from error
        deadline = time.monotonic() + limit
        while b"\n" not in self._rest:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.close()
                raise PeerError(f"{self.name}: {request['do']} took more than {limit:.0f} s")
            piece = os.read(process.stdout.fileno(), 1 << 20)
            if not piece:
                raise PeerError(f"{self.name}: ended during {request['do']}, with code {process.wait()}")
            self._rest += piece
        line, self._rest = self._rest.split(b"\n", 1)
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.name}: {request['do']}: {answer['error']}")
        return answer

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def python_peer(name: str, module: str, contender: str, python: str | None = None) -> Peer:
    """A contender of a module of this folder, run by `python`."""
    return Peer(name, [python or sys.executable, str(HERE / "peer.py"), module, contender])


def memory_kib(name: str = "VmRSS") -> int:
    """Memory of this process: VmRSS now, VmHWM at its highest."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0


def folder_bytes(folder: str | Path) -> int:
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def serve(module: str, contender: str) -> None:
    # Libraries write to standard output as they please; answers go where they cannot.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    made = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if made is None:
                made = getattr(__import__(module), contender)()
            answer = getattr(made, request.pop("do"))(**request) or {}
        except Exception as error:  # noqa: BLE001 - the asking side has to learn of it, whatever it is
            traceback.print_exc()
            first = str(error).strip().splitlines()
            answer = {"error": f"{type(error).__name__}: {first[0][:300] if first else ''}"}
        answer["rss_kib"] = memory_kib()
        answer["peak_kib"] = memory_kib("VmHWM")
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
