"""Networks with eight-bit numbers: static quantisation by ONNX Runtime.

Weights have one scale per channel, activations one per tensor, which comes from calibration images.
The scales are in the file as pairs of operations that quantise and dequantise (QDQ), which ONNX
Runtime and OpenVINO turn into integer arithmetic.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core.errors import UserError, one_line
from reslab.engines.program import Program
from reslab.formats.exportable import Exportable

CALIBRATION_IMAGES, BATCH = 512, 32
PERCENTILE = 99.99  # of the activations that the scale covers
MEMORY = 2e9  # bytes of activations of all calibration images, at most


def quantised(network: Any, source: Exportable) -> Any:
    """A network in eight bits.

    Args:
        network: An `onnx.ModelProto` from images as the model takes them, float32.
        source: Its model and the images that calibrate it.

    Raises:
        UserError: There are no real images, or ONNX Runtime cannot quantise the network.
    """
    if not source.sample.real:
        raise UserError("int8 needs images for the calibration: say where they are with --data")
    onnx = importlib.import_module("onnx")
    tools = importlib.import_module("onnxruntime.quantization")
    positions = source.sample.spread(CALIBRATION_IMAGES)
    by_percentile = len(positions) * _bytes_per_image(source.forms.program) <= MEMORY
    if by_percentile:
        options: dict[str, Any] = {"CalibPercentile": PERCENTILE}
    else:  # which forgets the activations of each batch
        options = {"CalibMaxIntermediateOutputs": 1}
    name = network.graph.input[0].name
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        try:
            tools.quantize_static(
                network,
                path,
                _reader(tools, name, source, positions),
                quant_format=tools.QuantFormat.QDQ,
                per_channel=True,
                activation_type=tools.QuantType.QUInt8,
                weight_type=tools.QuantType.QInt8,
                nodes_to_exclude=_head(network),
                calibrate_method=tools.CalibrationMethod.Percentile
                if by_percentile
                else tools.CalibrationMethod.MinMax,
                extra_options=options,
            )
        except Exception as error:  # of any class
            raise UserError(
                f"ONNX Runtime cannot quantise the network: {one_line(error)}"
            ) from None
        return onnx.load(str(path))


def _head(network: Any) -> list[str]:
    """The last dense layer and the softmax: probabilities need more than 256 values."""
    dense = [node.name for node in network.graph.node if node.op_type in ("Gemm", "MatMul")]
    last = [n.name for n in network.graph.node if n.op_type in ("Softmax", "Sigmoid", "ReduceMean")]
    return [*dense[-1:], *last]


def _bytes_per_image(program: Program) -> int:
    """Of the activations of one image, approximately."""
    return sum(4 * int(np.prod([n or 1 for n in call.output.shape])) for call in program.calls)


def _reader(tools: Any, name: str, source: Exportable, positions: np.ndarray) -> Any:
    class Reader(tools.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = self.read()

        def read(self) -> Iterator[dict[str, np.ndarray]]:
            batch = min(BATCH, len(positions))
            for start in range(0, len(positions) - batch + 1, batch):  # all of one size
                images = source.sample.read(positions[start : start + batch])
                yield {name: source.in_order(images).astype("float32")}

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what ONNX Runtime prints and logs while it quantises."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
