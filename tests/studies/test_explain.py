"""The page of `reslab explain`: complete without a run, and with runs and studies."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reslab import zoo
from reslab.cli.main import main
from reslab.core.errors import UserError
from reslab.report import page as report
from reslab.runs.run import Run
from reslab.spec import summary
from reslab.studies.explain import published
from reslab.studies.explain.collect import collect
from reslab.studies.explain.page import explain
from reslab.studies.folder import Study
from reslab.zoo.resnet import TABLE_1

DECK = [
    "The winning model",
    "A revolution of depth",
    "The problem: deeper plain nets are worse",
    "Do gradients vanish?",
    "The residual block",
    "The shape of the loss",
    "Three nets",
    "Identity mappings",
    "The architecture",
    "The code",
    "Results",
    "DenseNet: from sums to concatenations",
    "References",
]


def headings(page: Path) -> list[str]:
    return re.findall(r"<h2[^>]*>(.*?)</h2>", page.read_text(encoding="utf-8"))


def test_the_page_without_a_run_has_all_sections_and_their_commands(apart: None) -> None:
    page = explain()
    text = page.read_text(encoding="utf-8")
    assert headings(page) == DECK
    for command in ("degradation", "signals", "responses", "lesions", "landscape", "ablate"):
        assert f"<code>reslab {command} " in text
    assert "<code>reslab train resnet20 --data fashion-mnist</code> makes one" in text
    measured = re.findall(r"Measured here:(.*?)</p>", text, re.DOTALL)
    assert measured
    assert not any("reslab train" in command for command in measured)


def test_the_page_loads_no_other_files(apart: None) -> None:
    body = explain().read_text(encoding="utf-8").partition("<body>")[2].partition("<script>")[0]
    assert re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*", body) == []


def test_a_run_is_shown_with_its_error_and_its_command(trained: Run, apart: None) -> None:
    evaluation = trained.evaluation
    assert evaluation is not None
    text = explain([trained.path]).read_text(encoding="utf-8")
    assert f"{evaluation['n']} {evaluation['split']} images" in text
    assert f"{100 * evaluation['top1_error']['value']:.1f} %" in text
    assert 'id="curves-error"' in text
    assert "1 run of your own" in text


def test_a_damaged_study_is_left_out_of_the_page(apart: None) -> None:
    results = Path(__file__).parents[2] / "docs" / "results"
    for name in ("responses-*", "signals-*"):
        (source,) = results.glob(name)
        shutil.copytree(source, source.name)
    (damaged,) = Path().glob("responses-*/responses.json")
    data = json.loads(damaged.read_text())
    del data["runs"][0]["said"]
    damaged.write_text(json.dumps(data))
    text = explain([Path()]).read_text(encoding="utf-8")
    assert f"Left out: {damaged.parent.name}" in text
    assert "is damaged: KeyError(&#39;said&#39;)" in text
    assert 'id="signals-1-' in text


def test_only_runs_with_a_thousand_classes_are_compared_with_ilsvrc(
    trained: Run, apart: None
) -> None:
    for name, classes in (("ten", 10), ("a thousand", 1000)):
        shutil.copytree(trained.path, name)
        info = json.loads(Path(name, "run.json").read_text())
        info["data"]["classes"] = [str(i) for i in range(classes)]
        Path(name, "run.json").write_text(json.dumps(info))
        evaluation = json.loads(Path(name, "evaluation.json").read_text())
        evaluation["top5_error"] = {"value": 0.2, "low": 0.1, "high": 0.3}
        Path(name, "evaluation.json").write_text(json.dumps(evaluation))
    assert "chart depth" not in explain(["ten"]).read_text(encoding="utf-8")
    text = explain(["ten", "a thousand"]).read_text(encoding="utf-8")
    assert "reslab chart depth &#39;a thousand&#39;</code>" in text


def test_runs_and_studies_are_collected_from_folders(trained: Run, apart: None) -> None:
    """Nested folders are searched, too. The runs of a study are not listed separately."""
    shutil.copytree(trained.path, "runs/deeper/one")
    study = Study.begin("studies/d", "degradation", {"depths": [8]}, "torch")
    shutil.copytree(trained.path, "studies/d/runs/plain8-seed0")
    collected = collect()
    assert [run.path for run in collected.runs] == [Path("runs/deeper/one")]
    assert collected.of("degradation") == ()  # it is not done
    study.mark_done()
    assert [s.path for s in collect().of("degradation")] == [Path("studies/d")]
    assert [run.path for run in collect(["studies/d/runs"]).runs] == [
        Path("studies/d/runs/plain8-seed0")
    ]


def test_a_damaged_run_is_left_out_and_named(trained: Run, apart: None) -> None:
    shutil.copytree(trained.path, "runs/one")
    Path("runs/one/run.json").write_text("{")
    collected = collect()
    assert collected.runs == ()
    assert "run.json is damaged" in collected.unread[0]
    assert "run.json is damaged" in explain().read_text(encoding="utf-8")
    with pytest.raises(UserError, match="does not exist"):
        collect(["nowhere"])


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("evaluation.json", lambda content: content.update(top1_error={})),
        ("evaluation.json", lambda content: content.update(per_class=[{}])),
        ("evaluation.json", lambda content: content.update(confusion=[[1]])),
        ("run.json", lambda content: content["recipe"].update(epochs="many")),
    ],
)
def test_a_run_that_cannot_be_shown_does_not_hide_others(
    file: str, change: Callable[[dict[str, Any]], None], trained: Run, apart: None
) -> None:
    for name in ("one", "two"):
        shutil.copytree(trained.path, f"runs/{name}")
    content = json.loads(Path("runs/one", file).read_text())
    change(content)
    Path("runs/one", file).write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"runs/one(/\w+\.json)? is damaged: ."):
        report.write([Run.open("runs/one")], "report.html")
    text = explain().read_text(encoding="utf-8")
    assert re.search(r"Left out of this page: runs/one(/\w+\.json)? is damaged", text)
    assert "1 run of your own" in text


def test_an_unfinished_run_is_left_out_and_named(trained: Run, apart: None) -> None:
    shutil.copytree(trained.path, "runs/one")
    Run.open("runs/one").save(status="running")
    Study.begin("studies/d", "degradation", {"depths": [8]}, "torch").unlock()
    text = explain().read_text(encoding="utf-8")
    assert "Left out of this page: runs/one is not finished: its status is" in text
    assert "Left out of this page: studies/d is not finished: its status is" in text


def test_several_studies_of_a_kind_have_different_headings(apart: None) -> None:
    results = Path(__file__).parents[2] / "docs" / "results"
    (source,) = results.glob("lesions-*")
    (other,) = results.glob("responses-*")
    shutil.copytree(source, "first")
    shutil.copytree(source, "second")
    shutil.copytree(other, "alone")
    text = explain([Path()]).read_text(encoding="utf-8")
    for name in ("first", "second"):
        assert f">Without one unit ({name})</h3>" in text
    assert ">Layer responses</h3>" in text


def test_the_command_prints_the_runs_that_it_used(
    trained: Run, apart: None, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["explain", str(trained.path), "--out", "page.html", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"page": "page.html", "runs": [str(trained.path)], "studies": []}
    assert headings(Path("page.html")) == DECK


def test_published_flops_agree_with_the_counts() -> None:
    """Within 4 %: the paper has two digits, truncated, and counts slightly differently."""
    for name in TABLE_1:
        net = zoo.network(name)
        adds = summary.counts(net).multiply_adds
        assert adds == pytest.approx(float(published.FLOPS[summary.depth(net)]), rel=0.04)


def test_a_study_continues_only_with_the_same_settings(tmp_path: Path) -> None:
    path = tmp_path / "study"
    study = Study.begin(path, "landscape", {"grid": 5, "runs": ("a",)}, "torch")
    study.save(seconds=1.5)
    again = Study.begin(path, "landscape", {"grid": 5, "runs": ("a",)}, "torch")
    assert again.info["seconds"] == 1.5
    assert again.info["started"] == study.info["started"]
    with pytest.raises(UserError, match="grid 5, not 7"):
        Study.begin(path, "landscape", {"grid": 7, "runs": ("a",)}, "torch")
    with pytest.raises(UserError, match="a study of landscape"):
        Study.begin(path, "lesions", {}, "torch")
    with pytest.raises(UserError, match="is not a study"):
        Study.begin(tmp_path, "lesions", {}, "torch")
    (path / "study.json").write_text("[]")
    with pytest.raises(UserError, match="not written by this version"):
        Study.open(path)
