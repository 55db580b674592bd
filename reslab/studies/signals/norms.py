"""Norms of signals as lists with one number per layer. NaN and infinity are kept as data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from reslab.studies.signals.gradients import LayerSignals

QUANTITIES = {  # key in signals.json: caption
    "kernel_gradient": "gradient of the kernel, L2 norm",
    "relative_gradient": "gradient of the kernel, L2 norm, divided by the norm of the kernel",
    "image_gradient": "gradient of one image's loss by the output, L2 norm",
    "output_rms": "output, RMS",
    "output_std": "output, standard deviation",
}


def quantities(signals: LayerSignals) -> dict[str, Any]:
    """Return the loss and the `QUANTITIES` of each layer, as JSON.

    `kernel_gradient` is |g|, `relative_gradient` is |g| / |w|. `image_gradient` is the L2 norm of
    the gradient of one image's loss by the layer's output, as the root mean square over the n
    images: the gradient of one image's loss is n times that of the mean loss, and the RMS of n
    norms is the norm over all n images divided by sqrt(n), which gives sqrt(n) |dL/dy|. It is a
    norm and not a mean over positions: a stage with half as many outputs as the one before would
    otherwise differ by sqrt(2) at equal norms. Computed in float64.
    """
    with np.errstate(all="ignore"):
        norms = [_norm(g) for g in signals.kernel_gradients]
        lists = {
            "kernel_gradient": norms,
            "relative_gradient": [
                _ratio(g, _norm(w)) for g, w in zip(norms, signals.kernels, strict=True)
            ],
            "image_gradient": [math.sqrt(len(g)) * _norm(g) for g in signals.output_gradients],
            "output_rms": [rms(y) for y in signals.outputs],
            "output_std": [float(y.std(dtype="float64")) for y in signals.outputs],
        }
    encoded = {name: encode(values) for name, values in lists.items()}
    return {
        "loss": finite(signals.loss),
        **{name: values for name, (values, _) in encoded.items()},
        "not_finite": {name: lost for name, (_, lost) in encoded.items() if lost},
    }


def rms(x: np.ndarray) -> float:
    return _norm(x) / math.sqrt(x.size)


def _norm(x: np.ndarray) -> float:
    return float(np.sqrt(np.square(x, dtype="float64").sum()))


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan


def short(x: float) -> str:
    """Return a number with three digits; an exponent only below 0.0001 or from a million on."""
    return f"{x:,.0f}" if 100 <= abs(x) < 1e6 else f"{x:.3g}"


def finite(x: float) -> float | None:
    """Return None for NaN and infinity, which JSON does not have."""
    return x if math.isfinite(x) else None


def encode(values: Sequence[float]) -> tuple[list[float | None], dict[str, str]]:
    """Return the numbers with None for those that are not finite, and "nan" or "inf" by index."""
    lost = {
        str(i): "nan" if math.isnan(x) else "inf"
        for i, x in enumerate(values)
        if not math.isfinite(x)
    }
    return [float(f"{x:.7g}") if math.isfinite(x) else None for x in values], lost


def decode(moment: Mapping[str, Any], name: str) -> np.ndarray:
    """Return a quantity of one moment as float64 (layers,), with NaN and infinity restored."""
    lost = moment["not_finite"].get(name, {})
    values = moment[name]
    return np.array([float(lost[str(i)]) if x is None else x for i, x in enumerate(values)])


def describe_ends(entry: Mapping[str, Any]) -> str:
    """Describe the first and last gradient norm of a network at its last moment."""
    norms = decode(entry["moments"][-1], "kernel_gradient")
    return f"kernel gradients {short(norms[0])} in the first layer, {short(norms[-1])} in the last"
