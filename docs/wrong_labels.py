"""The table of docs/how-to/report.md: how many of the listed labels were made wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import table

RESULT = Path(__file__).parents[1] / "bench" / "results" / "wrong-labels.json"
NAMES = {"confident_learning": "confident learning", "contradictions": "surest contradictions"}


def measured() -> str:
    result: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))
    tops = result["confident_learning"]["first"]
    rows = []
    for key, name in NAMES.items():
        found = result[key]
        first = [f"{found['first'].get(top, 0)}" for top in tops]
        share = f"{100 * found['right'] / max(1, found['listed']):.0f} %"
        recall = f"{found['right']} of {found['made_wrong']}"
        rows.append([name, *first, f"{found['listed']:,}", share, recall])
    head = ["list", *(f"of the first {top}" for top in tops), "listed", "made wrong", "found"]
    error = result["test_error"]
    images = result["images"]
    text = (
        f"A residual network of 6 layers, {images['train']:,} training images, "
        f"{100 * error['value']:.1f} % test error with these labels; {images['unseen']:,} test and "
        "validation images are searched."
    )
    return f"{text}\n\n{table(head, rows)}"
