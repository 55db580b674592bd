"""Find the weights in what a trainer saved: nested mappings with tensors somewhere inside.

Trainers keep a state_dict under keys of their own choice, beside optimisers, counters, and averages
of the weights over training steps (EMA, SWA). Nothing here depends on PyTorch: a tensor is what
`is_tensor` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reslab.core.errors import UserError

MAX_DEPTH = 8
AVERAGED = re.compile(r"(^|[._])(ema\d*|swa|avg|averaged?|shadow|teacher)([._]|$)", re.IGNORECASE)
NOT_WEIGHTS = re.compile(r"optim|sched|scaler|exp_avg|(^|_)(grads?|rng|amp)(_|$)", re.IGNORECASE)
COUNTERS = "n_averaged", "steps", "num_updates"  # of averages, beside the tensors
IsTensor = Callable[[Any], bool]


@dataclass(frozen=True)
class TensorSet:
    """The weights of one model: tensors by name.

    `key` says where they were in the file: "model_ema", or "" if the file has nothing else.
    `averaged`: whether they are averages over training steps.
    """

    key: str
    tensors: Mapping[str, Any]
    averaged: bool


@dataclass(frozen=True)
class Selection:
    """The set of weights that is used, and the other one in the file, if there are two."""

    tensors: Mapping[str, Any]
    remark: str = ""


def select(tree: Any, is_tensor: IsTensor, file: str, ema: bool = True) -> Selection:
    """The weights in a nested structure.

    Args:
        tree: What the file holds.
        is_tensor: Whether an object is a tensor.
        file: The file, for messages.
        ema: Whether averages over training steps are preferred to the weights of the last step.

    Raises:
        UserError: There are no weights, or several sets that cannot be told apart.
    """
    sets = [part for whole in _sets(tree, is_tensor) for part in _split(whole)]
    sets = _of_one_model(_corrected(sets, tree), tree, is_tensor)
    if not sets:
        keys = ", ".join(map(str, tree)) if isinstance(tree, Mapping) else type(tree).__name__
        raise UserError(f"{file} contains no state_dict with tensors: it has {keys[:200]}")
    averages = [s for s in sets if s.averaged]
    last = [s for s in sets if not s.averaged]
    if max(len(averages), len(last)) > 1:
        several = averages if len(averages) > 1 else last
        keys = " and ".join(s.key or "the top level" for s in several)
        raise UserError(
            f"{file} has several sets of weights of one model, {keys}: save one of them to a file "
            "of its own with torch.save"
        )
    taken = (averages or last)[0] if ema else (last or averages)[0]
    if not (averages and last):
        return Selection(taken.tensors)
    average = f"{averages[0].key} (averages over training steps)"
    names = {True: (average, last[0].key), False: (last[0].key, average)}[ema]
    other = "ema=False, --no-ema" if ema else "ema=True, --ema"
    return Selection(
        taken.tensors,
        f"{file} has two sets of weights: {names[0] or 'the top level'} is used; {other} uses "
        f"{names[1] or 'the top level'}",
    )


def _sets(tree: Any, is_tensor: IsTensor, key: str = "", depth: int = 0) -> Iterator[TensorSet]:
    """Every mapping that holds tensors directly, without those of optimisers."""
    if depth > MAX_DEPTH:
        return
    if modules := module_state(tree, is_tensor):
        yield TensorSet(key, clean(modules), bool(AVERAGED.search(key)))
        return
    if isinstance(tree, list | tuple):
        tree = {str(i): item for i, item in enumerate(tree[:100])}
    if not isinstance(tree, Mapping):
        return
    tensors = {str(name): value for name, value in tree.items() if is_tensor(value)}
    if tensors:
        averaged = "n_averaged" in tensors or bool(AVERAGED.search(key))
        yield TensorSet(key, clean(tensors), averaged)
    for name, value in tree.items():
        if not is_tensor(value) and not NOT_WEIGHTS.search(str(name)):
            yield from _sets(value, is_tensor, f"{key}.{name}".lstrip("."), depth + 1)


def module_state(module: Any, is_tensor: IsTensor) -> dict[str, Any]:
    """The state_dict of a pickled `torch.nn.Module`, from its attributes; {} for other objects."""
    tensors: dict[str, Any] = {}
    stack: list[tuple[str, Any, int]] = [("", module, 0)]
    while stack:
        prefix, part, depth = stack.pop()
        attributes = getattr(part, "__dict__", {})
        modules = attributes.get("_modules")
        if not isinstance(modules, Mapping) or depth > 4 * MAX_DEPTH:
            continue
        for kind in ("_parameters", "_buffers"):
            values = attributes.get(kind)
            if isinstance(values, Mapping):
                tensors |= {f"{prefix}{n}": v for n, v in values.items() if is_tensor(v)}
        stack += [(f"{prefix}{name}.", child, depth + 1) for name, child in modules.items()]
    return tensors


def clean(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors without the prefixes of DataParallel, torch.compile and averaged models."""
    names = {name: re.sub(r"(^|\.)_orig_mod(?=\.)", "", name).lstrip(".") for name in tensors}
    weights = [n for n in names if getattr(tensors[n], "ndim", 1) or n not in COUNTERS]
    while weights and all(names[n].startswith("module.") for n in weights):
        names |= {n: names[n].removeprefix("module.") for n in weights}
    return {names[n]: tensors[n] for n in weights}


