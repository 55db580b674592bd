"""How and where results are made: command, versions, commit, machine (standard library only)."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from reslab.core.errors import UserError

PACKAGES = (
    "reslab",
    "keras",
    "torch",
    "jax",
    "tensorflow",
    "tensorflow-cpu",
    "openvino",
    "onnxruntime",
    "onnx",
    "numpy",
    "pillow",
    "grain",
)

CPUINFO = Path("/proc/cpuinfo")
VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}


def command() -> str | None:
    """The command line of this process, if it is `reslab ...` or `python -m reslab ...`."""
    program = Path(sys.argv[0])
    if program.stem == "reslab" or program.parts[-2:] == ("reslab", "__main__.py"):
        return shlex.join(["reslab", *sys.argv[1:]])
    return None


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that affect results."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def commit() -> str | None:
    """The commit of the checkout that reslab runs from; None outside a checkout.

    It ends in "+" if files have changed since the commit.
    """
    here = Path(__file__).parent
    try:
        head = _git("rev-parse", "HEAD", at=here)
        return head + ("+" if _git("status", "--porcelain", "--", ".", at=here) else "")
    except (OSError, subprocess.SubprocessError):
        return None


def machine(backend: str) -> dict[str, Any]:
    """Processor, cores that this process may use, memory in GiB, GPU and operating system."""
    pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    size = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": round(pages * size / 2**30, 1),
        "gpu": _gpu(backend),
        "os": f"{platform.system()} {platform.release()}",
    }


def check_clock() -> None:
    """Raise UserError if the clock is before 1980, where the dates of zip files begin.

    Model files are zip files. A board without a battery starts in 1970.
    """
    year = time.localtime().tm_year
    if year < 1980:
        raise UserError(f"the clock of this machine is in {year}: set it to the time of today")


def _git(*arguments: str, at: Path) -> str:
    process = subprocess.run(
        ["git", *arguments], cwd=at, capture_output=True, encoding="utf-8", check=True, timeout=10
    )
    return process.stdout.strip()


def _cpu() -> str:
    """The name of the processor and its widest vector instructions.

    The name alone is ambiguous: clouds call several generations "AMD EPYC".
    """
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    fields = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    name = fields.get("model name") or platform.processor() or platform.machine()
    flags = fields.get("flags", "").split()
    vectors = next((name for flag, name in VECTORS.items() if flag in flags), None)
    return f"{name}, {vectors}" if vectors else name


def _gpu(backend: str) -> str | None:
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        return device.device_kind if device.platform != "cpu" else None
    import tensorflow as tf

    names = [gpu.name for gpu in tf.config.list_physical_devices("GPU")]
    return ", ".join(names) or None
