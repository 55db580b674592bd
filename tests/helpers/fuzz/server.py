"""`scripts/fuzz-server SEED N [--only K]`: send malformed requests to `reslab serve`.

A right outcome is an answer below 500, or 503, and each error is JSON that says what is wrong.
The server must print nothing, and its memory must not grow.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.fuzz import requests

SECONDS = 40  # for an answer; the limits of the server are lower
CLIENTS = 4
NO_ANSWER = "no answer"  # to a request that is not complete
SMALL_LIMITS = ("--max-body", "1", "--max-pixels", "4", "--body-seconds", "2")


@dataclass
class Child:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    printed: list[str]

    def memory(self) -> int:
        """Its resident memory in bytes; 0 where that is not known."""
        try:
            text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        except OSError:
            return 0
        return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) * 1024


@contextmanager
def child(model: Path, *options: str) -> Iterator[Child]:
    """`reslab serve` of a model file on a free port; it is stopped at the end."""
    command = [sys.executable, "-W", "ignore", "-m", "reslab", "serve", str(model), "--port", "0"]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(process.stderr.read())
    printed: list[str] = []
    reader = threading.Thread(target=lambda: printed.extend(process.stderr), daemon=True)
    reader.start()
    try:
        yield Child(process, int(re.findall(r":(\d+)", line)[0]), printed)
    finally:
        process.terminate()
        process.wait(60)
        reader.join(10)
        process.stdout.close()
        process.stderr.close()


def fault(answer: bytes, has_content: bool = True) -> tuple[str, str]:
    """The status of an answer, and what is wrong with it ("" if nothing is)."""
    head, _, content = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        head, _, content = (answer := content).partition(b"\r\n\r\n")
    if not answer:
        return NO_ANSWER, ""
    status = answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/1.1 ") else "?"
    if not re.fullmatch("[1234]..|503", status):
        return status, f"status {status}: {answer[:300]!r}"
    if status < "400":
        return status, ""
    if b"content-type: application/json" not in head.lower():
        return status, f"an error that is not JSON: {answer[:300]!r}"
    length = int(re.findall(rb"content-length: (\d+)", head.lower())[0])
    if has_content and not isinstance(json.loads(content[:length]).get("error"), str):
        return status, f"an error without a text: {content[:300]!r}"
    return status, ""


def send(port: int, content: bytes) -> bytes:
    """Send bytes, and read all that comes back."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as client:
        try:
            client.sendall(content)
            client.shutdown(socket.SHUT_WR)
            while part := client.recv(65536):
                answer += part
        except ConnectionError:  # an error was answered while the client still sent
            return answer
    return answer


class ServerFuzzer:
    """Sends requests by number, and counts the outcomes."""

    def __init__(self, seed: int, server: Child) -> None:
        self.seed, self.server = seed, server
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.kinds: collections.Counter[str] = collections.Counter()

    def run(self, number: int) -> str:
        """What is wrong with the answer to request `number`; "" if nothing is."""
        kind, content = requests.malformed(random.Random(f"{self.seed} {number}"))
        try:
            status, text = fault(send(self.server.port, content), not content.startswith(b"HEAD"))
        except (OSError, ValueError, IndexError) as error:
            status, text = "?", f"{type(error).__name__}: {error}"
        self.outcomes[status] += 1
        self.kinds[kind] += 1
        repeat = f"scripts/fuzz-server {self.seed} {number + 1} --only {number}"
        return f"{kind}: {text}; repeat it with {repeat}" if text else ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz-server", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("n", type=int, help="how many requests")
    parser.add_argument("--only", type=int, metavar="K", help="send request K alone, and show it")
    options = parser.parse_args()
    numbers = list(range(options.n)) if options.only is None else [options.only]
    with tempfile.TemporaryDirectory() as folder:
        model = requests.model_file(Path(folder))
        with child(model, *SMALL_LIMITS) as server, ThreadPoolExecutor(CLIENTS) as pool:
            fuzzer = ServerFuzzer(options.seed, server)
            if options.only is not None:
                print(requests.malformed(random.Random(f"{options.seed} {options.only}")))
            faults, memory = [], [server.memory()]
            tenth = max(1, len(numbers) // 10)
            for start in range(0, len(numbers), tenth):
                part = numbers[start : start + tenth]
                faults += [text for text in pool.map(fuzzer.run, part) if text]
                memory.append(server.memory())
    for text in [*faults, *server.printed]:
        print(text)
    print(f"{len(numbers):,} requests, seed {options.seed}: {dict(fuzzer.outcomes)}")
    print(f"kinds: {dict(fuzzer.kinds)}")
    print(f"memory in MiB: {', '.join(str(each // 2**20) for each in memory)}")
    print(f"exit status of the server: {server.process.returncode}")
    return 1 if faults or server.printed or server.process.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
