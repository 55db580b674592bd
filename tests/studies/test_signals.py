"""Gradients and activations by layer: against NumPy and finite differences, and end to end."""

from __future__ import annotations

import json
import math
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
from reslab.plots import figure as figures
from reslab.plots import figure_matplotlib, figure_plotly
from reslab.runs import run
from reslab.runs.papers import recipe
from reslab.runs.recipe import change
from reslab.spec import BN, Conv, Dense, Dropout, GlobalAvgPool, Network, ReLU, walk
from reslab.spec.transforms import plain, transform, without_bn
from reslab.studies import registry, units
from reslab.studies.folder import Study
from reslab.studies.signals import measure, norms, page, results, twins
from reslab.studies.signals.gradients import LayerSignals, forward_backward
from reslab.studies.signals.measure import measure_runs, measure_twins
from tests.helpers import tiny
from tests.helpers.reference import forward, randomise

# without dropout, so that two passes give the same numbers
NETWORK = transform(tiny.NETWORK, lambda part: () if isinstance(part, Dropout) else part)


def batch(n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(1).normal(size=(n, 8, 8, 1)).astype("float32")
    return x, (np.arange(n) % 3).astype("int32")


def entropy(z: np.ndarray, labels: np.ndarray) -> float:
    z = z.astype("float64")
    return float(np.mean(np.log(np.exp(z).sum(-1)) - z[np.arange(len(z)), labels]))


def names(net: Network) -> list[str]:
    return [layer.path for layer in units.kernel_layers(net)]


@pytest.mark.core
def test_outputs_and_kernel_gradients_match_numpy() -> None:
    """Compare outputs with a NumPy forward pass, and gradients with its central differences."""
    model = build.create(NETWORK)
    values = randomise(model)
    x, labels = batch()
    signals = forward_backward(model, names(NETWORK), x, labels, training=False)
    layers = walk(NETWORK)

    def loss(changed: dict[str, np.ndarray]) -> float:
        return entropy(forward(layers, {**values, **changed}, x), labels)

    assert signals.loss == pytest.approx(loss({}), rel=1e-5)
    rng = np.random.default_rng(0)
    for i, name in enumerate(names(NETWORK)):
        end = next(n for n, layer in enumerate(layers) if layer.path == name)
        expected = forward(layers[: end + 1], values, x)
        np.testing.assert_allclose(signals.outputs[i], expected, rtol=1e-3, atol=1e-4)
        kernel = values[f"{name}/kernel"].astype("float64")
        direction = rng.normal(size=kernel.shape)
        ends = [loss({f"{name}/kernel": kernel + s * 1e-5 * direction}) for s in (1, -1)]
        slope = (signals.kernel_gradients[i] * direction).sum()
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=2e-3, abs=1e-5), name


@pytest.mark.core
def test_output_gradients_agree_with_those_of_kernels_and_logits() -> None:
    """In training: the gradient of the logits is (softmax - one hot) / n, that of a dense kernel is
    x^T times it, and that of a 1x1 kernel is the same product over all positions."""
    net = Network(
        "one",
        {"conv1": (Conv(4, 1), BN(), ReLU, Conv(5, 1)), "head": (GlobalAvgPool, Dense(3))},
        (8, 8, 1),
    )
    model = build.create(net)
    randomise(model)
    x, labels = batch()
    first, second, head = names(net)
    signals = forward_backward(model, [first, second, head], x, labels)
    softmax = np.exp(signals.logits) / np.exp(signals.logits).sum(-1, keepdims=True)
    slope = (softmax - np.eye(3)[labels]) / len(x)
    np.testing.assert_allclose(signals.output_gradients[2], slope, atol=1e-6)
    pooled = signals.outputs[1].mean((1, 2))
    np.testing.assert_allclose(signals.kernel_gradients[2], pooled.T @ slope, atol=1e-5)
    by_hand = np.einsum("nhwi,nhwo->io", x, signals.output_gradients[0])
    np.testing.assert_allclose(signals.kernel_gradients[0][0, 0], by_hand, rtol=1e-3, atol=1e-6)
    # batch norm in training: the gradient of its input sums to zero over the batch
    np.testing.assert_allclose(signals.output_gradients[0].sum((0, 1, 2)), 0, atol=1e-5)


