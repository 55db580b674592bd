"""Linux, macOS and Windows: nothing in the package needs one of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import reslab

ROOT = Path(reslab.__file__).parent
UNIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
UNIX_FUNCTIONS = {"fork", "forkpty", "getpgid", "killpg", "mkfifo", "sync", "wait3", "wait4"}
FILES = sorted(ROOT.rglob("*.py"))


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_unix_only_names(path: Path) -> None:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            assert not {alias.name for alias in node.names} & UNIX_ONLY
        if isinstance(node, ast.ImportFrom):
            assert node.module not in UNIX_ONLY
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.value.id != "os" or node.attr not in UNIX_FUNCTIONS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_files_have_an_encoding(path: Path) -> None:
    """The default is not UTF-8 on Windows before Python 3.15."""
    for node in nodes(path):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if node.func.attr in ("read_text", "write_text"):
            assert "encoding" in keywords, f"line {node.lineno}"
        if node.func.attr == "open" and ast.unparse(node.func.value).endswith("path"):
            mode = keywords.get("mode", node.args[0] if node.args else ast.Constant("r"))
            binary = isinstance(mode, ast.Constant) and "b" in str(mode.value)
            assert binary or "encoding" in keywords, f"line {node.lineno}"
        if keyword_true(keywords.get("text")):
            assert "encoding" in keywords, f"line {node.lineno}"


def keyword_true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True
