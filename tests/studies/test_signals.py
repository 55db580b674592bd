"""Gradients and activations by layer: against numpy, against differences, and end to end."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import reslab
from reslab import zoo
from reslab.cli import signals as cli
from reslab.core.errors import UserError
from reslab.core.interrupts import Interrupted
from reslab.core.progress import Watch
from reslab.models import build
from reslab.plots import figure as lines
from reslab.plots import figure_matplotlib, figure_plotly
from reslab.runs import run
from reslab.runs.papers import recipe
from reslab.runs.recipe import change
from reslab.spec import BN, Conv, Dense, Dropout, GlobalAvgPool, Network, ReLU, walk
from reslab.spec.transforms import plain, transform, without_bn
from reslab.studies import registry, units
from reslab.studies.folder import Study
from reslab.studies.signals import (
    measure_twins,
    panels,
)
from reslab.studies.signals import (
    norms as levels,
)
from reslab.studies.signals import (
    page as show_signals,
)
from reslab.studies.signals.gradients import Passed, passed
from reslab.studies.signals.measure_runs import signals_of
from reslab.studies.signals.measure_twins import signals
from tests.helpers import tiny
from tests.helpers.reference import forward, randomise

# without dropout, so that two passes are alike
NETWORK = transform(tiny.NETWORK, lambda part: () if isinstance(part, Dropout) else part)


def batch(n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(1).normal(size=(n, 8, 8, 1)).astype("float32")
    return x, (np.arange(n) % 3).astype("int32")


def entropy(z: np.ndarray, labels: np.ndarray) -> float:
    z = z.astype("float64")
    return float(np.mean(np.log(np.exp(z).sum(-1)) - z[np.arange(len(z)), labels]))


def names(net: Network) -> list[str]:
    return [place.path for place in units.kernels(net)]


@pytest.mark.core
def test_outputs_and_kernel_gradients_are_those_of_numpy() -> None:
    """Outputs against the numpy forward; gradients against its central differences, in float64."""
    model = build.create(NETWORK)
    values = randomise(model)
    x, labels = batch()
    seen = passed(model, names(NETWORK), x, labels, training=False)
    layers = walk(NETWORK)

    def loss(changed: dict[str, np.ndarray]) -> float:
        return entropy(forward(layers, {**values, **changed}, x), labels)

    assert seen.loss == pytest.approx(loss({}), rel=1e-5)
    rng = np.random.default_rng(0)
    for i, name in enumerate(names(NETWORK)):
        end = next(n for n, layer in enumerate(layers) if layer.path == name)
        expected = forward(layers[: end + 1], values, x)
        np.testing.assert_allclose(seen.outputs[i], expected, rtol=1e-3, atol=1e-4)
        kernel = values[f"{name}/kernel"].astype("float64")
        direction = rng.normal(size=kernel.shape)
        ends = [loss({f"{name}/kernel": kernel + s * 1e-5 * direction}) for s in (1, -1)]
        slope = (seen.kernel_gradients[i] * direction).sum()
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=2e-3, abs=1e-5), name


@pytest.mark.core
def test_gradients_of_outputs_give_those_of_kernels_and_of_logits() -> None:
    """In training: the logits' gradient is (softmax - one hot) / n; a full connection's kernel has
    x^T times it, and a 1x1 convolution's the same over all positions."""
    net = Network(
        "one",
        {"conv1": (Conv(4, 1), BN(), ReLU, Conv(5, 1)), "head": (GlobalAvgPool, Dense(3))},
        (8, 8, 1),
    )
    model = build.create(net)
    randomise(model)
    x, labels = batch()
    first, second, head = names(net)
    seen = passed(model, [first, second, head], x, labels)
    soft = np.exp(seen.logits) / np.exp(seen.logits).sum(-1, keepdims=True)
    slope = (soft - np.eye(3)[labels]) / len(x)
    np.testing.assert_allclose(seen.output_gradients[2], slope, atol=1e-6)
    pooled = seen.outputs[1].mean((1, 2))
    np.testing.assert_allclose(seen.kernel_gradients[2], pooled.T @ slope, atol=1e-5)
    by_hand = np.einsum("nhwi,nhwo->io", x, seen.output_gradients[0])
    np.testing.assert_allclose(seen.kernel_gradients[0][0, 0], by_hand, rtol=1e-3, atol=1e-6)
    # batch norm in training: the gradient of its input sums to nothing over the batch
    np.testing.assert_allclose(seen.output_gradients[0].sum((0, 1, 2)), 0, atol=1e-5)


