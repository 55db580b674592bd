"""Which backend Keras uses: --backend, KERAS_BACKEND, keras.json, PyTorch, in this order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def selected_backend(home: Path, **environment: str) -> str:
    """Return KERAS_BACKEND after `import reslab` in a new process with this home folder."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("KERAS_")}
    script = "import reslab, os, sys; print(os.environ['KERAS_BACKEND'], 'keras' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**clean, "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    backend, loaded = done.stdout.split()
    assert loaded == "False"
    return backend


def configure(home: Path, backend: str) -> None:
    home.mkdir(exist_ok=True)
    (home / "keras.json").write_text(json.dumps({"backend": backend}))


def test_pytorch_by_default(tmp_path: Path) -> None:
    assert selected_backend(tmp_path) == "torch"


def test_keras_json_overrides_the_default(tmp_path: Path) -> None:
    configure(tmp_path / ".keras", "jax")
    assert selected_backend(tmp_path) == "jax"
    configure(tmp_path / "elsewhere", "tensorflow")
    assert selected_backend(tmp_path, KERAS_HOME=str(tmp_path / "elsewhere")) == "tensorflow"


def test_the_environment_overrides_keras_json(tmp_path: Path) -> None:
    configure(tmp_path / ".keras", "jax")
    assert selected_backend(tmp_path, KERAS_BACKEND="tensorflow") == "tensorflow"


@pytest.mark.parametrize("text", ["{", "[]", '{"backend": null}'])
def test_a_broken_keras_json_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(text)
    assert selected_backend(tmp_path) == "torch"


def test_the_option_overrides_the_environment() -> None:
    """`--backend jax` selects JAX although the environment says torch."""
    script = (
        "import sys\n"
        "from reslab.cli.options import use_backend\n"
        "use_backend('jax')\n"
        "import keras\n"
        "print(keras.backend.backend())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["jax"]
