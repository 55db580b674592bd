"""The cost of depth for networks of 20 to 1202 layers.

Compares stock Keras layers, reslab's flat models, stacked models, and stacked models that recompute
activations.

    KERAS_BACKEND=torch python bench/depth.py OUT.json                     # measure every case
    KERAS_BACKEND=jax python bench/depth.py OUT.json resnet1001_v2         # all cases of a network
    KERAS_BACKEND=jax python bench/depth.py OUT.json resnet1202/stacked    # one case
    python bench/depth.py --draw PICTURE.png IN.json [IN.json...]          # draw the measurements

Each case runs in its own process. It measures build, save and load (`reslab.load`; for stock, the
load of Keras), the first training step including compilation, the median of five later steps, and
the peak memory of the process before the first step and at the end. On JAX it also measures the
compile time of XLA. Batches have 16 images of 32x32. A case that takes longer than LIMIT seconds is
stopped. Stopped and failed cases are listed as such. OUT.json keeps every measurement; the picture
shows the last one of each case.
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
VARIANTS: dict[str, dict[str, bool]] = {
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
    result = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"cases": []}
    result |= {"backend": backend, "batch": BATCH, "limit": LIMIT}
    metadata = {"commit": commit(), "machine": machine(backend), "versions": versions()}
    for case in networks or NETWORKS:
        name, _, variant = case.partition("/")
        for each in [variant] if variant else VARIANTS:
            measured = in_a_process(name, each, backend)
            result["cases"].append(measured | metadata)
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            print(measured, flush=True)


def in_a_process(name: str, variant: str, backend: str) -> dict[str, Any]:
    """Run `measure` in a new process and collect the lines that it prints.

    A case that is stopped keeps the values that it has printed until then.
    """
    case: dict[str, Any] = {"network": name, "way": variant}
    command = [sys.executable, __file__, "--case", name, variant]
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


def measure(name: str, variant: str) -> None:
    """Measure one case in this process and print its values."""
    import keras
    import numpy as np

    import reslab
    from reslab.models import build

    load: Callable[[Path], Any] = reslab.load
    if variant == "stock":
        build.accelerate = lambda model: model  # type: ignore[attr-defined]
        load = keras.saving.load_model
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = timed("build", lambda: reslab.create(name, **VARIANTS[variant]))
    images = rng.normal(size=(BATCH, *model.input_shape[1:])).astype("float32")
    labels = rng.integers(0, 10, BATCH)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        timed("save", lambda: model.save(path))
        del model
        model = timed("load", lambda: load(path))
    emit(held_gib=peak())
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    with emit_xla_compile_time():
        timed("first_step", lambda: float(model.train_on_batch(images, labels)))
    emit(peak_gib=peak())
    seconds = []
    for _ in range(LATER):
        start = time.perf_counter()
        float(model.train_on_batch(images, labels))
        seconds.append(time.perf_counter() - start)
    emit(step=round(sorted(seconds)[LATER // 2], 3), steps=[round(s, 3) for s in seconds])
    emit(peak_gib=peak())


def timed(what: str, do: Callable[[], Any]) -> Any:
    """Call a function and print its time."""
    start = time.perf_counter()
    done = do()
    emit(**{what: round(time.perf_counter() - start, 3)})
    return done


@contextmanager
def emit_xla_compile_time() -> Iterator[None]:
    """On JAX, measure the seconds that XLA spends on lowering and compilation in this context."""
    import keras

    seconds = [0.0]
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    def listener(event: str, duration: float, **_: Any) -> None:
        if event.endswith(("backend_compile_duration", "jaxpr_to_mlir_module_duration")):
            seconds[0] += duration

    jax.monitoring.register_event_duration_secs_listener(listener)
    yield
    emit(compile=round(seconds[0], 3))


def emit(**values: Any) -> None:
    """Print values as a line of JSON, for `in_a_process`."""
    print(json.dumps(values), flush=True)


def peak() -> float:
    """Return the peak memory of this process in GiB. Linux reports KiB, macOS bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 2)


# The picture -------------------------------------------------------------------------------------


def latest(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last measurement of each network and variant, sorted by depth."""
    from reslab import zoo
    from reslab.spec import summary

    last = {(case["network"], case["way"]): case for case in cases}
    depths = {name: summary.depth(zoo.network(name)) for name, _ in last}
    rows = [{**case, "layers": depths[name]} for (name, _), case in last.items()]
    return sorted(rows, key=lambda case: case["layers"])


def draw(picture: Path, files: list[Path]) -> None:
    """Draw the last measurement of each case."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    measured = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    figure = Figure(figsize=(4 * len(SHOWN), 3.4 * len(measured)), layout="constrained")
    axes = figure.subplots(len(measured), len(SHOWN), squeeze=False)
    colours = dict(zip(VARIANTS, ("#5c5c5c", "#cf5300", "#0069a8", "#00805c"), strict=True))
    for row, each in zip(axes, measured, strict=True):
        last = latest(each["cases"])
        for panel, (cost, title) in zip(row, SHOWN.items(), strict=True):
            for variant in VARIANTS:
                cases = [c for c in last if c["way"] == variant]
                done = [c for c in cases if cost in c]
                panel.plot(
                    [c["layers"] for c in done],
                    [c[cost] for c in done],
                    "o-",
                    color=colours[variant],
                    label=variant,
                )
                for c in cases:
                    if cost not in c:  # not measured: mark it at the top
                        panel.plot(
                            c["layers"],
                            0.97,
                            "x",
                            color=colours[variant],
                            transform=panel.get_xaxis_transform(),
                        )
            panel.set(title=title, xlabel="layers", xscale="log", yscale="log")
            for axis in (panel.xaxis, panel.yaxis):
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
