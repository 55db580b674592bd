"""What the tests of pages in a browser share."""

from __future__ import annotations

DRAWN = "document.documentElement.dataset.charts === 'drawn'"


WIDTHS = "[document.documentElement.scrollWidth, window.innerWidth]"
