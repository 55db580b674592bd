"""Test images that the weights were trained on are found in every generation, and left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import reslab
from reslab.core.errors import UserError
from reslab.data import ArraySplit, Data
from reslab.evaluation import unseen
from reslab.runs import lineage
from tests.helpers import tiny
from tests.helpers.cli import invoke, output_of


def data(train: range, validation: range, test: range, name: str = "made") -> Data:
    """Images by number from one pool of 300."""
    pool, labels = tiny.images(300, 0)

    def part(numbers: range) -> ArraySplit:
        rows = np.array(numbers)
        return ArraySplit.of(pool[rows], labels[rows])

    return Data(
        name=name,
        source=name,
        classes=("a", "b", "c"),
        image_shape=(8, 8, 1),
        train=part(train),
        validation=part(validation),
        test=part(test),
        checksum=f"{train}{validation}{test}",
        facts={},
        provenance={},
    )


def train(out: Path, images: Data, **options: object) -> reslab.Run:
    recipe = None if "weights" in options else "quick"
    values = {"batch": 16, "epochs": 1, "rate": 0.01}
    return reslab.train(tiny.NETWORK, images, recipe, changes=values, out=out, **options)


def test_a_chain_of_three_fine_tunings(tmp_path):
    """The test images of the last one come from the training parts of all four runs."""
    weights: dict[str, object] = {}
    for generation in range(4):
        first = 60 * generation
        rest = range(240, 270) if generation < 3 else range(30, 270, 30)
        run = train(
            tmp_path / str(generation),
            data(range(first, first + 54), range(54 + first, 60 + first), rest),
            **weights,
        )
        weights = {"weights": run.path}
    history = lineage.read(run.path)
    assert history is not None
    assert (len(history.trained), len(history.ancestors)) == (54, 3 * 54)
    # Ancestors were trained on 30 and 60 to 150; the run itself on 180 and 210.
    seen = run.evaluation["seen"]
    assert (seen["count"], seen["of"], seen["left_out"]) == (5, 8, True)
    assert run.evaluation["n"] == 3
    (note,) = [line["text"] for line in run.log("note") if "test images were" in line["text"]]
    assert note.startswith("5 of 8 test images were training images of ")
    assert "left out" in note


def test_seen_images_are_kept_on_demand(tmp_path):
    first = train(tmp_path / "1", data(range(60), range(60, 66), range(100, 130)))
    overlap = data(range(70, 130), range(130, 136), range(50, 70))
    second = train(tmp_path / "2", overlap, weights=first.path, keep_seen=True)
    assert second.evaluation["n"] == 20
    assert second.evaluation["seen"] | {"count": 10, "left_out": False} == second.evaluation["seen"]
    assert any("--keep-seen" in line["text"] for line in second.log("note"))
    text = unseen.sentence(second.evaluation)
    assert text.startswith("10 of 20 images kept, as --keep-seen asks: an ancestor of the weights")


def test_all_test_images_seen(tmp_path):
    first = train(tmp_path / "1", data(range(60), range(60, 66), range(100, 130)))
    overlap = data(range(70, 130), range(130, 136), range(20, 40))
    with pytest.raises(UserError, match=r"20 of 20 test images were .*keep-seen"):
        train(tmp_path / "2", overlap, weights=first.path)
    assert not (tmp_path / "2").exists()
    with pytest.raises(UserError, match="all 20 images of other were training images"):
        reslab.evaluate(first, replace(overlap, name="other"))


def test_evaluation_on_other_data(tmp_path):
    run = train(tmp_path / "1", data(range(60), range(60, 66), range(100, 130)))
    other = data(range(200, 230), range(230, 236), range(40, 80), name="other")
    result = reslab.evaluate(run, other)
    assert result["n"] == 20
    assert (result["seen"]["count"], result["seen"]["by_this_run"]) == (20, 20)
    assert unseen.sentence(result).startswith(
        "20 of 40 images left out: the run itself was trained"
    )
    assert reslab.evaluate(run, other, keep_seen=True)["n"] == 40


def test_validation_images_of_an_ancestor_are_reported(tmp_path):
    first = train(tmp_path / "1", data(range(60), range(60, 66), range(100, 130)))
    second = train(
        tmp_path / "2", data(range(70, 130), range(50, 62), range(140, 160)), weights=first.path
    )
    (note,) = [x["text"] for x in second.log("note") if "validation images were" in x["text"]]
    assert note.startswith("10 of 12 validation images")


def test_weights_that_left_their_run(tmp_path):
    first = train(tmp_path / "1", data(range(60), range(60, 66), range(100, 130)))
    moved = first.model_path.rename(tmp_path / "moved.keras")
    second = train(
        tmp_path / "2", data(range(70, 130), range(50, 62), range(140, 160)), weights=moved
    )
    assert any("are not known" in line["text"] for line in second.log("note"))
    assert second.evaluation["seen"]["unknown"] == [str(moved)]


def test_runs_of_earlier_versions_are_read_again(tmp_path):
    source = tiny.folder(tmp_path / "tiny")
    run = train(tmp_path / "1", source)
    (run.path / lineage.FILE).unlink()
    history = unseen.lineage_of(run)
    assert len(history.trained) == run.info["data"]["counts"]["train"]
    assert history.unknown == ()
    (source / "train-labels-idx1-ubyte").unlink()
    assert unseen.lineage_of(run).unknown == (run.name,)


def test_the_command_line_counts_them(tmp_path):
    source, other = tiny.folder(tmp_path / "tiny"), tiny.folder(tmp_path / "other")
    run = train(tmp_path / "1", source)
    images, labels = tiny.images(192, 0)  # the training images of the run, as the test images
    tiny.write_idx(other / "t10k-images-idx3-ubyte", images)
    tiny.write_idx(other / "t10k-labels-idx1-ubyte", labels)
    counts = run.info["data"]["counts"]
    text = output_of("evaluate", run.path, "--data", other)
    assert f"{counts['train']} of 192 images left out: the run itself was trained on them" in text
    kept = invoke("evaluate", run.path, "--data", other, "--keep-seen", "--json")
    assert json.loads(kept.out)["n"] == 192
