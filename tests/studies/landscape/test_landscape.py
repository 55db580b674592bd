"""`reslab landscape` end to end: its files, continuing after a kill, and its errors."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import reslab
from reslab.core.errors import UserError
from reslab.core.interrupts import Interrupted
from reslab.core.progress import Watch
from reslab.evaluation import recorded_data
from reslab.evaluation.scoring import score
from reslab.models.build import create, variables
from reslab.runs.run import Run
from reslab.studies.folder import Study
from reslab.studies.landscape import page as showing
from reslab.studies.landscape import results
from reslab.studies.landscape.directions import filter_normalised
from reslab.studies.landscape.evaluator import Evaluator
from reslab.studies.landscape.hessian import Hessian
from reslab.studies.landscape.lanczos import ends
from reslab.studies.landscape.measure import landscape
from reslab.studies.landscape.point_log import Points, outwards
from reslab.studies.landscape.trajectory import Passage
from reslab.studies.trained import Images, load_run, normalization_of, weights
from tests.helpers import tiny


@pytest.fixture(scope="module")
def kept(thirds: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of four epochs with all checkpoints."""
    out = tmp_path_factory.mktemp("runs") / "kept"
    return reslab.train(tiny.NETWORK, thirds, epochs=4, batch=16, out=out, keep_checkpoints=True)