@pytest.mark.core
def test_a_model_is_left_as_it_was() -> None:
    model = build.create(tiny.NETWORK)
    values = randomise(model)
    x, labels = batch()
    before, calls = model.predict(x, verbose=0), [set(vars(layer)) for layer in model.layers]
    fast = "call" in vars(model)
    passed(model, names(tiny.NETWORK), x, labels)
    with pytest.raises(ValueError, match="o such layer"):
        passed(model, ["nothing"], x, labels)
    assert [set(vars(layer)) for layer in model.layers] == calls
    assert ("call" in vars(model)) is fast
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
    for name, variable in build.variables(model).items():
        if name in values:
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), values[name])


def test_levels_are_norms_and_root_mean_squares() -> None:
    """Of n images: the gradient of an image's own loss is n times that of the mean."""
    kernel, slope = np.array([[3.0, 4.0]]), np.array([[0.6, 0.8]])
    y = np.array([[1.0, 3.0], [5.0, 7.0]])
    seen = Passed(0.5, y, [y], [np.full((2, 2), 0.25)], [kernel], [slope])
    found = levels.levels(seen)
    assert found["kernel_gradient"] == [1.0]
    assert found["relative_gradient"] == [pytest.approx(0.2)]
    assert found["image_gradient"] == [pytest.approx(math.sqrt(2) * 0.5)]
    assert found["output_rms"] == [pytest.approx(math.sqrt(21), rel=1e-6)]
    assert found["output_std"] == [pytest.approx(math.sqrt(5), rel=1e-6)]
    assert found["not_finite"] == {}


def test_what_is_no_number_is_null_with_its_reason_and_comes_back() -> None:
    values, lost = levels.encode([1.5, math.inf, math.nan, 0.0])
    assert json.loads(json.dumps(values)) == [1.5, None, None, 0.0]
    moment = {"output_rms": values, "not_finite": {"output_rms": lost}}
    np.testing.assert_array_equal(levels.decode(moment, "output_rms"), [1.5, np.inf, np.nan, 0])
    blown = Passed(math.nan, np.ones((2, 2)), [np.full((2, 2), np.inf)], *[[np.ones((2, 2))]] * 3)
    found = levels.levels(blown)
    assert found["loss"] is None
    assert found["output_rms"] == [None]
    assert found["not_finite"] == {"output_rms": {"0": "inf"}, "output_std": {"0": "nan"}}


def test_common_layers_of_twins_have_one_number() -> None:
    net = zoo.network("resnet50")
    ours, theirs = units.kernels(net), units.kernels(plain(net))
    main = [place for place in ours if not place.shortcut]
    assert len(ours) - len(main) == 4  # one projection a stage
    assert [p.number for p in main] == [p.number for p in theirs] == list(range(1, 51))


def test_moments_are_spread_in_their_logarithm() -> None:
    assert measure_twins.moments(0) == [0]
    assert measure_twins.moments(1) == [0, 1]
    assert measure_twins.moments(100) == [0, 1, 2, 5, 10, 22, 46, 100]
    for steps in range(2, 300, 7):
        found = measure_twins.moments(steps)
        assert found[0] == 0
        assert found[-1] == steps
        assert found == sorted(set(found))
        assert len(found) <= measure_twins.MOST_MOMENTS


