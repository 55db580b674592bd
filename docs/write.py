"""Writes the tables of README.md and bench/README.md, and docs/studies.md, from what was measured.

    python docs/write.py                 tables anew
    python docs/write.py RUN [RUN ...]   put finished runs, and studies, into the ledger first
    python docs/write.py --check         exit with 1 if one of them would change

No number in them is typed by hand: each stands between markers that this script fills.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from pathlib import Path

import studies
from benchmarks import TABLES, table

from reslab.runs.run import Run
from reslab.spec import summary
from reslab.studies.folder import Study
from reslab.zoo import NETWORKS

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BENCH = HERE.parent / "bench" / "README.md"
STUDIES = HERE / "studies.md"
LEDGER = HERE / "results"
KEPT = "started", "backend", "precision", "seed", "versions", "machine", "commit", "chosen_epoch"


def main(words: list[str]) -> int:
    check = "--check" in words
    for word in words:
        if not word.startswith("-"):
            if (Path(word) / "study.json").exists():
                studies.enter(Study.open(word))
            else:
                enter(Run.open(word))
    own = {"networks": networks, "measured": measured, "finetuned": finetuned}
    own |= {"degradation": studies.degradations, "signals": studies.signals}
    own |= {"landscape": studies.landscapes}
    changed = False
    for path, tables in ((README, own), (BENCH, TABLES)):
        old = new = path.read_text(encoding="utf-8")
        for name, make in tables.items():
            new = fill(new, name, make(), path)
        changed |= old != new
        if not check:
            path.write_text(new, encoding="utf-8")
    told = studies.everything()
    changed |= not STUDIES.exists() or STUDIES.read_text(encoding="utf-8") != told
    if not check:
        STUDIES.write_text(told, encoding="utf-8")
    return int(check and changed)


def enter(run: Run) -> None:
    """One JSON a run: what it was, on what, and what came out."""
    judged = run.evaluation
    if run.info["status"] != "done" or judged is None:
        raise SystemExit(f"{run.path} is not finished: it has no place in the ledger")
    lines = run.log("epoch")
    entry = {
        "command": run.info["command"],
        "network": run.network.name,
        "recipe": run.info["recipe"],
        "data": {key: run.info["data"][key] for key in ("name", "checksum", "counts")},
        **{key: run.info[key] for key in KEPT},
        "epochs": len(lines),
        "seconds": round(sum(line["seconds"] for line in lines)),
        "images_per_second": statistics.median(line["images_per_second"] for line in lines),
        "validation_error": min(line["val_error"] for line in lines),
        "test_error": judged["top1_error"],
    }
    name = f"{run.network.name}-{run.info['data']['name']}-{run.info['recipe']['name']}"
    path = LEDGER / f"{name}-seed{run.info['seed']}.json"
    path.write_text(json.dumps(entry, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def networks() -> str:
    rows = ["| network | input | parameters | multiply-adds | |", "|---|---|---|---|---|"]
    for name, network in NETWORKS.items():
        sums = summary.counts(network)
        size = "x".join(map(str, network.input_shape))
        rows.append(
            f"| `{name}` | {size} | {sums.trainable_params:,} | {sums.multiply_adds:,} |"
            f" {network.title} |"
        )
    return "\n".join(rows)


def measured() -> str:
    """A line for each network, data and recipe: mean and spread over the seeds, each run named."""
    groups: dict[tuple[str, ...], list[dict]] = {}
    for path in sorted(LEDGER.glob("*-seed*.json")):
        entry = json.loads(path.read_text(encoding="utf-8"))
        key = entry["network"], entry["data"]["name"], entry["recipe"]["name"], entry["epochs"]
        groups.setdefault(key, []).append(entry)
    head = (
        "| network | data | recipe | epochs | validation error | test error | minutes | machine |"
    )
    rows = [head, "|---|---|---|---|---|---|---|---|"]
    for (network, data, recipe, epochs), entries in groups.items():
        machine = entries[0]["machine"]
        where = machine["gpu"] or f"{machine['cores']} cores, {machine['cpu']}"
        tested = [entry["test_error"]["value"] for entry in entries]
        rows.append(
            f"| `{network}` | {data} | `{recipe}` | {epochs} |"
            f" {_spread([entry['validation_error'] for entry in entries])} | {_spread(tested)} |"
            f" {_minutes([entry['seconds'] for entry in entries])} | {where} |"
        )
    rows += ["", "Every run of the table, with its command:", ""]
    rows += [
        f"- `{entry['command']}`: test error {entry['test_error']['value']:.2%}"
        f" ({entry['test_error']['low']:.2%} to {entry['test_error']['high']:.2%})"
        for entries in groups.values()
        for entry in entries
    ]
    return "\n".join(rows)


def finetuned() -> str:
    """Each draw of images a column: test errors of the rates that were chosen on other draws."""
    found = json.loads((LEDGER / "finetune.json").read_text(encoding="utf-8"))
    draws = sorted({run["draw"] for run in found["runs"] if "test_error" in run})
    ways: dict[str, dict[int, float | None]] = {}
    for run in found["runs"]:
        if run["draw"] not in draws:
            continue
        more = [word for word in ("freeze_bn", "recalibrate_bn") if run.get(word)]
        way = ", ".join([run["way"], *(f"`--{word.replace('_', '-')}`" for word in more)])
        error = None if "failed" in run else run["test_error"]["value"]
        ways.setdefault(way, {})[run["draw"]] = error
    rows = []
    for way, errors in ways.items():
        done = [error for error in errors.values() if error is not None]
        cells = ["diverged" if errors[d] is None else f"{errors[d]:.1%}" for d in draws]
        mean = f"{statistics.mean(done):.1%}" if len(done) == len(draws) else ""
        rows.append([way, *cells, mean])
    return table(["", *(f"draw {draw + 1}" for draw in draws), "mean"], rows)


def fill(text: str, name: str, made: str, path: Path) -> str:
    """The text with what stands between `<!-- name -->` and `<!-- /name -->` replaced."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
    if not pattern.search(text):
        raise SystemExit(f"{path} has no place for the {name}")
    return pattern.sub(lambda found: f"{found[1]}{made}\n{found[2]}", text)


def _spread(errors: list[float]) -> str:
    mean = f"{statistics.mean(errors):.2%}"
    if len(errors) == 1:
        return f"{mean} (n = 1)"
    return f"{mean} ± {100 * statistics.stdev(errors):.2f} (n = {len(errors)})"


def _minutes(seconds: list[float]) -> str:
    low, high = min(seconds) / 60, max(seconds) / 60
    return f"{low:.1f}" if len(seconds) == 1 else f"{low:.1f} to {high:.1f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
