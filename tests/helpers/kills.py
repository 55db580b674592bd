"""Trainings that are killed at random moments, and resumed until they end.

    python -m tests.helpers.kills [KILLS] [SEED]

Half of the kills come after a random time. The others come at a random operation on the files of
the run (open to write, rename, remove): so they fall into checkpoints, the final evaluation and the
report, too. A training that was killed several times must end with the bits and the log of one that
never was.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

MOST = 8  # kills of one training
MODIFIED = "open", "os.rename", "os.remove", "os.truncate", "os.mkdir"


def work(data: str, out: str, kill_at: int) -> None:
    """Begin the training, or resume it; a child process runs this.

    Args:
        kill_at: The number of the file operation at which the process kills itself; 0 for none.
    """
    import reslab
    from reslab.core.errors import UserError
    from tests.helpers import tiny
    from tests.helpers.training import RECIPE

    if kill_at:
        _kill_at(kill_at, out)
    if Path(out).exists():
        try:
            reslab.resume(out)
            return
        except UserError as error:
            if not any(text in str(error) for text in ("there is no", "was killed before")):
                raise
            shutil.rmtree(out)  # killed before there was anything to resume, as the message says
    reslab.train(tiny.NETWORK, data, RECIPE, out=out, checkpoint_seconds=0.05)


def _kill_at(number: int, out: str) -> None:
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in MODIFIED or not str(arguments[0]).startswith(out):
            return
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            return
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


class Killer:
    """Starts, kills and compares trainings in a folder."""

    def __init__(self, folder: Path, seed: int) -> None:
        from tests.helpers import tiny

        self.folder, self.random = folder, random.Random(seed)
        self.data = str(tiny.folder(folder / "data"))
        self.context = multiprocessing.get_context("forkserver")
        # Children are copies of a process that has imported everything.
        self.context.set_forkserver_preload(["tests.helpers.loaded"])
        self.reference = folder / "never-killed"
        self.run(self.reference)  # also starts the server, which imports Keras
        shutil.rmtree(self.reference)
        began = time.monotonic()
        self.run(self.reference)
        self.seconds = time.monotonic() - began
        self.operations = self._count()
        self.moments: Counter[str] = Counter()

    def run(self, out: Path, kill_at: int = 0, seconds: float | None = None) -> int:
        """Train or resume in a child process. The exit status is negative if it was killed."""
        process = self.context.Process(target=work, args=(self.data, str(out), kill_at))
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
        return process.exitcode or 0

    def _count(self) -> int:
        """The number of file operations of a whole training, found by halving."""
        low, high = 1, 4096
        while low < high:
            middle, out = (low + high) // 2, self.folder / "counted"
            low, high = (middle + 1, high) if self.run(out, middle) < 0 else (low, middle)
            shutil.rmtree(out)
        return low - 1

    def killed(self, out: Path, kills: int) -> list[str]:
        """Kill one training so often, let it end, and compare it. Returns what is wrong."""
        done = 0
        while done < kills:
            if self.random.random() < 0.5:
                status = self.run(out, self.random.randint(1, self.operations))
            else:
                status = self.run(out, seconds=self.random.uniform(0, self.seconds))
            if status > 0:
                return [f"{out.name}: it ended with status {status}"]
            if status == 0:  # it was finished before the kill came
                break
            done += 1
            self.moments[moment(out)] += 1
        if self.run(out) != 0:
            return [f"{out.name}: it was not resumed"]
        self.killings = done
        return [f"{out.name}: {text}" for text in differences(self.reference, out)]


def moment(out: Path) -> str:
    """How far a killed training was, by the files that it left."""
    for name, text in (
        ("report.html", "report"),
        ("evaluation.json", "suspects and report"),
        ("model.keras", "evaluation"),
        ("checkpoints/best.safetensors", "steps and checkpoints"),
        ("checkpoints/last.safetensors", "first epoch"),
    ):
        if (out / name).exists():
            return text
    return "start"


def differences(reference: Path, other: Path) -> list[str]:
    """What differs between two finished runs, apart from times."""
    from reslab.core.files import read_arrays
    from reslab.runs.run import Run
    from tests.helpers.training import timeless

    wrong = []
    for name in ("last", "best"):
        files = (run / f"checkpoints/{name}.safetensors" for run in (reference, other))
        one, two = (read_arrays(file)[0] for file in files)
        if one.keys() != two.keys() or any(one[k].tobytes() != two[k].tobytes() for k in one):
            wrong.append(f"other bits in {name}.safetensors")
    logs = [timeless(Run.open(run).log()) for run in (reference, other)]
    if logs[0] != logs[1]:
        lines = [line for line in logs[1] if line not in logs[0]] or [f"{len(logs[1])} lines"]
        wrong.append(f"another log: {lines[0]}")
    one, two = (json.loads((r / "evaluation.json").read_text()) for r in (reference, other))
    for evaluation in (one, two):
        for key in ("when", "first_read", "command"):
            evaluation.pop(key)
    if one != two:
        wrong.append("another evaluation")
    left = [path.name for path in other.rglob(".*") if path.name != ".lock"]
    wrong += [f"unfinished files: {', '.join(left)}"] if left else []
    if not (other / "report.html").exists():
        wrong.append("no report")
    return wrong


def main(kills: int = 100, seed: int = 0) -> int:
    """Kill so often; print the moments and what is wrong. Returns the exit status."""
    done, wrong = 0, []
    with tempfile.TemporaryDirectory() as folder:
        killer = Killer(Path(folder), seed)
        number = 0
        while done < kills:
            number += 1
            wrong += killer.killed(Path(folder, f"run{number}"), min(MOST, kills - done))
            done = killer.moments.total()
        for text, count in sorted(killer.moments.items()):
            print(f"{count:4} kills: {text}")
    print(f"{done} kills of {number} trainings, seed {seed}: {len(wrong)} wrong outcomes")
    for text in wrong:
        print(f"  {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