@pytest.mark.core
def test_the_model_does_not_change() -> None:
    model = build.create(tiny.NETWORK)
    values = randomise(model)
    x, labels = batch()
    before, calls = model.predict(x, verbose=0), [set(vars(layer)) for layer in model.layers]
    accelerated = "call" in vars(model)
    forward_backward(model, names(tiny.NETWORK), x, labels)
    with pytest.raises(ValueError, match="o such layer"):
        forward_backward(model, ["nothing"], x, labels)
    assert [set(vars(layer)) for layer in model.layers] == calls
    assert ("call" in vars(model)) is accelerated
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
    for name, variable in build.variables(model).items():
        if name in values:
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), values[name])


def test_quantities_are_norms_and_root_mean_squares() -> None:
    """The gradient of one image's loss is n times the gradient of the mean loss."""
    kernel, slope = np.array([[3.0, 4.0]]), np.array([[0.6, 0.8]])
    y = np.array([[1.0, 3.0], [5.0, 7.0]])
    signals = LayerSignals(0.5, y, [y], [np.full((2, 2), 0.25)], [kernel], [slope])
    values = norms.quantities(signals)
    assert values["kernel_gradient"] == [1.0]
    assert values["relative_gradient"] == [pytest.approx(0.2)]
    assert values["image_gradient"] == [pytest.approx(math.sqrt(2) * 0.5)]
    assert values["output_rms"] == [pytest.approx(math.sqrt(21), rel=1e-6)]
    assert values["output_std"] == [pytest.approx(math.sqrt(5), rel=1e-6)]
    assert values["not_finite"] == {}


def test_nan_and_infinity_are_null_with_a_reason_and_are_restored() -> None:
    values, lost = norms.encode([1.5, math.inf, math.nan, 0.0])
    assert json.loads(json.dumps(values)) == [1.5, None, None, 0.0]
    moment = {"output_rms": values, "not_finite": {"output_rms": lost}}
    np.testing.assert_array_equal(norms.decode(moment, "output_rms"), [1.5, np.inf, np.nan, 0])
    infinite = LayerSignals(
        math.nan, np.ones((2, 2)), [np.full((2, 2), np.inf)], *[[np.ones((2, 2))]] * 3
    )
    values = norms.quantities(infinite)
    assert values["loss"] is None
    assert values["output_rms"] == [None]
    assert values["not_finite"] == {"output_rms": {"0": "inf"}, "output_std": {"0": "nan"}}


def test_common_layers_of_twins_have_the_same_number() -> None:
    net = zoo.network("resnet50")
    residual, twin = units.kernel_layers(net), units.kernel_layers(plain(net))
    main = [layer for layer in residual if not layer.shortcut]
    assert len(residual) - len(main) == 4  # one projection per stage
    assert [x.number for x in main] == [x.number for x in twin] == list(range(1, 51))


def test_measured_steps_are_spaced_evenly_in_their_logarithm() -> None:
    assert measure.measured_steps(0) == [0]
    assert measure.measured_steps(1) == [0, 1]
    assert measure.measured_steps(100) == [0, 1, 2, 5, 10, 22, 46, 100]
    for steps in range(2, 300, 7):
        measured = measure.measured_steps(steps)
        assert measured[0] == 0
        assert measured[-1] == steps
        assert measured == sorted(set(measured))
        assert len(measured) <= measure.MAX_MOMENTS


@pytest.mark.parametrize("name", ["tiny", "resnet20", "resnet18", "characters"])
def test_the_four_twins_start_with_the_same_kernels(name: str) -> None:
    """Differences then come from shortcuts and batch norm alone. Projections are the same too
    (ResNet-18 has option B), and the residual network is the one that `create` returns."""
    net = tiny.NETWORK if name == "tiny" else zoo.network(name)
    four = twins.twins(net)
    assert [t.label for t in four] == [
        f"{kind}, {word} BN" for word in ("with", "without") for kind in ("residual", "plain")
    ]
    kernels = []
    for twin in four:
        values = build.variables(twins.initialised(twin.network, net, 3))
        kernels.append(
            {
                (layer.shortcut, layer.number): keras.ops.convert_to_numpy(
                    values[f"{layer.path}/kernel"]
                )
                for layer in units.kernel_layers(twin.network)
            }
        )
    keras.utils.set_random_seed(3)
    expected = build.variables(build.create(net))
    for layer in units.kernel_layers(net):
        kernel = kernels[0][layer.shortcut, layer.number]
        np.testing.assert_array_equal(kernel, expected[f"{layer.path}/kernel"])
    for twin, other in zip(four[1:], kernels[1:], strict=True):
        plain_one = twin.kind == "plain"
        assert set(other) == {k for k in kernels[0] if not (plain_one and k[0])}
        for key, kernel in other.items():
            np.testing.assert_array_equal(kernel, kernels[0][key])
    assert twins.twins(without_bn(tiny.NETWORK))[0].bn
    assert len(twins.twins(without_bn(tiny.NETWORK))) == 2


