"""The structure: imports point down, starting is light, files and functions are short."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import reslab

ROOT = Path(reslab.__file__).parent
# From the bottom up. A package imports only from the packages before it in this list.
PACKAGES = (
    "core",
    "spec",
    "data",
    "plots",
    "zoo",
    "runs",
    "acceleration",
    "models",
    "draw",
    "weights",
    "engines",
    "evaluation",
    "formats",
    "report",
    "trackers",
    "training",
    "studies",
    "serving",
    "cli",
)
# Beside the packages: the public re-export of spec.transforms, and `python -m reslab`.
LAYER = {name: layer for layer, name in enumerate(PACKAGES)} | {"transforms": 1.5, "__main__": 99}


def package_of(path: Path) -> str:
    """`data` for reslab/data/splits.py, `transforms` for reslab/transforms.py."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """The packages of reslab that a module imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            here = path.relative_to(ROOT.parent).with_suffix("").parts
            origin = [*here[: -node.level], node.module] if node.level else [node.module]
            module = ".".join(filter(None, origin))
            names = [f"{module}.{name.name}" for name in node.names]
        for name in names:
            package, _, inner = name.partition(".")
            if package == "reslab" and (found := inner.split(".")[0]) not in ("", "__version__"):
                yield found


MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_down(path: Path) -> None:
    package = package_of(path)
    for other in imported(path):
        assert other == package or LAYER[other] < LAYER[package], f"{package} imports {other}"


def test_relative_imports_are_seen() -> None:
    assert {"data", "core"} <= set(imported(ROOT / "data" / "sources" / "folder.py"))


def test_every_package_has_a_layer() -> None:
    assert {package_of(path) for path in MODULES} == set(LAYER)


def test_files_stay_short() -> None:
    for path in MODULES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_functions_stay_short() -> None:
    """At most 50 lines, docstring not counted."""
    long = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                has_docstring = isinstance(first, ast.Expr) and isinstance(
                    first.value, ast.Constant
                )
                start = first.end_lineno if has_docstring else node.lineno
                lines = (node.end_lineno or 0) - (start or 0)
                if lines > 50:
                    long[f"{path.relative_to(ROOT)}: {node.name}"] = lines
    assert not long


def test_classes_have_names_of_their_own() -> None:
    """No two classes of one name with different meanings."""
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_inits_are_empty_or_lazy() -> None:
    """So `reslab list` loads neither Keras nor NumPy."""
    for path in ROOT.rglob("__init__.py"):
        if path.parent == ROOT:
            continue
        statements = ast.parse(path.read_text(encoding="utf-8")).body
        names = [ast.unparse(statement) for statement in statements[1:]]
        lazy = [
            "from __future__ import annotations",
            "import lazy_loader",
            "__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)",
        ]
        assert names in ([], lazy), path


UNIX_ONLY = {"fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog"}


def test_no_unix_only_module_at_import_time() -> None:
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {name.name for name in node.names} | {getattr(node, "module", None)}
                assert not names & UNIX_ONLY, path


def test_no_test_imports_another_test() -> None:
    """What several tests need is in tests/helpers."""
    for path in (ROOT.parent / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = getattr(node, "module", None) or ""
            assert not re.match(r"tests\.(?!helpers).*test_", module), f"{path}: {module}"


ONE_PLACE = {
    "json.loads": {"core/records.py"},  # `records.parse` has limits
    "click.echo": {"cli/output.py"},  # `output.echo` prints what each terminal can show
}


@pytest.mark.parametrize("name", ONE_PLACE)
def test_what_is_guarded_is_called_in_one_place(name: str) -> None:
    """A copy of a value by `json.loads(json.dumps(value))` reads no file."""
    homes = {
        path.relative_to(ROOT).as_posix()
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == name
        and not ast.unparse(node).startswith("json.loads(json.dumps(")
    }
    assert homes == ONE_PLACE[name]


HEAVY = "keras", "torch", "jax", "tensorflow", "numpy", "plotly", "grain", "PIL", "jinja2"


@pytest.mark.parametrize(
    "do",
    [
        "import reslab.zoo",
        "import reslab.spec.summary, reslab.runs.recipe, reslab.spec.catalogue",
        "from reslab.cli.main import main; main(['--help'])",
        "from reslab.cli.main import main; main(['train', '--help'])",
        "from reslab.cli.main import main; main(['list'])",
        "from reslab.cli.main import main; main(['show', 'resnet50', '--json'])",
    ],
)
def test_what_needs_no_keras_does_not_load_it(do: str) -> None:
    """Loading it takes seconds: `reslab --help`, `list` and `show` start at once."""
    script = (
        "import sys, io, contextlib\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    {do}\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_no_number_in_a_document_is_typed_by_hand() -> None:
    """What stands between the markers of README.md and the others is what the script writes."""
    script = ROOT.parent / "docs" / "write.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "python docs/write.py would change a document"
