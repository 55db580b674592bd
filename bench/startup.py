"""Startup time of `import reslab`, `reslab --help` and other commands that compute nothing.

    python bench/startup.py bench/results/startup.json

Measures whole processes in turns, with two references: a Python that does nothing, and one that
imports Keras. OUT.json keeps the results of every run.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from turns import Contender, Contest, Turn, add_run, run_metadata

ROUNDS = 15
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import reslab": ["-c", "import reslab"],
    "reslab --help": ["-m", "reslab", "--help"],
    "reslab list": ["-m", "reslab", "list"],
    "reslab show resnet50": ["-m", "reslab", "show", "resnet50"],
    "import keras": ["-c", "import keras"],
}


def work(turn: Turn, command: list[str]) -> None:
    turn.ready()
    while turn.wait():
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        turn.took(time.perf_counter() - start)


def main(out: Path) -> None:
    sys.argv[0] = "bench/startup.py"
    metadata = run_metadata("torch")
    contest = Contest({name: Contender(work, (command,)) for name, command in COMMANDS.items()})
    seconds = contest.rounds(ROUNDS)
    contest.close()
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    add_run(out, {**metadata, "median_seconds": medians, "seconds": seconds})
    for name, median in medians.items():
        print(f"{name}: {median:.3f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
