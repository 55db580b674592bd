"""Signals as numbers, a list by layer each; what is no number is data here, and stays visible."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from reslab.studies.signals.gradients import Passed

QUANTITIES = {  # key: what it is called
    "kernel_gradient": "gradient of the kernel, L2 norm",
    "relative_gradient": "gradient of the kernel, L2 norm over that of the kernel",
    "image_gradient": "gradient of one image's loss by the output, L2 norm",
    "output_rms": "output, RMS",
    "output_std": "output, standard deviation",
}


def levels(passed: Passed) -> dict[str, Any]:
    """What is kept of a batch that was passed: loss, error, and by layer the `QUANTITIES`.

    `kernel_gradient` is |g|, `relative_gradient` |g| / |w|. `image_gradient` is the L2 norm of the
    gradient of one image's loss by the layer's output, the root of its mean square over the
    images. Of n images: d(sum)/dy = n d(mean)/dy, and its norm over all n, by sqrt(n), is the
    root mean square of n norms. A norm, and no mean over positions: where a stage has half as many
    numbers as the one before, that would differ by sqrt(2) at one norm. float64 inside.
    """
    with np.errstate(all="ignore"):
        norms = [_norm(g) for g in passed.kernel_gradients]
        lists = {
            "kernel_gradient": norms,
            "relative_gradient": [
                _over(g, _norm(w)) for g, w in zip(norms, passed.kernels, strict=True)
            ],
            "image_gradient": [math.sqrt(len(g)) * _norm(g) for g in passed.output_gradients],
            "output_rms": [rms(y) for y in passed.outputs],
            "output_std": [float(y.std(dtype="float64")) for y in passed.outputs],
        }
    found: dict[str, Any] = {"loss": number(passed.loss)}
    kept = {name: encode(values) for name, values in lists.items()}
    found |= {name: values for name, (values, _) in kept.items()}
    return found | {"not_finite": {name: lost for name, (_, lost) in kept.items() if lost}}


def rms(x: np.ndarray) -> float:
    return _norm(x) / math.sqrt(x.size)


def _norm(x: np.ndarray) -> float:
    return float(np.sqrt(np.square(x, dtype="float64").sum()))


def _over(a: float, b: float) -> float:
    return a / b if b else math.nan


def spelt(x: float) -> str:
    """Three digits, and no exponent where a reader can do without."""
    return f"{x:,.0f}" if 100 <= abs(x) < 1e6 else f"{x:.3g}"


def number(x: float) -> float | None:
    """JSON knows neither NaN nor infinity."""
    return x if math.isfinite(x) else None


def encode(values: Sequence[float]) -> tuple[list[float | None], dict[str, str]]:
    """The numbers with null for what is none, and what that was by its position: "nan", "inf"."""
    lost = {
        str(i): "nan" if math.isnan(x) else "inf"
        for i, x in enumerate(values)
        if not math.isfinite(x)
    }
    return [float(f"{x:.7g}") if math.isfinite(x) else None for x in values], lost


def decode(moment: Mapping[str, Any], name: str) -> np.ndarray:
    """float64 (layers,): a quantity of a moment, with NaN and infinity as they were."""
    lost = moment["not_finite"].get(name, {})
    values = moment[name]
    return np.array([float(lost[str(i)]) if x is None else x for i, x in enumerate(values)])


def ends(entry: Mapping[str, Any]) -> str:
    """A net's gradient norms at its last moment, in a few words."""
    norms = decode(entry["moments"][-1], "kernel_gradient")
    return f"kernel gradients {spelt(norms[0])} in the first layer, {spelt(norms[-1])} in the last"
