"""The tables of docs/results/benchmarks.md, from bench/results/; `write.py` fills them in.

Every run of a benchmark has a row, also where it missed its goal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from reslab import zoo
from reslab.spec import summary

Lines = list[list[str]]
RESULTS = Path(__file__).parent.parent / "bench" / "results"
KEYS = {"torch": "torch", "tensorflow": "tensorflow-cpu", "jax": "jax"}
# The goals: so many times as fast as the best eager loop, the compiled loop, and stock Keras.
EAGER, COMPILED = "best by hand, eager", "by hand, torch.compile"
GOALS = {EAGER: 1.0, COMPILED: 0.95}
GPU_GOALS = {False: {"stock Keras": 3.0}, True: {COMPILED: 1.0}}  # small nets; ResNet-50
WAYS = {"reslab, loaded": ", from a loaded file", "reslab, torch.compile": ", compiled"}
SERVING_GOAL = 1.7  # times the CPU of the bare engine, at 32 clients
SERVED = {"cpu_ms": ".2f", "per_second": ".0f", "median_ms": ".1f", "p99_ms": ".1f"}
STOCK = {("torch", False): 1.8, ("torch", True): 1.2, ("tensorflow", False): 1.2}


def runs(name: str) -> list[dict[str, Any]]:
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []


def times(comparison: dict[str, Any] | None) -> str:
    if comparison is None:
        return ""
    low, high = comparison["interval"]
    return f"{comparison['ratio']:.2f} ({low:.2f} to {high:.2f})"


def speedup(network: str, backend: str) -> tuple[float, float, int]:
    """The smallest and largest ratio of `fit` to stock Keras over all runs; the number of runs."""
    ratios = [
        comparisons["stock Keras"]["ratio"]
        for run in runs("training.json")
        if (run["network"], run["backend"], run["path"]) == (network, backend, "fit")
        and not run["machine"]["gpu"]
        for name, comparisons in run["ratios"].items()
        if name == "reslab"
    ]
    return min(ratios), max(ratios), len(ratios)


def speed(run: dict[str, Any], name: str) -> str:
    rate = run["images_per_second"].get(name)
    return "" if rate is None else f"{rate:.3g}" if rate < 1000 else f"{rate:.0f}"


def table(head: list[str], lines: list[list[str]]) -> str:
    """A table in Markdown."""
    if not lines:
        return "Not measured yet."
    return "\n".join(
        [
            f"| {' | '.join(head)} |",
            f"|{'---|' * len(head)}",
            *(f"| {' | '.join(line)} |" for line in lines),
        ]
    )


def by_machine(
    results: list[dict[str, Any]], head: list[str], lines: Callable[[dict[str, Any]], Lines]
) -> str:
    """One table for each machine and backend, with the lines of its runs."""
    parts = []
    for machine in dict.fromkeys(map(where, results)):
        rows = [line for run in results if where(run) == machine for line in lines(run)]
        parts.append(f"{machine}\n\n{table(head, rows)}")
    return "\n\n".join(parts) or table(head, [])


def where(run: dict[str, Any]) -> str:
    machine, versions = run["machine"], run["versions"]
    backend = versions.get(KEYS[run["backend"]], versions.get(run["backend"], ""))
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['gpu'] or 'no GPU'}; "
        f"{run['backend']} {backend}, Keras {versions['keras']}"
    )


def training() -> str:
    head = ["network", "batch", "path", "reslab", "stock Keras", "by hand", "by hand, compiled"]
    head += ["reslab / stock Keras", "reslab / by hand", "reslab / compiled", "goals", "commit"]
    return by_machine(runs("training.json"), head, _trained)


def _trained(run: dict[str, Any]) -> Lines:
    lines = []
    for ours, ratios in run["ratios"].items():
        best, steps = run["best_eager"], run["steps_a_turn"]
        epochs = f", epochs of {steps} steps" if run["path"] == "train" else ""
        speeds = [speed(run, name) for name in (ours, "stock Keras", best, COMPILED)]
        if best and speeds[2]:
            speeds[2] += f" ({best.rsplit('_', 1)[-1]})"
        lines.append(
            [
                run["network"],
                str(run["batch"]) + (", mixed" if run.get("precision") == "mixed" else ""),
                run["path"] + WAYS.get(ours, "") + epochs,
                *speeds,
                *(times(ratios.get(name)) for name in ("stock Keras", EAGER, COMPILED)),
                _goals(run, ratios),
                made_by(run),
            ]
        )
    return lines


def _goals(run: dict[str, Any], ratios: dict[str, Any]) -> str:
    large = run["network"] == "resnet50"
    on_gpu = GPU_GOALS[large] if run["machine"]["gpu"] else None
    goals = on_gpu or GOALS | {"stock Keras": STOCK.get((run["backend"], large))}
    short = [
        f"{name}: below {goals[name]:g}"
        for name, comparison in ratios.items()
        if goals.get(name) and comparison["ratio"] < goals[name]
    ]
    if not any(goals.get(name) for name in ratios):
        return "none"
    return "; ".join(short) or "reached"


def made_by(run: dict[str, Any]) -> str:
    return f"{(run['commit'] or '')[:7]}, {run['backend']}"


def inference() -> str:
    head = ["batch", "", "images/s", "speed of `reslab.inference` as a multiple", "commit"]
    return by_machine(runs("inference.json"), head, _served)


def _served(run: dict[str, Any]) -> Lines:
    lines = []
    for name in run["images_per_second"]:
        label = name + (", the fastest single engine" if name == run["best_alone"] else "")
        if name == "reslab.inference":
            label += f", which chose {run['chose']['engine']}"
        ratio = times(run["ratios"]["reslab.inference"].get(name))
        lines.append([str(run["batch"]), label, speed(run, name), ratio, made_by(run)])
    return lines


def serving() -> str:
    head = ["network", "", "clients", "CPU per picture (ms)", "times the bare engine", "pictures/s"]
    head += ["median (ms)", "99 % (ms)", "goal", "commit"]
    return by_machine(runs("serving.json"), head, _under_load)


def _under_load(run: dict[str, Any]) -> Lines:
    lines = []
    for name, by_clients in run["rounds"][0].items():
        for clients in sorted(by_clients, key=int):
            turns = [each[name][clients] for each in run["rounds"]]
            ratio = run["ratios"].get(name, {}).get(clients)
            has_goal = name == "reslab serve" and clients == "32"
            reached = ("reached" if ratio <= SERVING_GOAL else "above") if has_goal else ""
            cells = [
                f"{median(turn[key] for turn in turns):{form}}" if key in turns[0] else ""
                for key, form in SERVED.items()
            ]
            cells.insert(1, f"{ratio:.2f}" if ratio is not None else "1")
            label = f"{name}, {run['engine']}" if ratio is None else name
            shown = clients if int(clients) else ""
            lines.append([run["network"], label, shown, *cells, reached, made_by(run)])
    return lines


def startup() -> str:
    results = runs("startup.json")
    names = list(results[-1]["median_seconds"]) if results else []
    lines = []
    for run in results:
        medians = run["median_seconds"]
        cells = [f"{medians[name]:.3f}" if name in medians else "" for name in names]
        lines.append([*cells, (run["commit"] or "")[:7]])
    return table([f"`{name}` (s)" for name in names] + ["commit"], lines)


def landscape() -> str:
    head = ["network", "images", "grid, images/s", "plain inference, images/s", "grid / plain"]
    head += ["speed-up of several points in one call", "commit"]
    return by_machine(runs("landscape.json"), head, _surveyed)


def _surveyed(run: dict[str, Any]) -> Lines:
    speeds = [speed(run, name) for name in ("grid", "plain inference")]
    ratios = [times(run["ratio"]), times(run["at_once"])]
    return [[run["network"], str(run["images"]), *speeds, *ratios, made_by(run)]]


COSTS = {  # what bench/depth.py measures, in order
    "build": "build (s)",
    "save": "save (s)",
    "load": "load (s)",
    "compile": "compiled in (s)",
    "first_step": "first step (s)",
    "step": "step (s)",
    "peak_gib": "peak memory (GiB)",
}


def depth() -> str:
    cases = []
    for path in sorted(RESULTS.glob("depth-*.json"), reverse=True):
        results = json.loads(path.read_text(encoding="utf-8"))
        cases += [case | {"backend": results["backend"]} for case in results["cases"]]
    methods = list(dict.fromkeys(case["way"] for case in cases))
    depths = {name: summary.depth(zoo.network(name)) for name in {c["network"] for c in cases}}
    cases.sort(key=lambda case: (depths[case["network"]], methods.index(case["way"])))
    head = ["network", "layers", "built", *COSTS.values(), "commit"]
    return by_machine(cases, head, lambda case: [_deep(case, depths[case["network"]])])


def _deep(case: dict[str, Any], layers: int) -> list[str]:
    costs = [f"{case[cost]:.2f}" if cost in case else "" for cost in COSTS]
    if "ended" in case:  # the reason goes after the last cost that was measured
        reached = max((i for i, c in enumerate(costs[:-1]) if c), default=-1)
        costs[reached + 1] = case["ended"]
    return [case["network"], str(layers), case["way"], *costs, made_by(case)]


def step() -> str:
    head = ["network", "batch", "program", "step (ms)", "convolutions (ms)"]
    head += ["convolutions (GFLOP/s)", "matrix product (GFLOP/s)", "copies (ms)", "rest (ms)"]
    head += ["stock Keras / this step", "stock Keras / convolutions alone", "commit"]
    return by_machine(runs("step.json"), head, _spent)


def _spent(run: dict[str, Any]) -> Lines:
    lines, stock = [], run["seconds"]["stock Keras"]["step"]
    for program, seconds in run["seconds"].items():
        step, convolved, copied = (seconds[k] for k in ("step", "convolutions", "copies"))
        lines.append(
            [
                run["network"],
                str(run["batch"]),
                program,
                f"{1000 * step:.0f}",
                f"{1000 * convolved:.0f}",
                f"{run['gflop_of_convolutions'] / convolved:.0f}",
                f"{run['gflop_a_second_of_matrices']:.0f}",
                f"{1000 * copied:.0f}",
                f"{1000 * (step - convolved - copied):.0f}",
                f"{stock / step:.2f}",
                f"{stock / convolved:.2f}",
                made_by(run),
            ]
        )
    return lines


def convolutions() -> str:
    head = ["feature maps", "operation", "JAX (ms)", "PyTorch (ms)", "commit"]
    return by_machine(runs("convolutions.json"), head, _convolved)


def _convolved(run: dict[str, Any]) -> Lines:
    lines = []
    for row in run["rows"]:
        seconds = row["median_seconds"]
        cells = [
            f"{1000 * seconds[name]:.1f}" if name in seconds else "" for name in ("jax", "torch")
        ]
        one = row["what"] in ("forward", "input gradient", "kernel gradient")
        what = row["what"] if one else f"{run['times']} and both gradients, {row['what']}"
        lines.append([row["case"], what, *cells, made_by(run)])
    return lines


TABLES = {
    "training": training,
    "step": step,
    "convolutions": convolutions,
    "inference": inference,
    "serving": serving,
    "depth": depth,
    "landscape": landscape,
    "startup": startup,
}
