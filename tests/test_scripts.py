"""The scripts of bench/ and docs/ import names that exist: no other test runs most of them."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import reslab

CHECKOUT = Path(reslab.__file__).parents[1]
SCRIPTS = sorted([*(CHECKOUT / "bench").glob("*.py"), *(CHECKOUT / "docs").glob("*.py")])


def defined_names(path: Path) -> set[str]:
    """The names at the top level of a script."""
    names: set[str] = set()
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            names |= {name.asname or name.name for name in statement.names}
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                names |= {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
    return names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imported_names_exist(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        sibling = script.parent / f"{node.module}.py"
        for name in node.names:
            where = f"{script.name}:{node.lineno}: {node.module}.{name.name}"
            if sibling.exists():
                assert name.name in defined_names(sibling), where
            elif node.module.split(".")[0] == "reslab":
                module = importlib.import_module(node.module)
                if not hasattr(module, name.name):
                    importlib.import_module(f"{node.module}.{name.name}")
