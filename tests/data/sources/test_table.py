from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reslab import data
from reslab.core.errors import UserError
from reslab.report.reproduce import training_command
from reslab.runs.run import Run
from tests.helpers.cli import invoke

CLASSES = ("cat", "dog")


def fill(root: Path, n: int = 60, header: str = "file,species,patient", **cells: str) -> Path:
    """Pictures in one folder, and a table of them; patients have five pictures each."""
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = [header]
    for i in range(n):
        pixels = rng.integers(0, 120, (12, 12, 3)) + 130 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / f"{i:03}.png")
        row = {"file": f"images/{i:03}.png", "species": CLASSES[i % 2], "patient": f"p{i // 5}"}
        lines.append(",".join(cells.get(f"{k}{i}", v) for k, v in row.items()))
    file = root / "pets.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def numbers(split: data.Split) -> set[int]:
    return {int(Path(name).stem) for name in split.names}


def test_usual_columns_are_recognised(tmp_path):
    file = fill(tmp_path)
    loaded = data.load(file, size=8)
    assert loaded.classes == CLASSES
    assert loaded.name == "pets"
    parts = [p for p in (loaded.train, loaded.validation, loaded.test) if p is not None]
    assert sum(map(len, parts)) == 60
    for part in parts:
        assert all(int(Path(n).stem) % 2 == y for n, y in zip(part.names, part.labels, strict=True))
        assert ((part.images(slice(None)).mean((1, 2, 3)) > 125) == part.labels).all()
    again = data.from_provenance(loaded.provenance)
    assert (again.checksum, again.test.names) == (loaded.checksum, loaded.test.names)


def test_a_group_column_keeps_files_together(tmp_path):
    loaded = data.load(fill(tmp_path), size=8, columns={"group": "patient"})
    train, test = ({i // 5 for i in numbers(part)} for part in (loaded.train, loaded.test))
    assert train.isdisjoint(test)
    assert test
    assert loaded.provenance["columns"] == {"group": "patient"}


def test_a_changed_label_moves_no_image_and_changes_the_checksum(tmp_path):
    before = data.load(fill(tmp_path / "1"), size=8)
    after = data.load(fill(tmp_path / "2", species3="cat"), size=8)
    assert numbers(before.test) == numbers(after.test)
    assert before.checksum != after.checksum


def test_a_split_column(tmp_path):
    parts = {f"patient{i}": ("Train", "valid", "TEST")[i % 5 % 3] for i in range(60)}
    file = fill(tmp_path, header="file,species,fold", **parts)
    loaded = data.load(file, size=8, columns={"split": "fold"})
    assert numbers(loaded.test) == {i for i in range(60) if i % 5 == 2}
    assert numbers(loaded.validation) == {i for i in range(60) if i % 5 in (1, 4)}
    assert "the column fold" in loaded.facts["split"]
    bad = fill(tmp_path / "bad", header="file,species,fold", **{**parts, "patient7": "trian"})
    with pytest.raises(UserError, match="line 9: no part 'trian'; did you mean 'train'"):
        data.load(bad, size=8, columns={"split": "fold"})


def test_names_without_a_suffix_other_delimiters_and_numbers_as_classes(tmp_path):
    file = fill(tmp_path)
    rows = [f"images/{i:03};{'10' if i % 2 else '9'}" for i in range(60)]
    file.write_text("\ufeffid;target\n" + "\n".join(rows), encoding="utf-8")
    loaded = data.load(file, size=8)
    assert loaded.classes == ("9", "10")
    assert loaded.train.names[0].endswith(".png")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_spreadsheets_write(tmp_path, encoding):
    file = fill(tmp_path)
    text = "\n".join(f"images/{i:03}.png\t{('café', '犬')[i % 2]}" for i in range(60))
    file.write_text(f"file\tspecies\n{text}", encoding=encoding)
    assert data.load(file, size=8).classes == ("café", "犬")


def test_cells_may_have_quotes_and_line_breaks(tmp_path):
    file = fill(tmp_path, header="file,species,note")
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[1] = 'images/000.png,cat,"two\nlines, and a comma"'
    file.write_text("\r\n".join([*lines, "images/001.png,dog"]), encoding="utf-8")
    with pytest.raises(UserError, match="line 63 has 2 cells"):
        data.load(file, size=8)
    file.write_text("\r\n".join(lines), encoding="utf-8")
    assert data.load(file, size=8).classes == CLASSES


def test_equal_numbers_as_classes_have_a_fixed_order(tmp_path):
    changes = {f"species{i}": ("1", "01", "10", "2")[i % 4] for i in range(60)}
    assert data.load(fill(tmp_path, **changes), size=8).classes == ("01", "1", "2", "10")


def test_rows_without_a_label_are_counted(tmp_path):
    loaded = data.load(fill(tmp_path, species0="", species1=""), size=8)
    assert loaded.facts["unlabelled_rows"] == 2
    assert {0, 1}.isdisjoint(numbers(loaded.train) | numbers(loaded.test))


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("", {}, "is empty"),
        ("a,b\n", {}, "has the columns a, b: name the one of the images with --image-column"),
        ("file,b\n", {}, "name the one of the labels with --label-column"),
        ("file,label\nx.png,a,b\n", {}, "line 2 has 3 cells"),
        ("file,label\nx.png,\n", {}, "lists no image with a label"),
        ("file,label\nx.png,a\nx.png,b\n", {}, "line 3: x.png has two labels"),
        ("file,label\nx.png,a\n", {}, "has one class"),
        ("file,label\n,a\n", {}, "line 2 names no file"),
        ("file,label\nx.png,a\n", {"label": "lable"}, "did you mean 'label'"),
        ("file,label\nx.png,a\n", {"lable": "label"}, "no kind of column 'lable'"),
        ("file,label\nx.png,a\ny.png,b\n", {}, "2 images in"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, columns, message):
    file = tmp_path / "table.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        data.load(file, size=8, columns=columns)
    assert message in str(error.value)


def test_columns_are_for_tables(tmp_path):
    with pytest.raises(UserError, match="--label-column is for a table"):
        data.load("glyphs", columns={"label": "x"})
    with pytest.raises(UserError, match="leave one out"):
        data.load(fill(tmp_path), group="x", columns={"group": "patient"})
    (tmp_path / "latin.csv").write_bytes(b"file,label\nx.png,caf\xe9\n")
    with pytest.raises(UserError, match=r"not a table in UTF-8.*save it in UTF-8"):
        data.load(tmp_path / "latin.csv")


def test_train_and_evaluate_a_table(tmp_path):
    file = fill(tmp_path)
    run = tmp_path / "run"
    command = ("train", "resnet20", "--data", file, "--size", 8, "--epochs", 1, "--out", run)
    answer = invoke(*command, "--group-column", "patient", "--label-column", "species")
    assert answer.code == 0, answer.err
    answer = invoke("evaluate", run, "--data", file, "--group-column", "patient")
    assert answer.code == 0, answer.err
    assert "images left out: the run itself was trained on them" in answer.out
    stored = json.loads((run / "evaluation-pets.json").read_text(encoding="utf-8"))
    assert stored["command"] == f"reslab evaluate {run} --data {file} --group-column patient"
    info = Run.open(run).info
    command = training_command(run, {**info, "command": None}, Run.open(run).network)
    assert "--label-column species" in command
    assert "--group-column patient" in command
