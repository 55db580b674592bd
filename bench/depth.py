"""The cost of depth: 20 to 1202 layers, written out by stock Keras's layers and by ours, stacked,
and stacked with rematerialisation.

    KERAS_BACKEND=torch python bench/depth.py OUT.json                     # measure every case
    KERAS_BACKEND=jax python bench/depth.py OUT.json resnet1001_v2         # or those of some nets
    KERAS_BACKEND=jax python bench/depth.py OUT.json resnet1202/stacked    # or one
    python bench/depth.py --draw PICTURE.png IN.json [IN.json...]          # from what was measured

Each case is a process of its own: build, save, load (`reslab.load`; stock by Keras's), the first
training step (with what the backend compiles for it; on JAX, how long XLA took for that is told
apart), the median of five later ones, and the most memory that the process held at any moment,
beside what it held before the first step. Batches of 16 images of 32x32. A case that takes longer
than LIMIT seconds is ended and listed as such, and so is one that fails. OUT.json keeps every
measurement; the picture shows the last.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NETWORKS = ["resnet20", "resnet56", "resnet110", "resnet164_v2", "resnet1001_v2", "resnet1202"]
WAYS: dict[str, dict[str, bool]] = {
    "stock": {},
    "flat": {},
    "stacked": {"stacked": True},
    "remat": {"stacked": True, "remat": True},
}
BATCH, LATER, LIMIT = 16, 5, 600
SHOWN = {
    "build": "build (s)",
    "first_step": "first step (s)",
    "step": "step (s)",
    "peak_gib": "peak memory (GiB)",
}


def main(out: Path, networks: list[str]) -> None:
    from reslab.core.environment import commit, machine, versions

    backend = os.environ.get("KERAS_BACKEND", "torch")
    found = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"cases": []}
    found |= {"backend": backend, "batch": BATCH, "limit": LIMIT}
    made = {"commit": commit(), "machine": machine(backend), "versions": versions()}
    for case in networks or NETWORKS:
        name, _, way = case.partition("/")
        for how in [way] if way else WAYS:
            measured = in_a_process(name, how, backend)
            found["cases"].append(measured | made)
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(measured, flush=True)


def in_a_process(name: str, way: str, backend: str) -> dict[str, Any]:
    """What `measure` prints, line by line: a case that is ended keeps what it had."""
    case: dict[str, Any] = {"network": name, "way": way}
    command = [sys.executable, __file__, "--case", name, way]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryFile("w+") as lines, tempfile.TemporaryFile("w+") as errors:
        try:
            done = subprocess.run(
                command, env=environment, stdout=lines, stderr=errors, timeout=LIMIT
            )
            errors.seek(0)
            last = (errors.read().strip().splitlines() or [""])[-1]
            ended = f"failed ({done.returncode}): {last}" if done.returncode else None
        except subprocess.TimeoutExpired:
            ended = f"not done after {LIMIT} s"
        lines.seek(0)
        for line in lines:
            if line.startswith("{"):
                case |= json.loads(line)
    return case | ({"ended": ended} if ended else {})


def measure(name: str, way: str) -> None:
    import keras
    import numpy as np

    import reslab
    from reslab.models import build

    load: Callable[[Path], Any] = reslab.load
    if way == "stock":
        build.accelerate = lambda model: model  # type: ignore[attr-defined]
        load = keras.saving.load_model
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = timed("build", lambda: reslab.create(name, **WAYS[way]))
    images = rng.normal(size=(BATCH, *model.input_shape[1:])).astype("float32")
    labels = rng.integers(0, 10, BATCH)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        timed("save", lambda: model.save(path))
        del model
        model = timed("load", lambda: load(path))
    said(held_gib=peak())
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    with xla_told():
        timed("first_step", lambda: float(model.train_on_batch(images, labels)))
    said(peak_gib=peak())
    seconds = []
    for _ in range(LATER):
        start = time.perf_counter()
        float(model.train_on_batch(images, labels))
        seconds.append(time.perf_counter() - start)
    said(step=round(sorted(seconds)[LATER // 2], 3), steps=[round(s, 3) for s in seconds])
    said(peak_gib=peak())


def timed(what: str, do: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    done = do()
    said(**{what: round(time.perf_counter() - start, 3)})
    return done


@contextmanager
def xla_told() -> Iterator[None]:
    """On JAX, the seconds of lowering and compilation inside."""
    import keras

    seconds = [0.0]
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    def heard(event: str, duration: float, **_: Any) -> None:
        if event.endswith(("backend_compile_duration", "jaxpr_to_mlir_module_duration")):
            seconds[0] += duration

    jax.monitoring.register_event_duration_secs_listener(heard)
    yield
    said(compile=round(seconds[0], 3))


def said(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def peak() -> float:
    """GiB; Linux counts in KiB, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 2)


# The picture -------------------------------------------------------------------------------------


def latest(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each network and way the last measurement, the shallowest network first."""
    from reslab import zoo
    from reslab.spec import summary

    last = {(case["network"], case["way"]): case for case in cases}
    deep = {name: summary.depth(zoo.network(name)) for name, _ in last}
    found = [{**case, "layers": deep[name]} for (name, _), case in last.items()]
    return sorted(found, key=lambda case: case["layers"])


def draw(picture: Path, files: list[Path]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    measured = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    figure = Figure(figsize=(4 * len(SHOWN), 3.4 * len(measured)), layout="constrained")
    axes = figure.subplots(len(measured), len(SHOWN), squeeze=False)
    colours = dict(zip(WAYS, ("#5c5c5c", "#cf5300", "#0069a8", "#00805c"), strict=True))
    for row, each in zip(axes, measured, strict=True):
        last = latest(each["cases"])
        for place, (cost, title) in zip(row, SHOWN.items(), strict=True):
            for way in WAYS:
                cases = [c for c in last if c["way"] == way]
                done = [c for c in cases if cost in c]
                place.plot(
                    [c["layers"] for c in done],
                    [c[cost] for c in done],
                    "o-",
                    color=colours[way],
                    label=way,
                )
                for c in cases:
                    if cost not in c:  # ended before: at the top, so that it is not overlooked
                        place.plot(
                            c["layers"],
                            0.97,
                            "x",
                            color=colours[way],
                            transform=place.get_xaxis_transform(),
                        )
            place.set(title=title, xlabel="layers", xscale="log", yscale="log")
            for axis in (place.xaxis, place.yaxis):
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axis.set_minor_formatter(NullFormatter())
        row[0].set_ylabel(each["backend"])
        row[0].legend(frameon=False)
    figure.supxlabel(
        f"x: not done after {LIMIT} s", fontsize="medium", color="#5c5c5c", ha="left", x=0
    )
    figure.savefig(picture)


if __name__ == "__main__":
    if sys.argv[1] == "--case":
        measure(sys.argv[2], sys.argv[3])
    elif sys.argv[1] == "--draw":
        draw(Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
    else:
        main(Path(sys.argv[1]), sys.argv[2:])