def test_values_that_cannot_be_drawn_are_marked_at_the_edge(tmp_path: Path) -> None:
    """A point is lost if a seed has NaN or infinity there, or zero on a logarithmic axis."""
    values = np.array([[1.0, 0.0, 3.0, np.inf, 2.0], [3.0, 1.0, np.nan, 1.0, 4.0]])
    line = figures.over_seeds("net", 0, [1, 2, 3, 4, 5], values)
    assert line.y == [2.0, None, None, None, 3.0]
    assert line.low == [1.0, None, None, None, 2.0]
    assert line.gaps == [(2, "zero"), (3, "nan"), (4, "inf")]
    assert figures.over_seeds("net", 0, [1, 2], values[:, :2], log=False).y == [2.0, 0.5]
    dead = figures.over_seeds("dead", 1, [1, 2], np.zeros((1, 2)))
    panel = figures.Panel(
        "a", figures.Axis("layer"), figures.Axis("gradient", log=True), [line, dead]
    )
    assert panel.gaps == ["infinite", "not a number", "zero"]
    traces = figure_plotly.chart(panel, "id").figure["data"]
    edges = {trace["marker"]["symbol"] for trace in traces if trace["mode"] == "markers"}
    assert edges == {"triangle-up", "triangle-down", "x-thin-open"}
    nothing = replace(panel, series=[dead])
    figure = figures.Figure("title", "note", [[panel, nothing], [nothing]])
    svg, png = figure_matplotlib.render(figure, tmp_path / "picture")
    assert "\u25bc zero" in svg.read_text(encoding="utf-8")
    assert png.stat().st_size > 1000
    assert figure_matplotlib.render(figure, tmp_path / "again")[0].read_bytes() == svg.read_bytes()


# End to end ---------------------------------------------------------------------------------------

SHORT = change(recipe("quick"), {"epochs": 40, "batch": 32})


def test_an_interrupted_study_of_twins_continues(thirds: Path, tmp_path: Path) -> None:
    """An interrupted and continued study measures the same numbers as one that was not."""

    def study(out: Path, watch: Watch | None = None) -> Study:
        options: Any = {"recipe": SHORT, "seeds": 1, "images": 16, "steps": 6}
        return measure_twins(NETWORK, thirds, out=out, watch=watch, **options)

    whole = study(tmp_path / "whole")
    calls = 0

    def stop(done: float, text: str) -> None:
        nonlocal calls
        calls += 1
        if calls == 10:  # in the second training
            raise Interrupted

    with pytest.raises(Interrupted):
        study(tmp_path / "again", Watch(step=stop))
    half = Study.open(tmp_path / "again")
    measured = half.read("signals.json")["nets"]
    assert half.info["status"] == "running"
    assert 1 <= len(measured) < 4
    registry.sections(half)  # an unfinished study can be shown
    messages: list[str] = []
    again = study(tmp_path / "again", Watch(say=messages.append))
    assert again.info["status"] == "done"
    assert not any(line.startswith("residual, with BN") for line in messages)  # measured already
    assert again.read("signals.json") == whole.read("signals.json")
    assert not (again.path / "training.safetensors").exists()
    calls = 6  # the fourth call from here is in the first training
    with pytest.raises(Interrupted):
        study(tmp_path / "lost", Watch(step=stop))
    assert (tmp_path / "lost" / "training.safetensors").exists()
    (
        tmp_path / "lost" / "signals.json"
    ).unlink()  # as the message about a damaged file tells the user to do
    assert study(tmp_path / "lost").read("signals.json") == whole.read("signals.json")
    calls = 0
    with pytest.raises(Interrupted):
        study(tmp_path / "bad", Watch(step=stop))
    (tmp_path / "bad" / "training.safetensors").write_bytes(b"damaged")
    messages.clear()
    repaired = study(tmp_path / "bad", Watch(say=messages.append))
    assert repaired.read("signals.json") == whole.read("signals.json")
    assert any("the training of plain, with BN, seed 0 starts again" in x for x in messages)
    assert {p.name for p in again.path.iterdir()} >= {"page.html", "gradients.png", "gradients.svg"}
    for net in again.read("signals.json")["nets"]:
        assert [moment["at"] for moment in net["moments"]] == measure.measured_steps(6)
    with pytest.raises(UserError, match="images 16, not 17"):
        measure_twins(NETWORK, thirds, recipe=SHORT, seeds=1, images=17, steps=6, out=again.path)


