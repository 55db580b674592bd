"""Charts of a run whose log has odd numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reslab.plots.run_charts import Curves, curves


@pytest.mark.parametrize("odd", [1e308, float("inf"), float("nan"), -1e308])
@pytest.mark.parametrize("metric", ["loss", "error"])
def test_numbers_that_json_lacks_are_gaps(odd: float, metric: str) -> None:
    rows: list[dict[str, Any]] = [
        {"epoch": i + 1, f"train_{metric}": value, f"val_{metric}": value}
        for i, value in enumerate((0.5, odd, 0.25, odd))
    ]
    steps = [{"epoch": 0.5 * i, metric: value} for i, value in enumerate((0.5, odd, odd))]
    chart = curves([Curves("run", 1, rows, steps, 4)], metric, "chart")
    json.dumps(chart.figure, allow_nan=False)
