"""The folder of a run: everything about one training.

    run.json             network, recipe, data, seed, versions, machine, status
    log.jsonl            what was measured, line by line
    checkpoints/         last.safetensors (to resume), best.safetensors (the chosen epoch)
    model.keras          whole: images of 0..255 in, probabilities out
    evaluation.json      the evaluation on the test set
    training-images.safetensors  digests of the images that it and its ancestors were trained on
    suspects.json        training and validation images whose labels may be wrong
    report.html

Files are written under another name and then renamed, so a file is complete or not there.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from reslab.core import locks, records
from reslab.core.errors import UserError
from reslab.core.files import (
    RUN_FILE,
    remove_unfinished,
    write,
    write_json,
    writing,
)
from reslab.core.paths import regular
from reslab.runs.evaluation_records import EVALUATIONS, Evaluation, Suspects, problem_of
from reslab.runs.records import LOG_LINES, LogLine, RunInfo
from reslab.spec import Network
from reslab.spec.serialize import decode_network

FORMAT = 1
MOST_LOG = 64 * 2**20  # bytes of log.jsonl: 20 million steps, and 1 GiB in memory


class Run:
    """A run on disk: the folder that `reslab.train` writes.

    Attributes:
        path: The folder.
        info: The content of run.json: network, recipe, data, seed, versions, machine, status.
    """

    def __init__(self, path: str | Path, info: dict[str, Any]) -> None:
        self.path = Path(path)
        self.info = info

    @classmethod
    def create(cls, path: str | Path, info: Mapping[str, Any]) -> Run:
        """Create a folder; raises UserError if there is something at `path` already."""
        run = cls(path, json.loads(json.dumps({"format": FORMAT, **info})))
        with writing(run.path, "choose another --out"):
            missing = [parent for parent in run.path.parents if not parent.exists()]
            try:
                run.path.mkdir(parents=True)
            except FileExistsError:
                raise UserError(
                    f"{run.path} exists already: choose another --out, or resume it with "
                    f"`reslab train --resume {run.path}`"
                ) from None
            except OSError:  # the name may be too long; its parents have been created by now
                for parent in missing:
                    with suppress(OSError):
                        parent.rmdir()
                raise
        with run.or_nothing():
            run.checkpoints.mkdir()
            run.save()
        return run

    @contextmanager
    def or_nothing(self) -> Iterator[None]:
        """Remove the folder if the training cannot begin."""
        try:
            yield
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open the run in a folder.

        Args:
            path: The run's folder.

        Returns:
            The run.

        Raises:
            UserError: There is no run, or its run.json is damaged.
        """
        file = Path(path) / RUN_FILE
        return cls(path, records.read_record(file, "run", FORMAT, RunInfo))

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.info.get('status', 'empty')})"

    def _repr_html_(self) -> str:
        """The result of the run and its report, as a notebook shows them."""
        from reslab.runs.display import run_html

        return run_html(self)

    @property
    def name(self) -> str:
        """The name of the folder when the run was made."""
        return str(self.info["name"])

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model_path(self) -> Path:
        """The whole model, which `reslab.load` and plain Keras open; missing before the end."""
        return self.path / "model.keras"

    def trained_model(self) -> Path:
        """The whole model. Raises UserError if the training is not finished."""
        if not self.model_path.exists():
            raise UserError(
                f"{self.path} has no model yet: finish it with `reslab train --resume {self.path}`"
            )
        return self.model_path

    @cached_property
    def network(self) -> Network:
        """The description of the network."""
        return decode_network(self.info["network"])

    @property
    def first_batch(self) -> int:
        """The batch with which the training began; a resumed one may have another."""
        for change in self.info.get("resumed_with", []):
            if "before" in change:
                return int(change["before"]["batch"])
        return int(self.info["recipe"]["batch"])

    def digest(self) -> str:
        """12 hex digits that identify the weights: the sha256 of the model file, else of the best
        or the last checkpoint. They change when the run is trained further. UserError before there
        are weights."""
        best, last = (self.checkpoints / f"{name}.safetensors" for name in ("best", "last"))
        for path in (self.model_path, best, last):
            if path.exists():
                with path.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()[:12]
        raise UserError(
            f"{self.path} has no weights yet: train it with `reslab train --resume {self.path}`"
        )

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """The evaluation on the test set; None before there is one. UserError if it is damaged."""
        then = f"`reslab evaluate {self.path}` replaces it"
        task = str(self.info.get("task", "classification"))
        stored = self._stored("evaluation.json", EVALUATIONS.get(task, Evaluation), then)
        if stored and task in EVALUATIONS and (problem := problem_of(stored)):
            raise UserError(f"{self.path / 'evaluation.json'} is damaged: {problem}; {then}")
        return stored

    @property
    def suspects(self) -> dict[str, Any] | None:
        """Images whose labels may be wrong, see `reslab.evaluation.suspects`; None before the end,
        and for runs of older versions. UserError if the file is damaged."""
        return self._stored("suspects.json", Suspects, "delete it to continue without it")

    def _stored(self, name: str, record: Any, then: str) -> dict[str, Any] | None:
        try:
            stored: dict[str, Any] = records.read_json(self.path / name, record, then)
        except FileNotFoundError:
            return None
        return stored

    def save(self, **changes: Any) -> None:
        """Write run.json with these entries changed."""
        self.info.update(changes)
        write_json(self.path / RUN_FILE, self.info)

    def log(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Read log.jsonl.

        Args:
            kind: "steps", "epoch" or "note"; None for all lines.

        Returns:
            The lines in their order, each a dictionary. An unfinished last line is left out.

        Raises:
            UserError: A line is damaged.
        """
        file = self.path / "log.jsonl"
        try:
            if (size := regular(file).stat().st_size) > MOST_LOG:
                raise UserError(f"{file} has {size:,} bytes; {MOST_LOG:,} are the most")
            content = file.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror or error}") from None
        lines = []
        for number, row in enumerate(content.split(b"\n")[:-1], 1):  # the last one is unfinished
            try:
                line = records.parse(row)
                records.check(line, LogLine)
                records.check(line, LOG_LINES.get(line["kind"], LogLine))
            except records.Damaged as error:
                raise UserError(
                    f"line {number} of {file} is damaged: {error}; remove it to continue without it"
                ) from None
            if kind in (None, line["kind"]):
                lines.append(line)
        return lines

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Lock the folder while it is written; raises UserError if another process has it.

        Unfinished files of processes that were killed are removed.
        """
        with locks.only_writer(self.path, "wait for it"):
            for folder in (self.path, self.checkpoints):
                remove_unfinished(folder)
            yield

    def append(self, **line: Any) -> None:
        """Append a line to log.jsonl."""
        with writing(self.path), (self.path / "log.jsonl").open("ab") as file:
            file.write(f"{json.dumps(line)}\n".encode())

    @property
    def log_bytes(self) -> int:
        file = self.path / "log.jsonl"
        return file.stat().st_size if file.exists() else 0

    def sync_log(self) -> None:
        """Wait until the log is on the disk: a checkpoint that counts its bytes is written then."""
        file = self.path / "log.jsonl"
        if file.exists():
            with writing(self.path), file.open("r+b") as log:  # Windows syncs what can be written
                os.fsync(log.fileno())

    def cut_log(self, size: int, step: float = math.inf) -> None:
        """Remove what was logged after a checkpoint: the training goes on from there.

        Args:
            size: The bytes of the log when the checkpoint was written. The file may be shorter:
                someone removed a damaged line.
            step: The step of the checkpoint.
        """
        file = self.path / "log.jsonl"
        if not file.exists():
            return
        content = file.read_bytes()
        kept = b"".join(
            row
            for row in content[:size].splitlines(keepends=True)
            if row.endswith(b"\n") and _logged_step(row) <= step
        )
        if kept != content:
            write(file, lambda temp: temp.write_bytes(kept))


def _logged_step(row: bytes) -> int:
    """The step of a line of the log; 0 for notes, and for damaged lines, which readers refuse."""
    try:
        return int(records.parse(row)["step"])
    except (ValueError, KeyError, TypeError):
        return 0


def trained_file(
    model: str | Path | Run, is_model: Callable[[Path], object] = lambda folder: False
) -> Path:
    """The file of a trained model: of a run, or the file itself. One of the hub is downloaded.

    `is_model` says whether a folder without run.json is a model of another format.

    Raises UserError if there is no model.
    """
    from reslab.data.sources import hub

    if isinstance(model, Run):
        return model.trained_model()
    if hub.is_address(model):
        return hub.open_snapshot(model).file("model.keras")
    path = Path(model)
    if (path / RUN_FILE).exists():
        return Run.open(path).trained_model()
    if not path.exists():
        raise UserError(f"there is no run and no model file at {path}")
    if path.is_dir() and not is_model(path):
        raise UserError(f"{path} is not a run: there is no run.json in it")
    return path
