"""Compare contenders that take turns, each in its own process, in a random order in each round.

A contender is a function `work(turn, *args)` of a module in this folder. It prepares itself, calls
`turn.ready(...)`, and then does a piece of work for each value that `turn.wait()` returns, followed
by `turn.took(seconds)`. Only one contender works at a time, so the threads of one library do not
slow down another, and other load on the machine affects all contenders alike.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 1  # turns of each contender that are not counted


class Turn:
    """A contender's end of the pipe."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    def ready(self, value: Any = None) -> None:
        """Send a value of the contender (see `Contest.setup`) when it is ready."""
        self.pipe.send(value)

    def wait(self) -> Any:
        """Wait for the next turn. Returns its task, or None when there are no more turns."""
        return self.pipe.recv()

    def took(self, seconds: float) -> None:
        """Send the time of this turn."""
        self.pipe.send(seconds)


@dataclass
class Contender:
    """A function to measure, and its arguments."""

    work: Callable[..., None]  # (turn, *args)
    args: tuple[Any, ...] = ()


class Contest:
    """The processes of the contenders; `setup` has the value that each sent when it was ready."""

    def __init__(self, contenders: Mapping[str, Contender]) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipes, self.processes, self.setup = {}, {}, {}
        for name, each in contenders.items():
            print(f"{name} prepares", file=sys.stderr, flush=True)
            self.pipes[name], theirs = spawn.Pipe()
            process = spawn.Process(target=_run, args=(each, theirs), daemon=True)
            process.start()
            theirs.close()
            self.processes[name] = process
            self.setup[name] = self._receive(name)

    def _receive(self, name: str) -> Any:
        try:
            return self.pipes[name].recv()
        except EOFError:
            raise SystemExit(f"{name} ended before its turn; see its output above") from None

    def turn(self, name: str, task: Any = True) -> float:
        """Give one contender a task. Returns the seconds that it took."""
        self.pipes[name].send(task)
        return self._receive(name)

    def rounds(self, number: int, task: Any = True) -> dict[str, list[float]]:
        """Run rounds of turns. Returns the seconds of every contender in each round."""
        seconds: dict[str, list[float]] = {name: [] for name in self.pipes}
        order = random.Random(0)
        for i in range(WARM_UP + number):
            for name in order.sample(list(self.pipes), len(self.pipes)):
                took = self.turn(name, task)
                if i >= WARM_UP:
                    seconds[name].append(took)
            print(f"round {i + 1} of {WARM_UP + number}", file=sys.stderr, flush=True)
        return seconds

    def close(self) -> None:
        for pipe in self.pipes.values():
            pipe.send(None)
        for process in self.processes.values():
            process.join(30)


def _run(contender: Contender, pipe: Any) -> None:
    contender.work(Turn(pipe), *contender.args)


# Results ------------------------------------------------------------------------------------------


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Return how many times as fast ours is: the median over the rounds, with a 95 % interval.

    A ratio compares times of the same round. The interval is a bootstrap over rounds.
    """
    rng = np.random.default_rng(0)
    ratios = np.array(theirs) / np.array(ours)
    medians = np.median(ratios[rng.integers(0, len(ratios), (10_000, len(ratios)))], axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return {"ratio": float(np.median(ratios)), "interval": [float(low), float(high)]}


def format_ratio(result: Mapping[str, Any]) -> str:
    """Format a ratio with its interval."""
    low, high = result["interval"]
    return f"{result['ratio']:.2f} ({low:.2f} to {high:.2f})"


def run_metadata(backend: str) -> dict[str, Any]:
    """Return the command, versions and machine. Call it before the work: it reads the load."""
    from reslab.core.environment import commit, machine, versions

    return {
        "command": " ".join(["python", *sys.argv]),
        "backend": backend,
        "versions": versions(),
        "commit": commit(),
        "machine": machine(backend),
        "load_before": os.getloadavg(),
    }


def add_run(path: Path, run: dict[str, Any]) -> None:
    """Append a run to a file of results. Earlier runs stay in it."""
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"runs": [*runs, run]}, indent=1) + "\n", encoding="utf-8")
