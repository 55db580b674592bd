"""Imports everything that a training needs, quietly, so that forked processes begin at once."""

from __future__ import annotations

from reslab.cli.options import load_tensorflow

load_tensorflow()

import tests.helpers.training  # noqa: E402, F401
