"""Contenders side by side: each in a process of its own, taking turns, in an order drawn anew.

A contender is a function `work(turn, *args)` of a module in this folder. It gets ready, says so
with `turn.ready(...)`, and then does a piece of work as often as `turn.wait()` says that it is its
turn, each followed by `turn.took(seconds)`. So no library's threads spin in the way of another's
work, and what the machine does beside all of this hits every contender alike.
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

SETTLE = 1  # turns of each before those that count


class Turn:
    """A contender's end of the pipe."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    def ready(self, said: Any = None) -> None:
        self.pipe.send(said)

    def wait(self) -> Any:
        """What to do in this turn; None when there are no more."""
        return self.pipe.recv()

    def took(self, seconds: float) -> None:
        self.pipe.send(seconds)


@dataclass
class Contender:
    work: Callable[..., None]  # (turn, *args)
    args: tuple[Any, ...] = ()


class Contest:
    """The contenders' processes, ready; `said` has what each told when it was."""

    def __init__(self, contenders: Mapping[str, Contender]) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipes, self.processes, self.said = {}, {}, {}
        for name, each in contenders.items():
            print(f"{name} gets ready", file=sys.stderr, flush=True)
            self.pipes[name], theirs = spawn.Pipe()
            process = spawn.Process(target=_run, args=(each, theirs), daemon=True)
            process.start()
            theirs.close()
            self.processes[name] = process
            self.said[name] = self._from(name)

    def _from(self, name: str) -> Any:
        try:
            return self.pipes[name].recv()
        except EOFError:
            raise SystemExit(f"{name} ended before its turn; what it said stands above") from None

    def turn(self, name: str, task: Any = True) -> float:
        self.pipes[name].send(task)
        return self._from(name)

    def rounds(self, number: int, task: Any = True) -> dict[str, list[float]]:
        """Seconds of every contender in each round."""
        seconds: dict[str, list[float]] = {name: [] for name in self.pipes}
        order = random.Random(0)
        for i in range(SETTLE + number):
            for name in order.sample(list(self.pipes), len(self.pipes)):
                took = self.turn(name, task)
                if i >= SETTLE:
                    seconds[name].append(took)
            print(f"round {i + 1} of {SETTLE + number}", file=sys.stderr, flush=True)
        return seconds

    def close(self) -> None:
        for pipe in self.pipes.values():
            pipe.send(None)
        for process in self.processes.values():
            process.join(30)


def _run(contender: Contender, pipe: Any) -> None:
    contender.work(Turn(pipe), *contender.args)


# What is made of the times ------------------------------------------------------------------------


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """How many times as fast ours is: the median of the rounds' ratios, with a 95 % interval.

    Ratios are of times in the same round, the interval of a bootstrap over rounds.
    """
    rng = np.random.default_rng(0)
    ratios = np.array(theirs) / np.array(ours)
    drawn = np.median(ratios[rng.integers(0, len(ratios), (10_000, len(ratios)))], axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"ratio": float(np.median(ratios)), "interval": [float(low), float(high)]}


def said(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['ratio']:.2f} ({low:.2f} to {high:.2f})"


def circumstances(backend: str) -> dict[str, Any]:
    """Where and by what a result was made. To be called before the work: the load counts then."""
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
    """One more run in a file of results: those before it stay, whatever they had shown."""
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"runs": [*runs, run]}, indent=1) + "\n", encoding="utf-8")
