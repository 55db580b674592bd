"""Private names of Keras: only one module uses them, and its errors name the missing one."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import keras
import pytest

import reslab
from reslab.acceleration import keras_internals as internals
from reslab.acceleration.accelerate import accelerate
from reslab.core.errors import UserError

ROOT = Path(reslab.__file__).parent
HERE = ROOT / "acceleration" / "keras_internals.py"
KERAS = Path(keras.__file__).parent / "src"
# Where Keras defines the private names of models, layers and optimisers
DEFINING = ("layers/layer.py", "models", "ops", "optimizers", "trainers", "backend", "layers")
# Private names of other libraries
OTHERS = {
    "_exit",  # os
    "_next_step",  # Trackio
    "_Enhance",  # Pillow
    "_dynamo",  # PyTorch, as are the following
    "_foreach_copy_",
    "_foreach_lerp_",
    "_foreach_mul",
    "_foreach_pow",
    "_foreach_sub_",
    "_fused_sgd_",
    "_forward_hooks",
    "_forward_pre_hooks",
}


def private(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"_[A-Za-z]\w*", name) is not None


def keras_private_names() -> set[str]:
    """Return every private attribute and method of models, layers and optimisers of Keras."""
    names: set[str] = set()
    for path in (file for part in DEFINING for file in sorted((KERAS / part).rglob("*.py"))):
        if not path.name.endswith("_test.py"):
            text = path.read_text(encoding="utf-8")
            names.update(re.findall(r"(?:self\.|    def )(_[a-z]\w*)", text))
    return names


def defined_names(tree: ast.AST) -> Iterator[str]:
    """Yield the names that a module defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def used(tree: ast.AST, defined: set[str], keras_names: set[str]) -> Iterator[str]:
    """Yield the uses of private Keras names that are not allowed in a module."""
    pieces = {id(x) for f in ast.walk(tree) if isinstance(f, ast.JoinedStr) for x in f.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("keras.src"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras.src"):
            yield str(node.module)
        elif isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in OTHERS:
            mine = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if node.attr not in defined or (node.attr in keras_names and not mine):
                yield node.attr
        elif isinstance(node, ast.Constant) and private(node.value) and id(node) not in pieces:
            yield from {node.value} & keras_names - OTHERS
        elif isinstance(node, ast.ClassDef) and any(map(_of_keras, node.bases)):
            # a method of one of Keras's classes that replaces a private one
            yield from (f"{node.name}.{name}" for name in {*defined_names(node)} & keras_names)


def _of_keras(base: ast.expr) -> bool:
    return ast.unparse(base).startswith(("keras.", "layers."))


def test_no_other_module_uses_a_private_name_of_keras() -> None:
    keras_names = keras_private_names()
    assert {"_flatten_layers", "_nodes_by_depth", "_backend_update_step"} <= keras_names
    for path in sorted(ROOT.rglob("*.py")):
        if path != HERE:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = sorted(used(tree, {*defined_names(tree)}, keras_names))
            assert not names, f"{path}: {', '.join(names)} belongs in {HERE.name}"


@pytest.mark.parametrize(
    "code",
    [
        "from keras.src.models.functional import Functional",
        "import keras.src.backend",
        "model._flatten_layers()",
        "getattr(layer, '_call_context_args', {})",
        "class A(keras.layers.Layer):\n    def f(self): return self._trainable",
        "class A(keras.optimizers.SGD):\n    def _backend_update_step(self): ...",
    ],
)
def test_a_use_of_a_private_name_is_detected(code: str) -> None:
    tree = ast.parse(code)
    assert [*used(tree, {*defined_names(tree)}, keras_private_names())]


def reimport() -> ModuleType:
    """Import the module again, as a new process would."""
    spec = importlib.util.spec_from_file_location("fresh_internals", HERE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.core
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (keras.layers.Layer, "_flatten_layers"),
        (internals.Functional, "_standardize_inputs"),
        (keras.optimizers.Optimizer, "_backend_update_step"),
    ],
)
def test_a_name_that_keras_has_removed_is_named(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = next(cls for cls in owner.__mro__ if name in vars(cls))
    for cls in owner.__mro__[owner.__mro__.index(holder) :]:
        monkeypatch.delattr(cls, name, raising=False)
    monkeypatch.setattr(keras, "__version__", "3.17.2")
    with pytest.raises(UserError) as error:
        reimport()
    assert str(error.value).startswith(f"Keras 3.17.2 has no {owner.__name__}.{name}, which reslab")
    assert str(error.value).endswith("install another version, such as keras<3.17")
    assert "\n" not in str(error.value)


@pytest.mark.core
def test_a_module_that_keras_has_removed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras.src.models.functional", None)
    with pytest.raises(UserError, match=r"has no keras\.src\.models\.functional, which reslab"):
        reimport()


@pytest.mark.core
def test_an_attribute_that_layers_no_longer_have_is_named() -> None:
    layer = keras.layers.Dense(1)
    del layer._call_context_args
    with pytest.raises(UserError, match=r"has no Dense\._call_context_args, which reslab needs"):
        accelerate(layer)


@pytest.mark.core
def test_all_names_for_this_backend_exist() -> None:
    backend = keras.backend.backend()
    if backend == "torch":
        assert internals.torch_trainer() in keras.Model.__mro__
        assert issubclass(internals.torch_sgd(), keras.optimizers.SGD)
    elif backend == "jax":
        assert callable(internals.jax_random().truncated_normal)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    graph = internals.sequential_graph(model)
    assert isinstance(graph, internals.Functional)
    assert len(internals.layers_of(graph)) == 2
    assert internals.output_structure(graph).shape == (None, 1)
    assert sum(map(len, internals.nodes_by_depth(graph).values())) == 2
    assert internals.loss_tracker(model) is not None
    assert internals.has_training_argument(model)
    assert internals.optimizer_variables(model.optimizer) == []
