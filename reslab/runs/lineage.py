"""The training images of a run and of its ancestors, as digests in the run's folder.

An ancestor of a run is the run that its weights come from, and every ancestor of that run. A test
image that one of them was trained on is not unseen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from reslab.core.errors import UserError
from reslab.core.files import read_arrays, write_arrays
from reslab.runs.records import TrainedOn

FILE = "training-images.safetensors"


@dataclass(frozen=True, eq=False)
class Lineage:
    """Digests of training images, see `reslab.data.Split`.

    Attributes:
        trained: Images that the run itself was trained on: uint64 (n,).
        ancestors: Images that its ancestors were trained on: uint64 (m,).
        unknown: The ancestors whose training images are not known, by name.
    """

    trained: np.ndarray
    ancestors: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    unknown: tuple[str, ...] = ()

    @property
    def all(self) -> np.ndarray:
        return np.union1d(self.trained, self.ancestors)

    def write(self, run: Path) -> None:
        """Write them into the folder of a run."""
        arrays = {"trained": np.unique(self.trained), "ancestors": np.unique(self.ancestors)}
        write_arrays(run / FILE, arrays, {"unknown": list(self.unknown)})

    def child(self, trained: np.ndarray) -> Lineage:
        """The lineage of a run that starts from the weights of this one."""
        return Lineage(trained, self.all, self.unknown)


def read(run: Path) -> Lineage | None:
    """The lineage in the folder of a run; None if it is missing or damaged."""
    try:
        arrays, meta = read_arrays(run / FILE, TrainedOn)
        trained, ancestors = (arrays[name] for name in ("trained", "ancestors"))
        if any(each.dtype != np.uint64 or each.ndim != 1 for each in (trained, ancestors)):
            return None
        return Lineage(trained, ancestors, tuple(map(str, meta.get("unknown", ()))))
    except (UserError, KeyError):
        return None
