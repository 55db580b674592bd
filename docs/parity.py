"""Write docs/results/parity.md: differences between other libraries' networks and ours.

    python docs/parity.py                measure every network (minutes; 4 GB), write the page
    python docs/parity.py timm/resnet50  measure this network only, keep the other numbers
    python docs/parity.py --write        write the page from the numbers measured before

`tests.helpers.weights.parity.measure` does the measurement; the tests call it too. The numbers
are in docs/results/parity.json.
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

PAGE, KEPT = HERE / "results" / "parity.md", HERE / "results" / "parity.json"
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


def main(arguments: list[str]) -> None:
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    if "--write" not in arguments:
        for case in CASES:
            if not arguments or name(case) in arguments:
                kept[name(case)] = entry(case)
                kept = {c: kept[c] for c in map(name, CASES) if c in kept}
                KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
                print(name(case), f"{kept[name(case)]['seconds']} s", flush=True)
    PAGE.write_text(page(kept), encoding="utf-8")


def name(case: Case) -> str:
    return f"{case.library}/{case.theirs}"


def entry(case: Case) -> dict[str, Any]:
    start = time.perf_counter()
    result = measure(case)
    return {
        "reslab": case.ours,
        "size": case.size,
        "to_ours": result.to_ours,
        "to_theirs": result.to_theirs,
        "stages": dict(result.stages),
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
        "# Parity with other libraries",
        "",
        "Each network of another library gets random weights and random running statistics. Its"
        " weights are loaded into the network of reslab, and both compute the logits of two random"
        " images (*theirs to ours*). Then the network of reslab gets new random weights; they are"
        " saved under the names of the other library and loaded by its own code (*ours to"
        " theirs*). The numbers are the largest absolute difference, divided by the largest"
        f" absolute logit, in float32. The tests allow {CLOSE:g}. The difference is 0 where both"
        " networks consist of the same Keras layers. *Stages* is the largest difference of the"
        " feature maps after each stage, and the number of stages.",
        "",
        "`python docs/parity.py` writes this page; `tests/weights/test_parity.py` makes the same"
        " measurement.",
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
            "| theirs | reslab | image side | theirs to ours | ours to theirs | stages |",
            "|---|---|---|---|---|---|",
            *(row(n, result) for n, result in rows.items()),
        ]
    return "\n".join(lines) + "\n"


def row(name: str, result: dict[str, Any]) -> str:
    stages = list(result["stages"].values())
    worst = f"{_n(max(stages))} ({len(stages)})" if stages else ""
    numbers = f"{_n(result['to_ours'])} | {_n(result['to_theirs'])} | {worst}"
    return f"| {name.partition('/')[2]} | {result['reslab']} | {result['size']} | {numbers} |"


def _n(difference: float) -> str:
    return f"{difference:.1e}" if difference else "0"


if __name__ == "__main__":
    main(sys.argv[1:])
