"""`benchmark`: a trained model in all formats, measured side by side."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import keras

from reslab.core.environment import machine
from reslab.core.errors import UserError, unknown
from reslab.data.sources import web
from reslab.formats import base, exportable, placing
from reslab.formats.contender import PREFIX, READY
from reslab.formats.content import Content, Form
from reslab.formats.export import written
from reslab.formats.exportable import Exportable
from reslab.formats.measure import Measurement
from reslab.models import saved
from reslab.runs.run import Run

INT8 = "-int8"  # the ending of a format in eight bits
MEASURED = "onnx", "openvino", "saved_model", "litert"  # the others hold an ONNX file
BATCHES = 1, 32, 128
ROUNDS = 5


def benchmark(
    model: str | os.PathLike[str] | Run,
    formats: Sequence[str] | None = None,
    weights: str | Path | None = None,
    scheme: str = "auto",
    strict: bool = True,
    ema: bool = True,
    data: Any = None,
    rounds: int = ROUNDS,
    insecure: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure a trained model in several formats side by side.

    Each format is exported for images of the size of the model and compared with Keras, as
    `reslab.export` does. Then they take turns in a random order, each in a process of its own.

    Args:
        model: As in `reslab.export`; `weights`, `scheme`, `strict`, `ema` and `insecure` likewise.
        formats: Names of formats; "onnx-int8" and "openvino-int8" are in eight bits. None: all
            whose packages are installed, and eight bits if there are images for the calibration.
        data: Images for the error and the calibration, as in `reslab.export`. None: the validation
            images of the run. The test set is not read.
        rounds: The turns of each format at each batch size.
        note: Gets a line on each step.

    Returns:
        `"rows"`, and what they were measured on: `"machine"`, `"image_shape"`, `"rounds"`. A row
        has `"format"`, `"bytes"`, `"seconds"` (for batches of 1, 32 and 128 images: the median over
        the rounds, the smallest and the largest time), and with real images `"images"`,
        `"agreement"` with Keras and `"error"`, rates with 95 % intervals. The first row is Keras.

    Raises:
        UserError: As `reslab.export`.
    """
    with web.insecure(insecure):
        source = exportable.of(model, weights, scheme, strict, ema, data)
    names = _names(formats, source)
    measurement = Measurement(source)
    with tempfile.TemporaryDirectory(prefix="reslab-benchmark-") as folder:
        rows = [_keras_row(source, Path(folder))]
        for name in names:
            note(f"exporting {name}")
            rows.append(_row(name, source, Path(folder) / name, measurement))
        note(f"measuring {rounds} rounds of {len(rows)} formats")
        _take_turns(rows, rounds)
    return {
        "rows": [row.record for row in rows],
        "image_shape": list(source.shape),
        "rounds": rounds,
        "machine": machine(keras.backend.backend()),
    }


@dataclass(frozen=True)
class Entrant:
    """A format that takes part: its file, and its row of the table."""

    path: Path
    record: dict[str, Any]


def _names(formats: Sequence[str] | None, source: Exportable) -> list[str]:
    known = [*MEASURED, *(f"{name}{INT8}" for name in MEASURED if base.FORMATS[name].from_onnx)]
    if formats is not None:
        for name in formats:
            if name not in known:
                raise unknown("format", name, known)
            base.by_name(name.removesuffix(INT8)).check(Form(int8=name.endswith(INT8)))
        return list(formats)
    return [
        name
        for name in sorted(known)
        if all(find_spec(p) for p in base.FORMATS[name.removesuffix(INT8)].packages)
        and (source.sample.real or not name.endswith(INT8))
    ]


def _keras_row(source: Exportable, folder: Path) -> Entrant:
    path = folder / "model.keras"
    saved.save(source.model, path, source.card)
    name = f"Keras on {keras.backend.backend()}"
    return Entrant(path, {"format": name, "bytes": path.stat().st_size})


def _row(name: str, source: Exportable, folder: Path, measurement: Measurement) -> Entrant:
    kind = base.by_name(name.removesuffix(INT8))
    folder.mkdir()
    path = folder / f"model{kind.suffix}"
    form = Form(fixed_size=True, int8=name.endswith(INT8))
    opened, _ = written(Content(source, form), kind, path)
    record = {"format": name, "bytes": sum(p.stat().st_size for p in placing.parts(path))}
    if source.sample.real:
        record |= measurement.of(opened)
    return Entrant(path, record)


def _take_turns(rows: Sequence[Entrant], rounds: int) -> None:
    """Measure all batch sizes, and add the seconds to the rows."""
    order = random.Random(0)
    seconds: list[dict[int, list[float]]] = [{n: [] for n in BATCHES} for _ in rows]
    with _contenders(rows) as processes:
        for batch in BATCHES:
            for _ in range(rounds):
                for i in order.sample(range(len(rows)), len(rows)):
                    seconds[i][batch].append(_turn(rows[i], processes[i], batch))
    for row, times in zip(rows, seconds, strict=True):
        row.record["seconds"] = {
            str(batch): {"median": median(each), "least": min(each), "most": max(each)}
            for batch, each in times.items()
        }


@contextmanager
def _contenders(rows: Sequence[Entrant]) -> Iterator[list[subprocess.Popen[str]]]:
    environment: Mapping[str, str] = {
        **os.environ,
        "KERAS_BACKEND": keras.backend.backend(),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    processes: list[subprocess.Popen[str]] = []
    try:
        for row in rows:
            command = [sys.executable, "-m", "reslab.formats.contender", str(row.path)]
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                env=environment,
            )
            processes.append(process)
            _answer(row, process, READY)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _turn(row: Entrant, process: subprocess.Popen[str], batch: int) -> float:
    assert process.stdin is not None
    process.stdin.write(f"{batch}\n")
    process.stdin.flush()
    return float(_answer(row, process, PREFIX).removeprefix(PREFIX))


def _answer(row: Entrant, process: subprocess.Popen[str], prefix: str) -> str:
    """The next line with this prefix; libraries may print others."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(prefix):
            return line
    raise UserError(f"the process of {row.record['format']} ended: {process.wait()}")
