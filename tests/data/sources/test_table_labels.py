"""Tables with several labels per image, Parquet files, and tables as others have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reslab import data
from reslab.core.errors import UserError
from reslab.data.sources.table_files import LabelTable
from reslab.data.sources.table_labels import guess, read

NAMES = ("left", "middle", "right")
LABELS = [{NAMES[k] for k in range(3) if i >> k & 1} for i in range(8)] * 6  # also none and all


def pictures(root: Path, folder: str = "images") -> list[str]:
    """48 different pictures; returns their names without folder and suffix."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(len(LABELS)):
        pixels = rng.integers(0, 255, (9, 9, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / folder / f"{i:02}.png")
    return [f"{i:02}" for i in range(len(LABELS))]


def write(root: Path, header: str, rows: list[str], name: str = "table.csv") -> Path:
    file = root / name
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return file


def labels_of(loaded: data.Data) -> dict[str, set[str]]:
    parts = [p for p in (loaded.train, loaded.validation, loaded.test) if p is not None]
    return {
        Path(name).stem: {c for c, y in zip(loaded.classes, row, strict=True) if y}
        for part in parts
        for name, row in zip(part.names, part.labels, strict=True)
    }


def expected(names: list[str]) -> dict[str, set[str]]:
    return dict(zip(names, LABELS, strict=True))


@pytest.mark.parametrize("mark", ["|", ";", " "])
def test_a_separator_is_guessed_and_said(tmp_path, mark):
    names = pictures(tmp_path)
    rows = [f"{n},{mark.join(sorted(y))}" for n, y in zip(names, LABELS, strict=True)]
    loaded = data.load(write(tmp_path, "image_name,tags", rows), size=8)
    assert loaded.task == "multilabel"
    assert loaded.classes == NAMES
    assert labels_of(loaded) == expected(names)
    assert "--label-separator ''" in loaded.facts["labels"]
    assert loaded.facts["images_without_label"] == 6
    assert loaded.facts["images_from"] == "images/"
    assert loaded.facts["counts"]["train"]["left"] == loaded.train.labels[:, 0].sum()
    again = data.from_provenance(loaded.provenance)
    assert again.checksum == loaded.checksum
    assert labels_of(again) == labels_of(loaded)


def test_a_separator_that_is_given(tmp_path):
    names = pictures(tmp_path)
    rows = [f'{n},"{", ".join(sorted(y))}"' for n, y in zip(names, LABELS, strict=True)]
    file = write(tmp_path, "image,label", rows)
    loaded = data.load(file, size=8, columns={"label_separator": ","})
    assert labels_of(loaded) == expected(names)
    with pytest.raises(UserError, match="no cell of the column label contains the separator '/'"):
        data.load(file, size=8, columns={"label_separator": "/"})


def test_an_empty_separator_means_one_label(tmp_path):
    names = pictures(tmp_path)
    rows = [f"{n},{('a|b', 'c')[i % 2]}" for i, n in enumerate(names)]
    file = write(tmp_path, "image,label", rows)
    loaded = data.load(file, size=8, columns={"label_separator": ""})
    assert (loaded.task, loaded.classes) == ("classification", ("a|b", "c"))


@pytest.mark.parametrize(
    "cells",
    [
        ["golden retriever", "labrador", "old english sheepdog"],
        ["red car", "blue car", "green car", "red bus", "blue bus", "green bus"],
        ["cat", "dog"],
    ],
)
def test_names_with_spaces_are_one_label(cells):
    assert guess(LabelTable(Path("t"), ["label"], []), "label", cells) == ""


def test_two_separators_are_refused():
    with pytest.raises(UserError, match=r"has '\|' and ';' in its cells.*--label-separator"):
        guess(LabelTable(Path("t"), ["label"], []), "label", ["a|b", "a;c"])


@pytest.mark.parametrize(
    ("true", "false", "text"),
    [("1", "0", "0 and 1"), ("True", "False", "0 and 1"), ("1", "-1", "-1 is taken as 0")],
)
def test_columns_of_zero_and_one(tmp_path, true, false, text):
    names = pictures(tmp_path)
    rows = [
        ",".join([n, *(true if c in y else false for c in NAMES), "x"])
        for n, y in zip(names, LABELS, strict=True)
    ]
    file = write(tmp_path, "image,left,middle,right,note", rows)
    loaded = data.load(file, size=8, columns={"label_columns": "left,m*,right"})
    assert labels_of(loaded) == expected(names)
    assert text in loaded.facts["labels"]
    assert loaded.provenance["columns"] == {"label_columns": "left,m*,right"}
    with pytest.raises(UserError, match="name the one of the labels with --label-column, or those"):
        data.load(file, size=8)


@pytest.mark.parametrize(
    ("header", "row", "columns", "message"),
    [
        ("image,a,b", "x,1,2", "a,b", "line 2: the column b has '2': give 0 or 1"),
        ("image,a,b", "x,1,", "a,b", "line 2: the column b has '': give 0 or 1"),
        ("image,a,b", "x,0,-1", "a,b", "have 0 and -1"),
        ("image,a,b", "x,0,1", "a,c", "no column of table.csv 'c'"),
        (
            "image,a,b",
            "x,0,1",
            "z*",
            "--label-columns z\\* matches none of the columns image, a, b",
        ),
        ("image,a,b", "x,0,1", "a", "needs two or more columns"),
        ("image,a,a", "x,0,1", "a", "two columns named 'a'"),
    ],
)
def test_columns_that_are_refused(tmp_path, header, row, columns, message):
    with pytest.raises(UserError, match=message):
        data.load(write(tmp_path, header, [row]), columns={"label_columns": columns})


def test_two_ways_to_name_labels_are_refused():
    table = LabelTable(Path("t.csv"), ["image", "a", "b"], [])
    with pytest.raises(UserError, match="leave out --label-separator"):
        read(table, None, "a,b", "|")


def test_a_column_of_truth_values_names_the_validation_part(tmp_path):
    names = pictures(tmp_path, "imgs")
    rows = [f"{n},{'ab'[i // 12 % 2]},{i % 4 == 0},{i % 6 == 1}" for i, n in enumerate(names)]
    file = write(tmp_path, "fname,label,is_valid,is_test", rows)
    assert "--split-column is_valid" in data.load(file, size=8).facts["unused_column"]
    loaded = data.load(file, size=8, columns={"split": "is_test"})
    assert {int(Path(n).stem) % 6 for n in loaded.test.names} == {1}
    loaded = data.load(file, size=8, columns={"split": "is_valid"})
    assert {int(Path(n).stem) % 4 for n in loaded.test.names} == {0}  # the only part beside train


def test_truth_values_that_do_not_say_a_part_are_refused(tmp_path):
    rows = [f"{n},{'ab'[i % 2]},{i % 2}" for i, n in enumerate(pictures(tmp_path))]
    with pytest.raises(UserError, match="the column fold has 0, 1, which does not say a part"):
        data.load(write(tmp_path, "fname,label,fold", rows), columns={"split": "fold"})


def test_paths_of_windows(tmp_path):
    names = pictures(tmp_path, "sub")
    rows = [f"sub\\{n}.png,{'ab'[i % 2]}" for i, n in enumerate(names)]
    assert len(data.load(write(tmp_path, "path,label", rows), size=8, test=0, validation=0).train)


def test_tab_separated(tmp_path):
    rows = [f"{n}\t{'ab'[i % 2]}, c" for i, n in enumerate(pictures(tmp_path))]
    loaded = data.load(write(tmp_path, "id\tlabel", rows, "table.tsv"), size=8)
    assert loaded.classes == ("a, c", "b, c")


def test_parquet_equals_csv(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    names = pictures(tmp_path)
    marks = [i % 3 == 0 for i in range(len(names))]
    lists = pa.array([sorted(y) for y in LABELS])
    table = pa.table({"image": names, "tags": lists, "is_test": marks, "kind": [3, 4] * 24})
    parquet.write_table(table, tmp_path / "table.parquet")
    loaded = data.load(tmp_path / "table.parquet", size=8, columns={"split": "is_test"})
    assert loaded.task == "multilabel"
    assert labels_of(loaded) == expected(names)
    assert {int(Path(n).stem) % 3 for n in loaded.test.names} == {0}
    numbers = data.load(tmp_path / "table.parquet", size=8, columns={"label": "kind"})
    rows = [f"{n},{(3, 4)[i % 2]}" for i, n in enumerate(names)]
    same = data.load(write(tmp_path, "image,kind", rows), size=8, columns={"label": "kind"})
    assert (numbers.classes, numbers.checksum) == (same.classes, same.checksum)


def test_parquet_that_is_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="is not a Parquet file, or is damaged"):
        data.load(tmp_path / "a.parquet")
    table = pa.table({"image": [b"\x89PNG"], "label": ["a"]})
    parquet.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(UserError, match="the column image holds no paths"):
        data.load(tmp_path / "b.parquet")


@pytest.mark.parametrize("seconds", [0, 2**61])
def test_dates_in_other_columns_of_parquet(tmp_path, seconds):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    names = pictures(tmp_path)
    when = pa.array([seconds] * len(names), pa.timestamp("us"))  # Python has no year 73069
    parquet.write_table(pa.table({"image": names, "label": ["a", "b"] * 24, "when": when}),
                        tmp_path / "table.parquet")  # fmt: skip
    assert data.load(tmp_path / "table.parquet", size=8).classes == ("a", "b")


def test_texts_of_parquet_that_are_not_utf_8(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    text = pa.array([b"\xff.png", b"b"]).view(pa.string())
    parquet.write_table(pa.table({"image": text, "label": ["a", "b"]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="is not a Parquet file, or is damaged: 'utf-8' codec"):
        data.load(tmp_path / "t.parquet")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install \"reslab\[parquet\]\""):
        data.load(tmp_path / "a.parquet")


def test_a_sample_of_several_labels(tmp_path):
    names = pictures(tmp_path)
    rows = [f"{n},{'|'.join(sorted(y))}" for n, y in zip(names, LABELS, strict=True)]
    loaded = data.load(write(tmp_path, "image,tags", rows), size=8)
    few = data.sample(loaded, 10)
    assert few.train.labels.shape == (10, 3)
    assert "random" in few.facts["sample"]
    assert labels_of(few).items() <= labels_of(loaded).items()