def number(cell: str) -> float:
    return float(cell.replace(",", ""))


def test_the_tables_of_the_page_match_the_measurements(thirds: Path, tmp_path: Path) -> None:
    study = measure_twins(
        NETWORK, thirds, recipe=SHORT, seeds=2, images=16, steps=2, out=tmp_path / "study"
    )
    backward, forward, training = registry.sections(study)
    start = f"{NETWORK.name} and its twins on {study.settings['data']}: one batch, "
    assert backward.paragraphs[0].startswith(start)
    assert backward.measured == ("called from Python, with the settings in study/study.json",)
    assert any("Their statement is about trained networks" in text for text in backward.paragraphs)
    assert not any("Their statement" in text for text in training.paragraphs)
    assert all(section.tables_first for section in (backward, forward, training))
    networks = {net.label: net for net in results.read(study)}
    for section, step in ((backward, 0), (training, 2)):
        gradients = section.tables[0]
        assert gradients.head == (
            "network",
            "step",
            "first layer",
            "last convolution",
            "first / last",
        )
        assert [row[0] for row in gradients.rows] == list(networks)
        for label, at, first, last, ratio in gradients.rows:
            values = networks[label].values(step, "kernel_gradient")[:, networks[label].main]
            assert at == str(step)
            assert number(first) == pytest.approx(np.median(values[:, 0]), rel=5e-3)
            assert number(last) == pytest.approx(np.median(values[:, -1]), rel=5e-3)
            assert number(ratio) == pytest.approx(number(first) / number(last), rel=0.02)
    label = "plain, with BN"
    net = networks[label]
    medians = np.median(net.values(2, "image_gradient")[:, net.main], 0)
    _, healthy, ratios, _ = training.tables
    assert healthy.rows[0][0] == label
    assert healthy.rows[0][-1] == norms.short(medians.max() / medians.min())
    assert ratios.head == ("step", label)
    assert ratios.rows[-1] == ("2", norms.short(medians[0] / medians[-1]))
    outputs = net.values(0, "output_rms")[:, net.main]
    row = next(row for row in forward.tables[0].rows if row[0] == label)
    assert row[2:] == (
        *(norms.short(np.median(outputs[:, i])) for i in (0, -1)),
        *(norms.short(extreme) for extreme in (outputs.min(), outputs.max())),
    )
    assert len(training.charts) == 3 * 4


@pytest.mark.parametrize(
    ("gradients", "conclusion"),
    [
        ([1e-3, 1.0, 1.0], "the gradient vanishes with depth"),
        ([1e3, 1.0, 1.0], "does not vanish, but its size differs between layers"),
        ([1.0, 1e-3, 1.0], "does not vanish, but its size differs between layers"),
        ([1.0, 0.2, 1.0], "has the same order of magnitude in all layers"),
        ([1.0, 0.0, 1.0], "not healthy: some gradients are zero or not finite"),
    ],
)
def test_the_conclusion_about_healthy_gradients(gradients: list[float], conclusion: str) -> None:
    layers = tuple({"kind": "conv", "shortcut": False} for _ in gradients)
    entry = {"seed": 0, "moments": [{"at": 0, "image_gradient": gradients, "not_finite": {}}]}
    net = results.MeasuredNetwork("plain, with BN", "plain", True, layers, (entry,))
    table = page._healthy_norms([net], 0)[0]
    assert conclusion in table.rows[0][1]