@pytest.fixture(scope="module")
def study(trained: Run, kept: Run, tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("studies") / "two"
    return landscape(
        [trained, kept], grid=5, images=60, seeds=2, curvature=3, curvature_images=8, out=out
    )


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# What is measured --------------------------------------------------------------------------------


def test_the_centre_is_the_loss_of_the_model_on_these_images(study: Study, trained: Run) -> None:
    from reslab.core.rng import Stream

    data = recorded_data.reload(trained)
    n = len(data.train)
    drawn = data.train.take(np.sort(Stream(0, "analysis", "train").permutation(n)[:60]))
    model = create(trained.network)
    own = variables(model)
    for name, array in weights(trained).items():
        own[name].assign(array)
    expected = score(model, drawn, normalization_of(trained), 20)
    for s in results.surfaces(study)[:2]:
        assert s.middle == pytest.approx(expected.loss, rel=1e-6)
        assert s.error[2, 2] == expected.error


def test_each_number_belongs_to_its_run_point_and_policy(
    trained: Run, kept: Run, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"images": 40, "bn": "recompute", "curvature": 3, "curvature_images": 8}
    study = landscape([trained, kept], grid=3, out=tmp_path / "s", **how)
    found = zip(results.surfaces(study), results.curvatures(study), strict=True)
    for run, (surface, curvature) in zip((trained, kept), found, strict=True):
        its = load_run(run, 40)
        around = Evaluator(its, "recompute")
        around.along(*(filter_normalised(around.start, 0, which) for which in (0, 1)))
        assert surface.loss[0, 2] == pytest.approx(around.at(-1, 1).loss, rel=1e-4)
        rows = np.linspace(0, 39, 8).round().astype(int)
        few = Images(its.images.x[rows], its.images.labels[rows], "few")
        hessian = Hessian(replace(its, images=few))  # at the current weights: (-1, 1)
        wanted = ends(hessian.__matmul__, hessian.size)
        assert curvature.largest[0, 2] == pytest.approx(wanted.largest, rel=1e-3)


def test_two_runs_share_grid_scale_images_and_page(study: Study) -> None:
    found = results.surfaces(study)
    assert [(s.name, s.seed) for s in found] == [
        (n, k) for n in ("trained", "kept") for k in (0, 1)
    ]
    assert all(np.isfinite(s.loss).all() for s in found)
    assert not np.allclose(found[0].loss, found[1].loss)
    (section,) = showing.sections(study)
    contours = [c.figure["data"][0] for c, _ in section.charts if c.id.startswith("contour")]
    assert len(contours) == 2
    assert contours[0]["zmin"] == contours[1]["zmin"]
    assert contours[0]["zmax"] == contours[1]["zmax"]
    # rows are b, columns a
    assert contours[0]["z"][3][1] == pytest.approx(np.log10(found[0].loss[1, 3]), rel=1e-3)
    said = " ".join(section.paragraphs)
    for words in (
        "60 of 173 train images",
        "seeds 0 to 1",
        "5 x 5",
        "from -1 to 1",
        "uses the running statistics",
    ):
        assert words in said
    page = (study.path / "page.html").read_text()
    assert "Curvature" in page
    assert study.info["status"] == "done"


def test_pictures_are_written_as_svg_and_png(study: Study) -> None:
    for stem in ("contour", "surface", "curvature"):
        assert (study.path / f"{stem}.svg").read_text().count("<path") > 10
        with Image.open(study.path / f"{stem}.png") as image:
            assert image.convert("L").getextrema()[0] < 100  # something is drawn


def test_hdf5_vtk_and_ply_hold_the_surface(study: Study) -> None:
    s = results.surfaces(study)[0]
    with h5py.File(study.path / "landscape.h5") as file:
        np.testing.assert_array_equal(file["surface/0/seed-0/loss"], s.loss)
        assert file["curvature/1/ratio"].shape == (3, 3)
        assert file["surface/0/seed-0"].attrs["name"] == "trained"
    vtk = (study.path / "surface-0-seed-0.vtk").read_text().split("\n")
    points = np.array([line.split() for line in vtk[6:31]], float)
    losses = np.array(vtk[34:59], float)
    where = np.flatnonzero((points[:, 0] == s.a[1]) & (points[:, 1] == s.a[3]))
    assert losses[where] == pytest.approx(s.loss[1, 3])
    assert points[where, 2] == pytest.approx(np.log10(s.loss[1, 3]))
    ply = (study.path / "surface-0-seed-0.ply").read_text().split("\n")
    start = ply.index("end_header") + 1
    vertices = np.array([line.split() for line in ply[start : start + 25]], float)
    faces = np.array([line.split() for line in ply[start + 25 : -1]], int)
    assert faces.shape == (32, 4)
    x, y = vertices[faces[:, 1:], 0], vertices[faces[:, 1:], 1]
    areas = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    assert np.abs(areas).sum() / 2 == pytest.approx(4)  # they cover the square, once


def test_a_line_of_directions(trained: Run, tmp_path: Path) -> None:
    study = landscape([trained], dim=1, grid=7, seeds=2, reach=0.5, images=40, out=tmp_path / "s")
    found = results.surfaces(study)
    assert [s.loss.shape for s in found] == [(7,), (7,)]
    np.testing.assert_allclose(found[0].a, np.linspace(-0.5, 0.5, 7))
    assert found[0].middle == found[1].middle
    assert (study.path / "lines.png").exists()
    assert "lines-loss" in (study.path / "page.html").read_text()


def test_a_trajectory_on_its_plane(kept: Run, tmp_path: Path) -> None:
    study = landscape([kept], grid=5, images=40, trajectory=True, out=tmp_path / "s")
    (t,) = results.trajectories(study)
    assert list(t.names) == [f"epoch-000{n}" for n in range(5)]
    assert 0 < t.share[1] <= t.share[0] <= 1
    assert 0.5 < sum(t.share) <= 1 + 1e-9
    np.testing.assert_allclose(t.at[-1], 0, atol=1e-6)
    assert t.loss[-1] == pytest.approx(t.on_plane[-1], rel=1e-5)
    assert t.a[0] < t.at[:, 0].min()
    assert t.at[:, 0].max() < t.a[-1]
    assert np.isfinite(t.surface).all()
    with Image.open(study.path / "trajectory-0.gif") as film:
        assert film.n_frames >= len(t.names)
    first = Evaluator(load_run(kept, 40, checkpoint="epoch-0000")).here()
    assert t.loss[0] == pytest.approx(first.loss, rel=1e-5)
    around = Evaluator(load_run(kept, 40))
    plane = Passage(kept, lambda: around).evaluator
    assert t.surface[0, -1] == pytest.approx(plane.at(t.a[0], t.b[-1]).loss, rel=1e-5)


def test_curvature_and_trajectory_are_added_to_a_surface(kept: Run, tmp_path: Path) -> None:
    out = tmp_path / "s"
    landscape([kept], grid=3, images=8, out=out)
    before = (out / "surface.jsonl").read_bytes()
    study = landscape([kept], grid=3, images=8, curvature=3, trajectory=True, out=out)
    assert (out / "surface.jsonl").read_bytes() == before
    (c,) = results.curvatures(study)
    assert (c.smallest < c.largest).all()
    assert c.images == 8
    again = landscape([kept], grid=3, images=8, out=out)
    page = (again.path / "page.html").read_text()
    assert "Curvature" in page
    assert "Stopped after" not in page


def test_eigenvalues_that_did_not_converge_are_counted(kept: Run, tmp_path: Path) -> None:
    study = landscape([kept], grid=3, images=8, curvature=3, out=tmp_path / "s")
    points = study.path / results.CURVATURE
    points.write_text(
        re.sub(r'"products": [\d.]+', '"products": 100.0', points.read_text(), count=1)
    )
    landscape([kept], grid=3, images=8, curvature=3, out=study.path)
    said = f"Stopped after 100 products, before that residual: 1 of {kept.name}."
    assert said in (study.path / "page.html").read_text()


# Continuing --------------------------------------------------------------------------------------


def test_points_go_outwards_and_survive_an_incomplete_line(tmp_path: Path) -> None:
    places = list(outwards(5, 2))
    assert places[0] == (2, 2)
    assert len(set(places)) == 25
    radii = [(i - 2) ** 2 + (j - 2) ** 2 for i, j in places]
    assert radii == sorted(radii)
    points = Points(tmp_path / "p.jsonl")
    points.add((0, 1), loss=0.5)
    points.add((0, 2), loss=float("inf"))
    whole = points.path.read_bytes()
    points.path.write_bytes(whole + b'[[0, 3], {"lo')
    again = Points(points.path)
    assert again.values == {(0, 1): {"loss": 0.5}, (0, 2): {"loss": np.inf}}
    again.add((0, 3), loss=1.0)
    assert points.path.read_bytes() == whole + b'[[0, 3], {"loss": 1.0}]\n'
    points.path.write_bytes(b"nonsense\n" + whole)
    with pytest.raises(UserError, match=r"line 1 of .* is damaged"):
        Points(points.path)


def test_continuing_repeats_no_point_and_gives_the_same_result(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = landscape([trained], grid=5, images=30, out=tmp_path / "whole")
    cut = tmp_path / "cut"
    shutil.copytree(whole.path, cut)
    text = (cut / "surface.jsonl").read_bytes().splitlines(keepends=True)
    (cut / "surface.jsonl").write_bytes(b"".join(text[:10]) + text[10][:7])
    for name in ("page.html", "surface.png", "landscape.h5"):
        (cut / name).unlink()
    asked: list[Any] = []
    at = Evaluator.at
    monkeypatch.setattr(Evaluator, "at", lambda self, *s: asked.append(s) or at(self, *s))
    study = landscape([trained], grid=5, images=30, out=cut)
    assert len(asked) == 15
    assert lines(cut / "surface.jsonl") == lines(whole.path / "surface.jsonl")
    assert (cut / "page.html").exists()
    landscape([trained], grid=5, images=30, out=cut)
    assert len(asked) == 15
    np.testing.assert_array_equal(results.surfaces(study)[0].loss, results.surfaces(whole)[0].loss)


SCRIPT = (
    "import sys\n"
    "from reslab.studies.landscape.measure import landscape\n"
    "landscape([sys.argv[1]], grid=21, images=60, out=sys.argv[2])\n"
)


def test_killed_in_the_middle(trained: Run, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-c", SCRIPT, str(trained.path), str(out)]
    process = subprocess.Popen(command)
    end = time.monotonic() + 120
    while not (out / "surface.jsonl").exists() or len((out / "surface.jsonl").read_bytes()) < 2000:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    with pytest.raises(UserError, match="another process is writing to"):
        landscape([trained], grid=21, images=60, out=out)
    process.kill()
    process.wait(60)
    before = Points(out / "surface.jsonl").values
    assert 10 < len(before) < 21 * 21
    study = landscape([trained], grid=21, images=60, out=out)
    after = lines(out / "surface.jsonl")
    assert len(after) == len({tuple(key) for key, _ in after}) == 21 * 21
    assert {k: v for k, v in Points(out / "surface.jsonl").values.items() if k in before} == before
    assert study.info["status"] == "done"


def test_checkpoints_that_do_not_belong_to_the_plane_are_an_error(
    kept: Run, tmp_path: Path
) -> None:
    shutil.copytree(kept.path, tmp_path / "run")
    landscape([tmp_path / "run"], grid=3, images=8, trajectory=True, out=tmp_path / "s")
    (tmp_path / "run" / "checkpoints" / "epoch-0002.safetensors").unlink()
    with pytest.raises(UserError, match="are not those of the plane"):
        landscape([tmp_path / "run"], grid=3, images=8, trajectory=True, out=tmp_path / "s")


def test_a_signal_in_python(trained: Run, tmp_path: Path) -> None:
    watch = Watch(step=lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted):
        landscape([trained], grid=5, images=30, out=tmp_path / "s", watch=watch)
    assert len(lines(tmp_path / "s" / "surface.jsonl")) == 1


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"grid": 4}, "grid is 4: choose an odd number"),
        ({"dim": 3}, "dim is 3: choose 1 or 2"),
        ({"reach": 0}, "range is 0"),
        ({"reach": float("nan")}, "range is nan"),
        ({"seeds": 0}, "at least one"),
        ({"images": 0}, "at least one"),
        ({"bn": "kept"}, "did you mean 'keep'"),
        ({"curvature": 2}, "curvature grid is 2"),
        ({"trajectory": True}, "--keep-checkpoints"),
    ],
)
def test_wrong_settings(trained: Run, tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        landscape([trained], **{"out": tmp_path / "s", **wrong})
    assert not (tmp_path / "s").exists()


def test_wrong_runs(trained: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run"):
        landscape([tmp_path])
    with pytest.raises(UserError, match="twice"):
        landscape([trained, trained.path])
    with pytest.raises(UserError, match="at least one run"):
        landscape([])
    landscape([trained], grid=3, images=20, out=tmp_path / "s")
    with pytest.raises(UserError, match="was started with grid 3, not 5"):
        landscape([trained], grid=5, images=20, out=tmp_path / "s")


def test_a_number_that_is_missing_has_a_reason() -> None:
    """A point may be not measured yet, may have no finite loss, or may not be on the grid."""
    steps, losses = np.linspace(-1, 1, 9), np.full((9, 9), 2.0)
    info = {"subjects": {"0": {"classes": 3}}}
    study: Any = SimpleNamespace(info=info, settings={})

    def texts(loss: np.ndarray, a: np.ndarray = steps) -> dict[str, str]:
        surface = results.Surface(0, "net", 0, a, loss, np.full(loss.shape, 0.25))
        return showing.sharpness_texts(study, [surface])[0]

    shown = texts(losses)
    assert (shown["loss"], shown["error"]) == ("2 nats", "25.0 %")
    assert shown["highest loss within 0.5"] == "2 nats"
    assert texts(losses[3:6, 3:6], np.array([-1.0, 0, 1]))["highest loss within 0.5"] == (
        "no number: the grid is too coarse"
    )
    infinite, unmeasured = losses.copy(), losses.copy()
    infinite[4, 5], unmeasured[4, 3] = np.inf, np.nan
    assert texts(infinite)["highest loss within 0.25"] == "not finite"
    assert texts(unmeasured)["highest loss within 0.25"] == "not measured yet"
    assert texts(unmeasured)["loss"] == "2 nats"
    unmeasured[4, 4] = np.nan
    assert texts(unmeasured)["loss"] == "not measured yet"


# The command -------------------------------------------------------------------------------------


def test_the_command(trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reslab.cli.landscape import landscape as command

    monkeypatch.chdir(tmp_path)
    words = [str(trained.path), "--grid", "3", "--images", "20"]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    place = Path("studies/landscape-trained-3x3-images-20/page.html")
    summary, last = done.stdout.splitlines()
    assert last == f"page: {place}"
    numbers = r"trained, seed 0; loss: [\d.]+ nats, error: [\d.]+ %, highest loss within 0.25: "
    assert re.match(numbers + "no number: the grid is too coarse, ", summary)
    assert "no number: the grid is too coarse" in place.read_text(encoding="utf-8")
    assert "20 of 173 train images, drawn with seed 0" in done.stderr
    made = json.loads(CliRunner().invoke(command, [*words, "--json"]).stdout)
    assert made["sharpness"][0]["run"] == "trained"
    more = [*words, "--curvature", "--curvature-grid", "3", "--curvature-images", "8"]
    assert CliRunner().invoke(command, more, catch_exceptions=False).exit_code == 0
    assert len(lines(place.parent / "curvature.jsonl")) == 9
    for own in (["--images", "some"], ["--curvature-grid", "3"], ["--curvature-images", "8"]):
        wrong = CliRunner().invoke(command, [str(trained.path), *own])
        assert isinstance(wrong.exception, UserError)
    assert "goes with --curvature" in str(wrong.exception)


def test_showing_a_study_needs_no_keras(study: Study) -> None:
    script = (
        "import sys\n"
        "from reslab.studies.registry import sections\n"
        "from reslab.studies.folder import Study\n"
        "assert sections(Study.open(sys.argv[1]))\n"
        "print(*[name for name in ('keras', 'torch', 'matplotlib') if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", script, str(study.path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
