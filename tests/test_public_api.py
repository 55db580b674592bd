"""What `import reslab` offers: the names, loaded when they are used, and their types."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import reslab

NAMES = {
    "Network",
    "Recipe",
    "Run",
    "UserError",
    "accelerate",
    "benchmark",
    "create",
    "data",
    "draw",
    "evaluate",
    "export",
    "inference",
    "load",
    "network",
    "predict",
    "push",
    "recalibrate",
    "recipe",
    "resume",
    "serve",
    "spec",
    "train",
    "transforms",
    "weights",
}
# Keras has no `py.typed`, so mypy is told to look into it. The other libraries are skipped: their
# types do not matter here, and reading them takes minutes. mypy does not report errors in installed
# packages, so none in reslab either, which may be a checkout here.
MYPY = """
[mypy]
strict = True
follow_untyped_imports = True

[mypy-reslab.*]
ignore_errors = True

[mypy-torch.*,tensorflow.*,jax.*,numpy.*,matplotlib.*,plotly.*,jinja2.*]
follow_imports = skip
"""
SCRIPT = """
from typing import assert_type

import keras
import reslab

network = reslab.network("resnet20")
assert_type(network, reslab.Network)
model = reslab.create(network, classes=10, name="mine")
assert_type(model, keras.Model)
assert_type(reslab.accelerate(model), keras.Model)
loaded = reslab.load("model.keras")
as_keras: keras.Model = loaded
assert_type(loaded.classes, tuple[str, ...])
loaded.predict(loaded.preprocess(["photo.jpg"]))
run = reslab.train("resnet20", "fashion-mnist", "quick", epochs=3, seed=1)
assert_type(run, reslab.Run)
assert_type(reslab.resume(run.path), reslab.Run)
assert_type(reslab.recipe("quick"), reslab.Recipe)
data = reslab.data.load("fashion-mnist")
assert_type(data, reslab.data.Data)
conv = reslab.spec.Conv(16, 3)
assert_type(conv, reslab.spec.Conv)
assert_type(reslab.transforms.plain(network), reslab.Network)
files = reslab.draw.networks([network], "picture")
reslab.weights.save(model, "weights.safetensors")
reslab.evaluate(run)
reslab.predict(run.path, ["photo.jpg"])
reslab.inference(model).predict(data.train.images([0, 1]))
"""


def test_the_names() -> None:
    assert set(reslab.__all__) == NAMES
    assert set(dir(reslab)) >= NAMES
    for name in NAMES:
        assert getattr(reslab, name) is not None
    with pytest.raises(AttributeError, match="teapot"):
        reslab.teapot  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    "expression",
    ["reslab.data.load", "reslab.draw.networks", "reslab.spec.Conv", "reslab.transforms.plain"],
)
def test_the_packages_need_no_import_of_their_own(expression: str) -> None:
    subprocess.run([sys.executable, "-c", f"import reslab; {expression}"], check=True)


def check(script: Path) -> subprocess.CompletedProcess[str]:
    (script.parent / "mypy.ini").write_text(MYPY)
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "script.py"],
        cwd=script.parent,
        env={**os.environ, "MYPYPATH": str(Path(reslab.__file__).parents[1])},
        capture_output=True,
        text=True,
    )


def test_a_users_script_is_typed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    checked = check(script)
    assert checked.returncode == 0, checked.stdout


def test_a_wrong_script_is_refused(tmp_path: Path) -> None:
    """The types are known: they are not `Any`, which would accept everything."""
    script = tmp_path / "script.py"
    script.write_text('import reslab\n\nreslab.train("resnet20", "mnist").nonsense\n')
    checked = check(script)
    assert 'has no attribute "nonsense"' in checked.stdout, checked.stdout