@pytest.mark.core
def test_its_training_steps_equal_those_of_train(thirds: Path, tmp_path: Path) -> None:
    """After an epoch, the network has the gradients of the checkpoint that `train` wrote."""
    short = change(recipe("quick"), {"epochs": 2, "batch": 32})
    trained = reslab.train(NETWORK, thirds, short, out=tmp_path / "run", keep_checkpoints=True)
    steps = trained.log("epoch")[0]["step"]
    assert steps > 1
    options: Any = {"seeds": 1, "images": 16, "steps": steps}
    by_steps = measure_twins(NETWORK, thirds, recipe=short, out=tmp_path / "a", **options)
    by_epochs = measure_runs([trained], images=16, out=tmp_path / "b")
    twin = by_steps.read("signals.json")["nets"][0]
    trained_run = by_epochs.read("signals.json")["nets"][0]
    paths = [[layer["path"] for layer in net["layers"]] for net in (twin, trained_run)]
    assert paths[0] == paths[1]
    for step, epoch in ((0, 0), (steps, 1)):
        one = next(m for m in twin["moments"] if m["at"] == step)
        other = next(m for m in trained_run["moments"] if m["at"] == epoch)
        for name in norms.QUANTITIES:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-6, err_msg=name)


def test_a_network_that_diverges_is_measured_and_named(thirds: Path, tmp_path: Path) -> None:
    diverging = change(SHORT, {"schedule": "constant", "rate": 1e30})
    study = measure_twins(
        NETWORK, thirds, recipe=diverging, seeds=1, images=16, steps=4, out=tmp_path / "wild"
    )
    stopped = [net for net in study.read("signals.json")["nets"] if net["stopped"]]
    assert stopped
    html = (study.path / "page.html").read_text(encoding="utf-8")
    assert "the training ended early" in html
    lost = [m["not_finite"] for net in study.read("signals.json")["nets"] for m in net["moments"]]
    assert any(lost)
    assert "NaN" not in (study.path / "signals.json").read_text(encoding="utf-8")


def test_runs_are_measured_at_the_epochs_of_their_checkpoints(
    thirds: Path, tmp_path: Path, trained: run.Run
) -> None:
    net = replace(NETWORK, name="kept")
    with_checkpoints = reslab.train(
        net, thirds, epochs=1, batch=32, out=tmp_path / "kept", keep_checkpoints=True
    )
    study = measure_runs([with_checkpoints, trained], images=16, out=tmp_path / "study")
    first, second = study.read("signals.json")["nets"]
    assert [m["at"] for m in first["moments"]] == [0, 1]
    assert [m["at"] for m in second["moments"]] == [trained.info["chosen_epoch"]]
    assert first["kind"] == "residual"
    titles = [section.title for section in registry.sections(study)]
    assert titles == [
        "After training: backward pass",
        "After training: forward pass",
        "During training",
    ]
    before = (study.path / "signals.json").stat().st_mtime_ns
    measure_runs([with_checkpoints, trained], images=16, out=tmp_path / "study")
    assert (study.path / "signals.json").stat().st_mtime_ns == before


# The command line ---------------------------------------------------------------------------------


def error_message(command: Any, *words: str) -> str:
    with pytest.raises(UserError) as caught:
        command.main(list(words), standalone_mode=False)
    return str(caught.value)


def test_bad_input_is_one_line(apart: None, trained: run.Run) -> None:
    path = str(trained.path)
    assert "did you mean 'resnet56'" in error_message(
        cli.signals, "resnet57", "--data", "fashion-mnist"
    )
    assert "add --data SOURCE" in error_message(cli.signals, "resnet56")
    assert "is not a run" in error_message(cli.signals, "nowhere")
    assert "trained already" in error_message(cli.signals, path, "--steps", "3")
    assert "one network" in error_message(cli.signals, "resnet20", "resnet56", "--data", "glyphs")
    assert "no residual units" in error_message(cli.signals, "vgg16", "--data", "glyphs")
    assert "at least 1" in error_message(cli.signals, "tiny", "--data", "glyphs", "--seeds", "0")
    Path("odd.toml").write_text('base = "quick"\naugment = ["sideways"]\n')
    odd = ("tiny", "--data", "glyphs", "--recipe", "odd.toml", "--out", "new")
    assert "no augmentation 'sideways'" in error_message(cli.signals, *odd)
    assert not Path("new").exists()
    assert "no recipe" in error_message(cli.signals, "tiny", "--data", "glyphs", "--recipe", "none")
    assert "at least 2" in error_message(cli.signals, path, "--images", "1")


def test_the_command_prints_the_study(
    apart: None, thirds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tiny", "--data", str(thirds), "--seeds", "1", "--images", "8", "--json"]
    cli.signals.main(words, standalone_mode=False)
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["nets"]) == 4
    assert Path(printed["study"], "page.html").exists()
    assert printed["study"] == "studies/signals-tiny-thirds-1seeds-8images"
