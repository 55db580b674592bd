"""The machine that a run records."""

from __future__ import annotations

from pathlib import Path

import pytest

from reslab.core import environment


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx avx2 fma\n", "AMD EPYC, AVX2"),
        ("model name\t: Xeon\nflags\t\t: avx avx2 avx512f avx512bw\n", "Xeon, AVX-512"),
        ("model name\t: Atom: N270\nflags\t\t: sse ssse3\n", "Atom: N270"),
        ("model name\t: Arm\n", "Arm"),
    ],
)
def test_the_processor_and_its_vectors(
    lines: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\n" + lines + "\nprocessor\t: 1\n" + lines)
    monkeypatch.setattr(environment, "CPUINFO", path)
    assert environment.machine("torch")["cpu"] == name


def test_a_processor_without_cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "none")
    assert environment.machine("torch")["cpu"]
