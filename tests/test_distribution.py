"""The wheel and the sdist, built, and the wheel installed and used outside of the clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""


def run(*command: str | Path, at: Path) -> str:
    """Run a command without a network, and without anything that would lead to the clone."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"RESLAB_OFFLINE": "1", "RESLAB_CACHE": str(at / "cache")}
    environment |= {"KERAS_BACKEND": "torch", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=at,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, source: Path, to: Path) -> Path:
    to.mkdir(exist_ok=True)
    return to / run(sys.executable, "-W", "ignore", "-c", BUILD, kind, to, at=source).split()[-1]


def package_files() -> set[str]:
    """Every file of the package, as reslab/..."""
    paths = (p for p in (ROOT / "reslab").rglob("*") if p.is_file() and p.suffix != ".pyc")
    return {path.relative_to(ROOT).as_posix() for path in paths}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built in a copy, because setuptools writes into the folder that it builds from."""
    folder = tmp_path_factory.mktemp("sdist")
    copy = folder / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "reslab"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, copy / name)
    return build("build_sdist", copy, folder / "dist")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the unpacked sdist, as pip does where there is no wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return build("build_wheel", folder / sdist.name.removesuffix(".tar.gz"), folder / "dist")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the wheel. Dependencies come from this environment."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env", with_pip=False, symlinks=os.name != "nt")
    python = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "--python", python)
    run(*pip, "install", "--no-deps", "--no-index", wheel, at=folder)
    # A path in a .pth file is only added: the editable install of the clone does not follow.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", at=folder)
    (Path(site.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_sdist_has_the_package_and_what_builds_it(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert package_files() <= names
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    assert {name for name in names if ".dist-info/" not in name} == package_files()
    assert {"reslab/py.typed", "reslab/__init__.pyi", "reslab/weights/imagenet.txt"} <= names
    assert {f"reslab/data/sources/glyphs{end}" for end in (".npz", "_licences.txt")} <= names
    assert any(name.startswith("reslab/report/templates/") for name in names)
    needs = [line.partition(";")[0] for line in lines if line.startswith("Requires-Dist")]
    assert not [line for line in needs if "==" in line]
    assert wheel.stat().st_size < 5_000_000


USE = """
import pathlib, sys
import reslab
assert pathlib.Path(reslab.__file__).is_relative_to(sys.prefix), reslab.__file__
data = reslab.data.load("glyphs")
print(len(data.train), len(data.classes))
model = reslab.create("resnet20", classes=62, input_shape=(28, 28, 1))
print(model.predict(data.test.images(slice(0, 2)), verbose=0).shape)
"""


def test_the_wheel_is_used_outside_of_the_clone(installed: Path, tmp_path: Path) -> None:
    (reslab,) = installed.parent.glob("reslab*")
    listed = run(reslab, "list", at=tmp_path)
    assert "resnet50" in listed
    assert "glyphs" in listed
    assert run(installed, "-c", USE, at=tmp_path).splitlines()[-2:] == ["18414 62", "(2, 62)"]
    drawn = run(reslab, "draw", "resnet20", "--out", "picture.svg", at=tmp_path)
    assert "picture.svg" in drawn
    assert (tmp_path / "picture.svg").exists()
