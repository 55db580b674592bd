"""Write the pages of docs/results/, and the numbers of other pages, from what was measured.

    python docs/write.py                 write all pages
    python docs/write.py RUN [RUN ...]   first add finished runs and studies to docs/results/
    python docs/write.py --check         write nothing; exit with 1 if a page would change

No number is typed by hand. Where a page has text of its own, a table stands between
`<!-- name -->` and `<!-- /name -->`, and this script fills that space.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benchmarks
import small_sets
import studies
import wrong_labels
from benchmarks import table

from reslab.runs.run import Run
from reslab.spec import summary
from reslab.studies.folder import Study
from reslab.zoo import NETWORKS

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
RESULTS = HERE / "results"
KEPT = "started", "backend", "precision", "seed", "versions", "machine", "commit", "chosen_epoch"


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    for argument in arguments:
        if not argument.startswith("-"):
            if (Path(argument) / "study.json").exists():
                studies.add_study(Study.open(argument))
            else:
                add_run(Run.open(argument))
    changed = False
    for path, text in pages():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        changed = True
        print(f"{'would change' if check else 'wrote'}: {path.relative_to(HERE.parent)}")
        if not check:
            path.write_text(text, encoding="utf-8")
    return int(check and changed)


def pages() -> list[tuple[Path, str]]:
    """Every page with the text that it should have."""
    return [
        (README, filled(README, {"numbers": numbers})),
        (RESULTS / "networks.md", filled(RESULTS / "networks.md", {"networks": networks})),
        (
            RESULTS / "trainings.md",
            filled(RESULTS / "trainings.md", {"measured": trainings, "finetuned": finetuned}),
        ),
        (RESULTS / "small-sets.md", filled(RESULTS / "small-sets.md", small_sets.TABLES)),
        (RESULTS / "benchmarks.md", filled(RESULTS / "benchmarks.md", benchmarks.TABLES)),
        (RESULTS / "studies.md", studies.page()),
        (
            HERE / "how-to" / "report.md",
            filled(HERE / "how-to" / "report.md", {"wrong-labels": wrong_labels.measured}),
        ),
    ]


def filled(path: Path, tables: dict[str, Callable[[], str]]) -> str:
    """The page with each of the tables between its markers."""
    text = path.read_text(encoding="utf-8")
    for name, make in tables.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        if not pattern.search(text):
            raise SystemExit(f"{path} has no markers for the table '{name}'")
        filling = f"\n{make()}\n\n"  # blank lines: Markdown starts a table after one
        text = pattern.sub(lambda match, filling=filling: match[1] + filling + match[2], text)
    return text


def add_run(run: Run) -> None:
    """Keep one JSON file of a finished run: its settings, and what it measured."""
    evaluation = run.evaluation
    if run.info["status"] != "done" or evaluation is None:
        raise SystemExit(f"{run.path} is not finished: only finished runs are kept")
    epochs = run.log("epoch")
    entry = {
        "command": run.info["command"],
        "network": run.network.name,
        "recipe": run.info["recipe"],
        "data": {key: run.info["data"][key] for key in ("name", "checksum", "counts")},
        **{key: run.info[key] for key in KEPT},
        "epochs": len(epochs),
        "seconds": round(sum(epoch["seconds"] for epoch in epochs)),
        "images_per_second": statistics.median(epoch["images_per_second"] for epoch in epochs),
        "validation_error": min(epoch["val_error"] for epoch in epochs),
        "test_error": evaluation["top1_error"],
    }
    name = f"{run.network.name}-{run.info['data']['name']}-{run.info['recipe']['name']}"
    path = RESULTS / f"{name}-seed{run.info['seed']}.json"
    path.write_text(json.dumps(entry, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def numbers() -> str:
    """The three numbers of README: a test error, the degradation, and the speed."""
    entries = kept_runs()["resnet20", "fashion-mnist", "quick", 3]
    errors = [entry["test_error"]["value"] for entry in entries]
    study, (plain, residual) = studies.deepest_pair()
    slowest, fastest, runs = benchmarks.speedup("resnet20", "torch")
    return "\n".join(
        [
            f"- ResNet-20 after three epochs of Fashion-MNIST: {spread(errors)} test error"
            " ([all trainings](docs/results/trainings.md)).",
            f"- Training error of 56 layers without skips and with them: {plain} and {residual}"
            f" ({study.settings['seeds']} seeds; [all studies](docs/results/studies.md)).",
            f"- `fit` of ResNet-20 on PyTorch, on CPUs: {slowest:.2f} to {fastest:.2f} times as"
            f" fast as stock Keras ({runs} runs; [all benchmarks](docs/results/benchmarks.md)).",
        ]
    )


def networks() -> str:
    rows = []
    for name, network in NETWORKS.items():
        counts = summary.counts(network)
        size = "x".join(map(str, network.input_shape))
        parameters, multiply_adds = f"{counts.trainable_params:,}", f"{counts.multiply_adds:,}"
        rows.append([f"`{name}`", size, parameters, multiply_adds, network.title])
    return table(["network", "input", "parameters", "multiply-adds", ""], rows)


def kept_runs() -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Runs by network, data, recipe and epochs; the runs of one key differ by seed."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for path in sorted(RESULTS.glob("*-seed*.json")):
        entry = json.loads(path.read_text(encoding="utf-8"))
        key = entry["network"], entry["data"]["name"], entry["recipe"]["name"], entry["epochs"]
        groups.setdefault(key, []).append(entry)
    return groups


def trainings() -> str:
    """One row for each network, data set and recipe: mean and spread over the seeds."""
    head = ["network", "data", "recipe", "epochs", "validation error", "test error", "minutes"]
    rows, commands = [], []
    for (network, data, recipe, epochs), entries in kept_runs().items():
        machine = entries[0]["machine"]
        rows.append(
            [
                f"`{network}`",
                data,
                f"`{recipe}`",
                str(epochs),
                spread([entry["validation_error"] for entry in entries]),
                spread([entry["test_error"]["value"] for entry in entries]),
                _minutes([entry["seconds"] for entry in entries]),
                machine["gpu"] or f"{machine['cores']} cores, {machine['cpu']}",
            ]
        )
        for entry in entries:
            error = entry["test_error"]
            interval = f"{error['low']:.2%} to {error['high']:.2%}"
            commands.append(f"- `{entry['command']}`: test error {error['value']:.2%} ({interval})")
    rows_text = table([*head, "machine"], rows)
    return "\n".join([rows_text, "", "Every run of the table, with its command:", "", *commands])


def finetuned() -> str:
    """One column for each draw of images, one row for each method."""
    results = json.loads((RESULTS / "finetune.json").read_text(encoding="utf-8"))
    draws = sorted({run["draw"] for run in results["runs"] if "test_error" in run})
    methods: dict[str, dict[int, float | None]] = {}
    for run in results["runs"]:
        if run["draw"] not in draws:
            continue
        options = [name for name in ("freeze_bn", "recalibrate_bn") if run.get(name)]
        flags = [f"`--{name.replace('_', '-')}`" for name in options]
        error = None if "failed" in run else run["test_error"]["value"]
        methods.setdefault(", ".join([run["way"], *flags]), {})[run["draw"]] = error
    rows = []
    for method, errors in methods.items():
        finished = [error for error in errors.values() if error is not None]
        cells = [
            "diverged" if (error := errors[draw]) is None else f"{error:.1%}" for draw in draws
        ]
        mean = f"{statistics.mean(finished):.1%}" if len(finished) == len(draws) else ""
        rows.append([method, *cells, mean])
    return table(["", *(f"draw {draw + 1}" for draw in draws), "mean"], rows)


def spread(errors: list[float]) -> str:
    """Mean and standard deviation: `7.68% ± 0.19 (n = 3)`."""
    mean = f"{statistics.mean(errors):.2%}"
    if len(errors) == 1:
        return f"{mean} (n = 1)"
    return f"{mean} ± {100 * statistics.stdev(errors):.2f} (n = {len(errors)})"


def _minutes(seconds: list[float]) -> str:
    low, high = min(seconds) / 60, max(seconds) / 60
    return f"{low:.1f}" if len(seconds) == 1 else f"{low:.1f} to {high:.1f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
