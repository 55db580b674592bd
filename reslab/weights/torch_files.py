"""Read the files of PyTorch without running code.

PyTorch's weights-only unpickler builds tensors and plain containers. Everything else in a file
(argparse.Namespace, configurations, whole modules) becomes an inert `Placeholder`: no name in a
file is ever imported or called.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core import limits
from reslab.core.errors import UserError
from reslab.weights import containers

MAX_KINDS = 200  # kinds of objects besides tensors in one file


class Placeholder:
    """Stands for an object of any class in a file; it keeps the attributes and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update({str(name): value for name, value in state.items()})


class _Mapping:
    """Stands for a class of dictionaries."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


class _List:
    """Stands for a class of lists."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return []


def require() -> Any:
    """PyTorch. Raises UserError if it is missing, or too old to be safe."""
    try:
        import torch
    except ImportError:
        raise UserError('.pth files need PyTorch: pip install "reslab[torch]"') from None
    if tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2]) < (2, 6):
        raise UserError(
            ".pth files need PyTorch 2.6 or newer: in older versions a weight file can run code "
            "(CVE-2025-32434)"
        )
    return torch


def read(path: Path, ema: bool = True) -> tuple[dict[str, np.ndarray], str]:
    """The weights in a file of PyTorch, and a remark on other weights in it."""
    torch = require()
    tree = load(path)
    selection = containers.select(tree, lambda x: isinstance(x, torch.Tensor), str(path), ema)
    size = sum(4 * x.numel() for x in selection.tensors.values())
    limits.check_unpacked(path, size)
    arrays = {name: to_numpy(f"{path}: {name}", x) for name, x in selection.tensors.items()}
    return arrays, selection.remark


def load(path: Path) -> Any:
    """What a file of PyTorch holds, with placeholders for all but tensors and containers."""
    torch = require()
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                limits.check_archive(path, archive)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise _unreadable(path, []) from None
    placeholders: dict[str, Any] = {}
    with suppress(Exception):  # it knows only the newer format; the older names one at a time
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        placeholders = {name: _placeholder(name) for name in names[:MAX_KINDS]}
    for _ in range(MAX_KINDS):
        known = [(kind, name) for name, kind in placeholders.items()]
        try:
            with torch.serialization.safe_globals(known), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about old kinds of tensors
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # of many classes, with messages that advise to disable safety
            unknown = re.search(r"Unsupported global: GLOBAL (\S+) was not", str(error))
            name = unknown[1] if unknown else ""
            name = name if "." in name else f"builtins.{name}"  # the message leaves it out
            if unknown is None or name in placeholders:
                raise _unreadable(path, list(placeholders)) from None
            placeholders[name] = _placeholder(name)
    raise _unreadable(path, list(placeholders))


def _placeholder(name: str) -> Any:
    base: Any = Placeholder
    if re.search(r"(dict|mapping|counter)$", name, re.IGNORECASE):
        base = _Mapping
    elif re.search(r"(list|deque)$", name, re.IGNORECASE):
        base = _List
    return type(re.sub(r"\W", "_", name), (base,), {})


def _unreadable(path: Path, kinds: list[str]) -> UserError:
    if not kinds:
        return UserError(
            f"{path} is damaged, or is no file of torch.save: save the model's state_dict() with "
            "torch.save, or use safetensors"
        )
    more = f" and {len(kinds) - 3} more" if len(kinds) > 3 else ""
    return UserError(
        f"{path} contains more than weights, which could run code: {', '.join(kinds[:3])}{more}; "
        "it is not loaded: where it was made, save only the model's state_dict()"
    )


def to_numpy(name: str, tensor: Any) -> np.ndarray:
    """The tensor as an array, floats as float32. Raises UserError if that cannot be exact."""
    torch = require()
    tensor = tensor.detach()
    if tensor.is_meta:
        raise UserError(f"{name} has a shape but no values (device meta): save the loaded model")
    if tensor.is_complex():
        raise UserError(f"{name} has complex numbers ({tensor.dtype}): networks have real weights")
    try:
        if tensor.is_quantized:
            tensor = tensor.dequantize()
        if tensor.layout is not torch.strided:
            tensor = tensor.to_dense()
        if tensor.dtype == torch.float64:
            single = tensor.float()
            if bool(torch.isinf(single).any()) and not bool(torch.isinf(tensor).any()):
                raise UserError(f"{name} has numbers that float32 cannot represent")
        tensor = tensor.resolve_neg()
        return tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
    except (RuntimeError, TypeError, NotImplementedError, MemoryError) as error:
        text = str(error).split("\n")[0].split(". ")[0]
        raise UserError(f"{name} cannot be read as an array ({tensor.dtype}): {text}") from None
