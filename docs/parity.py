"""Writes docs/parity.md: how far other libraries' nets and ours are apart, with equal weights.

    python docs/parity.py                measure every net (minutes; 4 GB), then write the table
    python docs/parity.py timm/resnet50  measure these alone, keep the others' numbers
    python docs/parity.py --write        write the table from what was measured before

Measured by `tests.helpers.weights.parity.measure`, which the tests call. The numbers are kept
in docs/results/parity.json.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("KERAS_BACKEND", "torch")

import keras  # noqa: E402

from reslab.core.environment import machine  # noqa: E402
from tests.helpers.weights.cases import CASES  # noqa: E402
from tests.helpers.weights.parity import CLOSE, Case, measure  # noqa: E402

PAGE, KEPT = HERE / "parity.md", HERE / "results" / "parity.json"
PACKAGES = {
    "torchvision": "torchvision",
    "timm": "timm",
    "keras": "keras",
    "keras_hub": "keras-hub",
}
TITLES = {
    "torchvision": "torchvision",
    "timm": "timm",
    "keras": "keras.applications",
    "keras_hub": "KerasHub",
}


def main(words: list[str]) -> None:
    kept: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if "--write" not in words:
        for case in CASES:
            if not words or name(case) in words:
                kept[name(case)] = entry(case)
                found = {c: kept[c] for c in map(name, CASES) if c in kept}
                KEPT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                print(name(case), f"{kept[name(case)]['seconds']} s", flush=True)
    PAGE.write_text(page(kept), encoding="utf-8")


def name(case: Case) -> str:
    return f"{case.library}/{case.theirs}"


def entry(case: Case) -> dict[str, Any]:
    start = time.perf_counter()
    found = measure(case)
    return {
        "reslab": case.ours,
        "size": case.size,
        "to_ours": found.to_ours,
        "to_theirs": found.to_theirs,
        "stages": dict(found.stages),
        "backend": keras.backend.backend(),
        "versions": {
            package: importlib.metadata.version(package)
            for package in dict.fromkeys((PACKAGES[case.library], "keras", "torch"))
        },
        "machine": machine(keras.backend.backend()),
        "seconds": round(time.perf_counter() - start, 1),
    }


def page(kept: dict[str, Any]) -> str:
    lines = [
        "# The same function: other libraries' nets and ours",
        "",
        "Each net of another library is filled with random numbers, running statistics too; its"
        " weights are loaded into ours, and two random images go through both. Then ours is filled"
        " anew, saved under the library's names, and loaded by the library's own code. The numbers"
        " are the largest difference as a part of the largest absolute value, in float32:"
        f" {CLOSE:g} is what the tests allow. It is 0 where both are made of the same Keras layers."
        " *Stages* is the worst of the maps after each stage.",
        "",
        "`python docs/parity.py` wrote this page; `tests/weights/test_parity.py` measures the"
        " same.",
    ]
    for library, title in TITLES.items():
        rows = {n: kept[n] for n in map(name, CASES) if n.startswith(f"{library}/") and n in kept}
        if not rows:
            continue
        first = next(iter(rows.values()))
        versions = ", ".join(f"{p} {v}" for p, v in first["versions"].items())
        lines += [
            "",
            f"## {title}",
            "",
            f"{versions}; Keras on {first['backend']}; {first['machine']['cpu']}.",
            "",
            "| theirs | reslab's | image | theirs to ours | ours to theirs | stages |",
            "|---|---|---|---|---|---|",
            *(row(n, found) for n, found in rows.items()),
        ]
    return "\n".join(lines) + "\n"


def row(name: str, found: dict[str, Any]) -> str:
    stages = list(found["stages"].values())
    worst = f"{_n(max(stages))} ({len(stages)})" if stages else ""
    numbers = f"{_n(found['to_ours'])} | {_n(found['to_theirs'])} | {worst}"
    return f"| {name.partition('/')[2]} | {found['reslab']} | {found['size']} | {numbers} |"


def _n(part: float) -> str:
    return f"{part:.1e}" if part else "0"


if __name__ == "__main__":
    main(sys.argv[1:])
