"""ONNX Runtime Web for the tests of pages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reslab.data.sources.download import Unavailable
from reslab.formats import ort_web

NO_REGISTRY = "no connection", "no answer", "RESLAB_OFFLINE is set"


def tarball() -> Path:
    """The npm package, from the cache or the registry. Without both the test is skipped.

    With CI set, any other failure than an unreachable registry fails the test.
    """
    try:
        return ort_web.tarball()
    except Unavailable as error:
        if os.environ.get("CI") and error.reason not in NO_REGISTRY:
            pytest.fail(str(error))
        pytest.skip(f"needs {ort_web.TARBALL.name}: {error.reason}")
