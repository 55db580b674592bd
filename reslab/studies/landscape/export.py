"""Files for other programs: HDF5 with all numbers, VTK and PLY with a surface as a mesh."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core.files import write
from reslab.plots.scales import log10
from reslab.studies.folder import RESUME_HINT
from reslab.studies.landscape.results import Surface


def hdf5(path: Path, study: dict[str, Any], groups: Iterable[tuple[str, dict[str, Any]]]) -> Path:
    """Write (name, contents) groups of arrays and attributes; the settings are file attributes.

    Losses are indexed [i] or [i, j], for a[i] and b[j]; infinite where they are not finite.
    """

    def fill(temp: Path) -> None:
        import h5py

        with h5py.File(temp, "w") as file:
            file.attrs.update({k: str(v) for k, v in study.items()})
            for name, contents in groups:
                group = file.create_group(name)
                for key, value in contents.items():
                    if isinstance(value, np.ndarray):
                        group[key] = value
                    else:
                        group.attrs[key] = value

    write(path, fill, RESUME_HINT)
    return path


def vtk(path: Path, s: Surface) -> Path:
    """Write a structured grid (legacy VTK, ASCII): points (a, b, log10 loss), loss and error."""
    n = len(s.a)
    head = ["# vtk DataFile Version 3.0", "log10 of the loss around trained weights", "ASCII"]
    head += ["DATASET STRUCTURED_GRID", f"DIMENSIONS {n} {n} 1", f"POINTS {n * n} float"]
    data = [f"POINT_DATA {n * n}"]
    for name, values in (("loss", s.loss), ("error", s.error)):
        data += [f"SCALARS {name} float 1", "LOOKUP_TABLE default"]
        data += [f"{v:.9g}" for v in _finite(values).T.ravel()]
    return _text(path, [*head, *_points(s), *data])


def ply(path: Path, s: Surface) -> Path:
    """Write a mesh (ASCII), two triangles per cell: vertices (a, b, log10 loss), with the loss."""
    n = len(s.a)
    corner = np.arange(n * n).reshape(n, n)
    faces = [
        f"3 {p} {q} {r}"
        for a, b, c, d in zip(
            *(part.ravel() for part in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1])),
            corner[1:, 1:].ravel(),
            strict=True,
        )
        for p, q, r in ((a, b, d), (a, d, c))
    ]
    head = ["ply", "format ascii 1.0", f"element vertex {n * n}"]
    head += [f"property float {name}" for name in ("x", "y", "z", "loss")]
    head += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    losses = _finite(s.loss).T.ravel()
    points = [f"{point} {v:.9g}" for point, v in zip(_points(s), losses, strict=True)]
    return _text(path, [*head, *points, *faces])


def _points(s: Surface) -> Iterator[str]:
    """The first direction varies fastest. A loss that is not finite becomes the highest that is."""
    z = log10(_finite(s.loss))
    for j, b in enumerate(s.a):
        for i, a in enumerate(s.a):
            yield f"{a:.9g} {b:.9g} {z[i, j]:.9g}"


def _finite(values: np.ndarray) -> np.ndarray:
    most = values[np.isfinite(values)].max(initial=0.0)
    return np.where(np.isfinite(values), values, most)


def _text(path: Path, lines: Iterable[str]) -> Path:
    text = "\n".join(lines) + "\n"
    write(path, lambda temp: temp.write_text(text, encoding="ascii"), RESUME_HINT)
    return path