@pytest.mark.parametrize("name", ["tiny", "resnet20", "resnet18", "characters"])
def test_the_four_twins_have_the_same_kernels_at_the_start(name: str) -> None:
    """So that what differs comes of shortcuts and batch norm alone: projections too, which plain
    nets do not have (ResNet-18 has option B), and the first is as `create` makes it."""
    net = tiny.NETWORK if name == "tiny" else zoo.network(name)
    four = measure_twins.twins(net)
    assert [t.label for t in four] == [
        f"{kind}, {word} BN" for word in ("with", "without") for kind in ("residual", "plain")
    ]
    kernels = []
    for twin in four:
        values = build.variables(measure_twins.started(twin.network, net, 3))
        kernels.append(
            {
                (place.shortcut, place.number): keras.ops.convert_to_numpy(
                    values[f"{place.path}/kernel"]
                )
                for place in units.kernels(twin.network)
            }
        )
    keras.utils.set_random_seed(3)
    own = build.variables(build.create(net))
    for place in units.kernels(net):
        made = kernels[0][place.shortcut, place.number]
        np.testing.assert_array_equal(made, own[f"{place.path}/kernel"])
    for twin, other in zip(four[1:], kernels[1:], strict=True):
        plain_one = twin.kind == "plain"
        assert set(other) == {k for k in kernels[0] if not (plain_one and k[0])}
        for which, kernel in other.items():
            np.testing.assert_array_equal(kernel, kernels[0][which])
    assert measure_twins.twins(without_bn(tiny.NETWORK))[0].bn
    assert len(measure_twins.twins(without_bn(tiny.NETWORK))) == 2


def test_what_cannot_be_drawn_stands_at_the_edge(tmp_path: Path) -> None:
    """A point is lost where any seed has no number there, or zero on a logarithmic axis."""
    values = np.array([[1.0, 0.0, 3.0, np.inf, 2.0], [3.0, 1.0, np.nan, 1.0, 4.0]])
    line = lines.over_seeds("net", 0, [1, 2, 3, 4, 5], values)
    assert line.y == [2.0, None, None, None, 3.0]
    assert line.low == [1.0, None, None, None, 2.0]
    assert line.gaps == [(2, "zero"), (3, "nan"), (4, "inf")]
    assert lines.over_seeds("net", 0, [1, 2], values[:, :2], log=False).y == [2.0, 0.5]
    dead = lines.over_seeds("dead", 1, [1, 2], np.zeros((1, 2)))
    panel = lines.Panel("a", lines.Axis("layer"), lines.Axis("gradient", log=True), [line, dead])
    assert panel.gaps == ["infinite", "not a number", "zero"]
    traces = figure_plotly.chart(panel, "id").figure["data"]
    edges = {trace["marker"]["symbol"] for trace in traces if trace["mode"] == "markers"}
    assert edges == {"triangle-up", "triangle-down", "x-thin-open"}
    nothing = replace(panel, series=[dead])
    figure = lines.Figure("title", "note", [[panel, nothing], [nothing]])
    svg, png = figure_matplotlib.render(figure, tmp_path / "picture")
    assert "\u25bc zero" in svg.read_text(encoding="utf-8")
    assert png.stat().st_size > 1000
    assert figure_matplotlib.render(figure, tmp_path / "again")[0].read_bytes() == svg.read_bytes()


# End to end ---------------------------------------------------------------------------------------

SHORT = change(recipe("quick"), {"epochs": 40, "batch": 32})


def test_a_study_of_twins_is_interrupted_and_goes_on(thirds: Path, tmp_path: Path) -> None:
    """What one run measures, and what an interrupted and resumed one does, are the same numbers."""

    def measure(out: Path, watch: Watch | None = None) -> Study:
        how: Any = {"recipe": SHORT, "seeds": 1, "images": 16, "steps": 6}
        return signals(NETWORK, thirds, out=out, watch=watch, **how)

    whole = measure(tmp_path / "whole")
    calls = 0

    def stop(done: float, words: str) -> None:
        nonlocal calls
        calls += 1
        if calls == 10:  # in the middle of the second net's training
            raise Interrupted

    with pytest.raises(Interrupted):
        measure(tmp_path / "again", Watch(step=stop))
    half = Study.open(tmp_path / "again")
    kept = half.read("signals.json")["nets"]
    assert half.info["status"] == "running"
    assert 1 <= len(kept) < 4
    registry.sections(half)  # a page may gather it
    said: list[str] = []
    again = measure(tmp_path / "again", Watch(say=said.append))
    assert again.info["status"] == "done"
    assert not any(line.startswith("residual, with BN") for line in said)  # that was there
    assert again.read("signals.json") == whole.read("signals.json")
    assert not (again.path / "training.safetensors").exists()
    calls = 6  # four more are in the first net's training
    with pytest.raises(Interrupted):
        measure(tmp_path / "lost", Watch(step=stop))
    assert (tmp_path / "lost" / "training.safetensors").exists()
    (tmp_path / "lost" / "signals.json").unlink()  # as the word on a damaged one says
    assert measure(tmp_path / "lost").read("signals.json") == whole.read("signals.json")
    calls = 0
    with pytest.raises(Interrupted):
        measure(tmp_path / "bad", Watch(step=stop))
    (tmp_path / "bad" / "training.safetensors").write_bytes(b"torn")
    said.clear()
    found = measure(tmp_path / "bad", Watch(say=said.append))
    assert found.read("signals.json") == whole.read("signals.json")
    assert any("is trained from its beginning" in line for line in said)
    assert {p.name for p in again.path.iterdir()} >= {"page.html", "gradients.png", "gradients.svg"}
    for net in again.read("signals.json")["nets"]:
        assert [moment["at"] for moment in net["moments"]] == measure_twins.moments(6)
    with pytest.raises(UserError, match="images 16, not 17"):
        signals(NETWORK, thirds, recipe=SHORT, seeds=1, images=17, steps=6, out=again.path)