def _split(whole: TensorSet) -> list[TensorSet]:
    """The set, or two if a module of averages is part of the model: `ema_model.module.conv1`."""
    averages: dict[str, dict[str, Any]] = {}
    rest: dict[str, Any] = {}
    for name, tensor in whole.tensors.items():
        parts = name.split(".")
        index = next((i for i, part in enumerate(parts[:-1]) if AVERAGED.search(part)), None)
        if index is None:
            rest[name] = tensor
        else:
            prefix = ".".join(parts[: index + 1])
            averages.setdefault(prefix, {})[".".join(parts[index + 1 :])] = tensor
    sets = [
        TensorSet(f"{whole.key}.{prefix}".lstrip("."), clean(tensors), True)
        for prefix, tensors in averages.items()
        if any(getattr(tensor, "ndim", 1) for tensor in tensors.values())
    ]
    if not sets or not rest or not all(_alike(s.tensors, rest) for s in sets):
        return [whole]
    return [replace(whole, tensors=rest, averaged=False), *sets]


def _alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two sets have nearly the same names, apart from prefixes: one model twice."""
    small, large = sorted(([n.split(".") for n in a], [n.split(".") for n in b]), key=len)
    ends = {tuple(parts[i:]) for parts in large for i in range(len(parts))}
    most = max(sum(tuple(parts[k:]) in ends for parts in small if parts[k:]) for k in range(4))
    return 2 * len(small) > len(large) and most > 0.7 * len(small)


def _corrected(sets: Sequence[TensorSet], tree: Any) -> list[TensorSet]:
    """Two trainers store averages under the key of the weights and keep the last step elsewhere.

    MMEngine's EMAHook exchanges the two sets when it saves (`_swap_ema_state_dict`, 0.10), and
    Lightning's WeightAveraging moves the last step to `current_model_state` (2.6).
    """
    keys = tree.keys() if isinstance(tree, Mapping) else set()
    if {"state_dict", "ema_state_dict", "message_hub"} <= keys:
        averaged = {"state_dict": True, "ema_state_dict": False}
    elif {"state_dict", "current_model_state"} <= keys:
        averaged = {"state_dict": True, "current_model_state": False}
    else:
        return list(sets)
    return [replace(s, averaged=averaged.get(s.key, s.averaged)) for s in sets]


def _of_one_model(sets: Sequence[TensorSet], tree: Any, is_tensor: IsTensor) -> list[TensorSet]:
    """The largest set and those like it; all tensors as one set if no mapping holds most of them.

    The latter is a state_dict as a tree, or one for each part of the model.
    """
    if not sets:
        return []
    largest = max(sets, key=lambda s: len(s.tensors))
    group = [s for s in sets if s is largest or _alike(s.tensors, largest.tensors)]
    if 2 * sum(len(s.tensors) for s in group) >= sum(len(s.tensors) for s in sets):
        return group
    joined = {
        f"{s.key}.{name}".lstrip("."): tensor for s in sets for name, tensor in s.tensors.items()
    }
    return _split(TensorSet("", clean(joined), False))
