"""JavaScript expressions for the tests that open pages in a browser."""

from __future__ import annotations

# True once all charts of a page are drawn.
DRAWN = "document.documentElement.dataset.charts === 'drawn'"


# The width of the page and of the window, in CSS pixels.
WIDTHS = "[document.documentElement.scrollWidth, window.innerWidth]"