def test_the_page_names_what_was_measured_and_its_factors_are_of_its_ends(
    thirds: Path, tmp_path: Path
) -> None:
    study = signals(
        NETWORK, thirds, recipe=SHORT, seeds=2, images=16, steps=2, out=tmp_path / "study"
    )
    back, _, course = registry.sections(study)
    assert back.words[0].startswith(f"{NETWORK.name} and its twins on {study.asked['data']}, on")
    assert back.measured == ("reslab.studies in Python, as study/study.json has it",)
    assert any("They say it of nets that are trained" in words for words in back.words)
    assert not any("They say it" in words for words in course.words)
    ends = r"from (\S+) in the last convolution to (\S+) in the first, (\S+) times (as|smaller)"
    said = [re.search(ends, words) for words in (*back.words, *course.words)]
    told = [match.groups() for match in said if match]
    assert len(told) == 8
    for last, first, times, word in told:
        ratio = float(first.replace(",", "")) / float(last.replace(",", ""))
        assert float(times) == pytest.approx(ratio if word == "as" else 1 / ratio, rel=0.02)
    net = next(net for net in panels.read(study) if net.label == "plain, with BN")
    norms = np.median(net.values(2, "image_gradient")[:, net.main], 0)
    assert f"{levels.spelt(norms[0] / norms[-1])} (step 2)." in course.words[-1]
    spread = levels.spelt(norms.max() / norms.min())
    assert any(f"all layers' is {spread} times the smallest: it " in w for w in course.words)
    assert len(course.charts) == 3 * 4


@pytest.mark.parametrize(
    ("norms", "says"),
    [
        ([1e-3, 1.0, 1.0], "it vanishes with depth"),
        ([1e3, 1.0, 1.0], "it does not vanish, nor is it of one size"),
        ([1.0, 1e-3, 1.0], "it does not vanish, nor is it of one size"),  # not the ends alone
        ([1.0, 0.2, 1.0], "it is of one size"),
        ([1.0, 0.0, 1.0], "some gradients are zero or no number, which is not healthy"),
    ],
)
def test_what_is_said_of_healthy_gradients(norms: list[float], says: str) -> None:
    layers = tuple({"kind": "conv", "shortcut": False} for _ in norms)
    entry = {"seed": 0, "moments": [{"at": 0, "image_gradient": norms, "not_finite": {}}]}
    net = panels.Net("plain, with BN", "plain", True, layers, (entry,))
    assert f"{says}." in show_signals._verdict([net], 0)[0]


