"""One browser for all tests of the report."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.helpers.chromium import PROGRAM, Chromium


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """Chromium with a blank page; skipped without one, but never where CI is set."""
    if PROGRAM is None:
        if os.environ.get("CI"):
            pytest.fail("CI is set and there is no chromium: apt-get install chromium")
        pytest.skip("needs chromium")
    with Chromium(tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium
