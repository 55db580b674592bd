"""Runs that differ by their seed alone are recognised, and averaged on the page."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from reslab.report import page, seeds
from reslab.runs.run import Run
from tests.helpers.runs import make_run


def three(folder: Path, network: str = "resnet20", error: float = 0.09) -> list[Run]:
    names = (folder / f"{network}-seed{seed}" for seed in range(3))
    return [make_run(path, network, error=error, seed=s) for s, path in enumerate(names)]


def errors_of(runs: list[Run]) -> list[float]:
    return [run.evaluation["top1_error"]["value"] for run in runs if run.evaluation]


def shown(runs: list[Run], folder: Path) -> str:
    text = page.write(runs, folder / "page.html").read_text(encoding="utf-8")
    return " ".join(text.split())


def test_mean_and_deviation_of_a_group(tmp_path: Path) -> None:
    runs = three(tmp_path)
    values = errors_of(runs)
    group = seeds.groups(runs)[0]
    assert (group.numbers, group.seeds) == ((0, 1, 2), (0, 1, 2))
    assert group.errors is not None
    assert group.errors.values == tuple(values)
    text = f"{100 * fmean(values):.1f} ± {100 * stdev(values):.1f} %"
    assert group.sentence == f"test error {text} (mean ± sd, n = 3 seeds)"
    html = shown(runs, tmp_path)
    assert f"<b>{text}</b>" in html
    assert group.errors.interval in html
    assert "These are single runs" not in html
    assert "<h1>resnet20 on fashion-mnist, 3 seeds</h1>" in html


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": {"name": "other"}},
        {"precision": "mixed"},
        {"freeze_bn": True},
        {"weights": {"sha256": "other"}},
        {"backend": "jax"},
        {"seed": 0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_runs_that_differ_otherwise_are_no_group(tmp_path: Path, change: dict[str, Any]) -> None:
    one, two, _ = three(tmp_path)
    two.save(**change)
    assert seeds.groups([one, two]) == []
    assert "Mean over seeds" not in shown([one, two], tmp_path)


@pytest.mark.parametrize("key", ["checksum", "provenance", "counts"])
def test_runs_on_other_data_are_no_group(tmp_path: Path, key: str) -> None:
    one, two, _ = three(tmp_path)
    two.save(data={**two.info["data"], key: {"other": 1}})
    assert seeds.groups([one, two]) == []


def test_what_does_not_change_the_result_may_differ(tmp_path: Path) -> None:
    runs = three(tmp_path)
    runs[1].save(workers=7, checkpoint_seconds=1.0, keep_checkpoints=True, machine={"cpu": "other"})
    assert len(seeds.groups(runs)[0].numbers) == 3


def test_a_seed_counts_once(tmp_path: Path) -> None:
    runs = three(tmp_path)
    copy = make_run(tmp_path / "copy", error=0.5, seed=0)
    group = seeds.groups([*runs, copy])[0]
    assert group.numbers == (0, 1, 2)


def test_failed_and_unfinished_runs_are_counted_and_not_averaged(tmp_path: Path) -> None:
    runs = three(tmp_path)
    runs[0].save(status="failed")
    (runs[1].path / "evaluation.json").unlink()
    group = seeds.groups(runs)[0]
    assert group.sentence.endswith("(n = 1 seed, 1 failed, 1 not finished)")
    assert "1 failed" in shown(runs, tmp_path)
    (runs[2].path / "evaluation.json").unlink()
    assert seeds.groups(runs)[0].sentence == "no error to average: 1 failed, 2 not finished"
    shown(runs, tmp_path)


def test_errors_of_different_images_have_no_mean(tmp_path: Path) -> None:
    runs = three(tmp_path)
    evaluation = {**(runs[0].evaluation or {}), "checksum": "other"}
    (runs[0].path / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    assert seeds.groups(runs)[0].errors is None
    shown(runs, tmp_path)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (0.3, "The test error of plain20 is higher than that of resnet20"),
        (0.09, "Whether plain20 or resnet20 has the lower test error is not decided"),
    ],
)
def test_two_groups_are_compared_by_an_interval(tmp_path: Path, error: float, verdict: str) -> None:
    runs = [*three(tmp_path), *three(tmp_path, "plain20", error)]
    html = shown(runs, tmp_path)
    assert html.count("mean ± sd, n = 3 seeds") == 2
    assert f"{verdict} (difference " in html


def test_a_run_without_a_partner_stays_single(tmp_path: Path) -> None:
    runs = [*three(tmp_path), make_run(tmp_path / "other", "plain20")]
    html = shown(runs, tmp_path)
    assert html.count("mean ± sd, n = 3 seeds") == 1
    assert "do not include the variation between seeds" in html