@pytest.mark.core
def test_its_steps_are_those_of_a_training(thirds: Path, tmp_path: Path) -> None:
    """After an epoch, the net that `signals` trains has the gradients of the run's checkpoint."""
    how = change(recipe("quick"), {"epochs": 2, "batch": 32})
    ran = reslab.train(NETWORK, thirds, how, out=tmp_path / "run", keep_checkpoints=True)
    steps = ran.log("epoch")[0]["step"]
    assert steps > 1
    own = signals(NETWORK, thirds, recipe=how, seeds=1, images=16, steps=steps, out=tmp_path / "a")
    theirs = signals_of([ran], images=16, out=tmp_path / "b")
    first = own.read("signals.json")["nets"][0]
    run_ = theirs.read("signals.json")["nets"][0]
    assert [place["path"] for place in first["layers"]] == [p["path"] for p in run_["layers"]]
    for one, other in ((0, 0), (steps, 1)):
        mine = next(m for m in first["moments"] if m["at"] == one)
        its = next(m for m in run_["moments"] if m["at"] == other)
        for name in levels.QUANTITIES:
            np.testing.assert_allclose(mine[name], its[name], rtol=1e-6, err_msg=name)


def test_a_net_that_blows_up_is_measured_and_said(thirds: Path, tmp_path: Path) -> None:
    wild = change(SHORT, {"schedule": "constant", "rate": 1e30})
    study = signals(
        NETWORK, thirds, recipe=wild, seeds=1, images=16, steps=4, out=tmp_path / "wild"
    )
    stopped = [net for net in study.read("signals.json")["nets"] if net["stopped"]]
    assert stopped
    page = (study.path / "page.html").read_text(encoding="utf-8")
    assert "the training ended early" in page
    lost = [m["not_finite"] for net in study.read("signals.json")["nets"] for m in net["moments"]]
    assert any(lost)
    assert "NaN" not in (study.path / "signals.json").read_text(encoding="utf-8")


def test_trained_runs_at_their_epochs(thirds: Path, tmp_path: Path, trained: run.Run) -> None:
    net = replace(NETWORK, name="kept")
    kept = reslab.train(
        net, thirds, epochs=1, batch=32, out=tmp_path / "kept", keep_checkpoints=True
    )
    study = signals_of([kept, trained], images=16, out=tmp_path / "study")
    first, second = study.read("signals.json")["nets"]
    assert [m["at"] for m in first["moments"]] == [0, 1]
    assert [m["at"] for m in second["moments"]] == [trained.info["chosen_epoch"]]
    assert first["kind"] == "residual"
    titles = [section.title for section in registry.sections(study)]
    assert titles == [
        "After training: the way back",
        "After training: the way there",
        "In training",
    ]
    before = (study.path / "signals.json").stat().st_mtime_ns
    signals_of([kept, trained], images=16, out=tmp_path / "study")
    assert (study.path / "signals.json").stat().st_mtime_ns == before


# The command line ---------------------------------------------------------------------------------


def answer(command: Any, *words: str) -> str:
    with pytest.raises(UserError) as caught:
        command.main(list(words), standalone_mode=False)
    return str(caught.value)


def test_wrong_words_are_one_line(apart: None, trained: run.Run) -> None:
    path = str(trained.path)
    assert "did you mean 'resnet56'" in answer(cli.signals, "resnet57", "--data", "fashion-mnist")
    assert "add --data SOURCE" in answer(cli.signals, "resnet56")
    assert "is not a run" in answer(cli.signals, "nowhere")
    assert "trained already" in answer(cli.signals, path, "--steps", "3")
    assert "one network" in answer(cli.signals, "resnet20", "resnet56", "--data", "glyphs")
    assert "no residual units" in answer(cli.signals, "vgg16", "--data", "glyphs")
    assert "at least 1" in answer(cli.signals, "tiny", "--data", "glyphs", "--seeds", "0")
    Path("odd.toml").write_text('base = "quick"\naugment = ["sideways"]\n')
    odd = ("tiny", "--data", "glyphs", "--recipe", "odd.toml", "--out", "new")
    assert "no augmentation 'sideways'" in answer(cli.signals, *odd)
    assert not Path("new").exists()
    assert "no recipe" in answer(cli.signals, "tiny", "--data", "glyphs", "--recipe", "none")
    assert "at least 2" in answer(cli.signals, path, "--images", "1")


def test_the_command_says_where_the_page_is(
    apart: None, thirds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tiny", "--data", str(thirds), "--seeds", "1", "--images", "8", "--json"]
    cli.signals.main(words, standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert len(found["nets"]) == 4
    assert Path(found["study"], "page.html").exists()
    assert found["study"] == "studies/signals-tiny-thirds-1seeds-8images"
