"""The commands `reslab draw`, `chart` and `show --table`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import reslab
from reslab.draw.depth_chart import PUBLISHED
from reslab.draw.gallery import BLOCKS
from tests.helpers.cli import error_of, output_of
from tests.helpers.runs import CHARACTERS, make_run


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_draw_writes_both_files() -> None:
    assert output_of("draw", "plain20", "resnet20").split() == [
        *("picture:", "plain20-resnet20.svg"),
        *("picture:", "plain20-resnet20.png"),
    ]
    with Image.open("plain20-resnet20.png") as image:
        width, height = image.size
    assert height > width > 500
    assert json.loads(
        output_of("draw", "--block", "plain", "--block", "basic", "--json", "--out", "a/b.png")
    )
    assert sorted(path.name for path in Path("a").iterdir()) == ["b.png", "b.svg"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("draw", "name networks"),
        ("draw resnet51", "no network 'resnet51'; did you mean 'resnet50'?"),
        ("draw --block basc", "no block 'basc'; did you mean 'basic'?"),
        ("draw resnet20 --block basic", "name networks"),
        ("draw resnet20 --size 0", "--size"),
        ("draw resnet20 --out /proc/nowhere/x", "choose another --out"),
        ("draw resnet20 --out .", "choose another --out"),
        ("chart dpth", "no chart 'dpth'; did you mean 'depth'?"),
        ("chart depth nowhere", "nowhere is not a run"),
        ("show", "name a network, or use --table"),
        ("show resnet20 --table", "--table takes no network"),
    ],
)
def test_wrong_arguments_are_one_line(words: str, expected: str) -> None:
    assert expected in error_of(*words.split())


def test_the_help_names_the_blocks() -> None:
    listed = output_of("draw", "--help").split("Blocks: ")[1].split(".")[0]
    assert [word.strip() for word in listed.split(",")] == list(BLOCKS)


def test_no_picture_is_written_if_one_of_the_files_is_a_folder() -> None:
    Path("x.svg").mkdir()
    assert "x.svg is a folder" in error_of("draw", "resnet20", "--out", "x")


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", Path(svg).read_text(encoding="utf-8"))


def test_the_chart_has_the_published_numbers_and_measured_ones(tmp_path: Path) -> None:
    output_of("chart", "depth", "--out", "published")
    published = texts("published.svg")
    for error in ("28.2", "25.8", "16.4", "11.7", "7.3", "6.7", "3.57"):
        assert f"{error} %" in published
    assert [w for w in published if "layers" in w and "VGG" not in w] == [
        *("8 layers", "8 layers", "19 layers", "22 layers", "152 layers")
    ]
    assert any("He et al. 2015, Table 5" in text for text in published)
    run = make_run(tmp_path / "run", "resnet20", "glyphs", CHARACTERS)
    assert run.evaluation is not None
    output_of("chart", "depth", run.path)
    extra = set(texts("depth.svg")) - set(published)
    assert f"{100 * run.evaluation['top5_error']['value']:.2f} %" in extra
    assert "20 layers" in extra
    assert len(PUBLISHED) == 7
    unevaluated = make_run(tmp_path / "bare", "resnet20", "glyphs", CHARACTERS, evaluated=False)
    assert "is not evaluated yet" in error_of("chart", "depth", unevaluated.path)


def test_table_1() -> None:
    whole = json.loads(output_of("show", "--table", "--json"))
    numbers = {n["depth"]: (n["params"], n["multiply_adds"]) for n in whole["networks"]}
    # parameters: torchvision's; multiply-adds by integer arithmetic, stride in the first 1x1
    assert numbers == {
        18: (11_689_512, 1_814_073_344),
        34: (21_797_672, 3_663_761_408),
        50: (25_557_032, 3_857_973_248),
        101: (44_549_160, 7_570_194_432),
        152: (60_192_808, 11_282_415_616),
    }
    assert [(row["row"], row["output"]) for row in whole["rows"]] == [
        ("conv1", "112x112"),
        ("conv2_x", "56x56"),
        ("conv3_x", "28x28"),
        ("conv4_x", "14x14"),
        ("conv5_x", "7x7"),
        ("head", "1x1"),
    ]
    fourth = whole["rows"][3]["layers"]
    assert fourth["resnet152_v1"] == ["[1x1, 256; 3x3, 256; 1x1, 1024] x 36"]
    lines = output_of("show", "--table").splitlines()
    assert max(map(len, lines)) <= 120
    assert sum(line.count("x 23") for line in lines) == 1
    assert any("11,282,415,616" in line for line in lines)


def test_help_and_tables_load_neither_matplotlib_nor_keras() -> None:
    code = (
        "import sys; from reslab.cli.main import main; main(['show', '--table']);"
        "sys.exit(bool({'matplotlib', 'keras', 'reslab.draw'} & set(sys.modules)))"
    )
    checkout = Path(reslab.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=checkout)
