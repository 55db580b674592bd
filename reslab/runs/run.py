"""The folder of a run: everything there is to know about one training.

    run.json             network, recipe, data, seed, versions, machine, status
    log.jsonl            what was measured, line by line
    checkpoints/         last.safetensors (to go on from), best.safetensors (to be judged)
    model.keras          whole: images of 0..255 in, probabilities out
    evaluation.json      the judgement of the test set
    report.html

Files are written beside their place and moved into it, so a half-written one never counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from reslab.core.errors import UserError
from reslab.core.files import write_json, writing
from reslab.spec import Network
from reslab.spec.serialize import decode_network

FORMAT = 1
KINDS: dict[str, type] = {  # of the entries of run.json that others rely on
    **dict.fromkeys(("network", "recipe", "data"), dict),
    **dict.fromkeys(("name", "backend", "status"), str),
    "seed": int,
}
LATER: dict[str, type] = {"machine": dict, "versions": dict}  # of what may be missing
DATA: dict[str, type] = {
    **dict.fromkeys(("name", "source", "checksum"), str),
    **dict.fromkeys(("classes", "image_shape"), list),
    **dict.fromkeys(("counts", "facts", "provenance"), dict),
}
JUDGEMENT: dict[str, type] = {
    **dict.fromkeys(("n",), int),
    **dict.fromkeys(("top1_error", "calibration"), dict),
    **dict.fromkeys(("per_class", "confusion", "confused", "classes"), list),
}
LINE: dict[str, type] = {"epoch": int, "step": int}  # of log.jsonl, where its kind is "epoch"


class Run:
    """A run on disk. `info` is run.json; `log()` are the measured lines."""

    def __init__(self, path: str | Path, info: dict[str, Any]) -> None:
        self.path = Path(path)
        self.info = info

    @classmethod
    def create(cls, path: str | Path, info: Mapping[str, Any]) -> Run:
        """A new folder; raises UserError if there is something at `path` already."""
        run = cls(path, json.loads(json.dumps({"format": FORMAT, **info})))
        with writing(run.path, "choose another --out"):
            missing = [parent for parent in run.path.parents if not parent.exists()]
            try:
                run.path.mkdir(parents=True)
            except FileExistsError:
                raise UserError(
                    f"{run.path} exists already: choose another --out, or go on with "
                    f"`reslab train --resume {run.path}`"
                ) from None
            except OSError:  # its name may be too long, and its parents be made by now
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
        """Leave no folder behind where the training cannot begin."""
        try:
            yield
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run in a folder; raises UserError if there is none."""
        file = Path(path) / "run.json"
        try:
            info = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path} is no run: there is no {file}") from None
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror or error}") from None
        except ValueError as error:
            raise UserError(f"{file} is damaged: {error}") from None
        if not isinstance(info, dict) or info.get("format") != FORMAT:
            raise UserError(f"{file} was not written by this version of reslab")
        given = {name: kind for name, kind in LATER.items() if name in info}
        _sound(file, info, KINDS | given)
        _sound(file, info["data"], DATA)
        return cls(path, info)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.info.get('status', 'empty')})"

    @property
    def name(self) -> str:
        return str(self.info["name"])

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model_path(self) -> Path:
        return self.path / "model.keras"

    @cached_property
    def network(self) -> Network:
        return decode_network(self.info["network"])

    def digest(self) -> str:
        """12 hex digits of the sha256 of the judged model's file, else of the best checkpoint's or
        the last one's: a run that was trained further is another one to look at. Raises UserError
        before there are weights."""
        best, last = (self.checkpoints / f"{name}.safetensors" for name in ("best", "last"))
        for path in (self.model_path, best, last):
            if path.exists():
                with path.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()[:12]
        raise UserError(f"{self.path} has no weights yet: train it with `reslab train --resume`")

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """The judgement of the test set; None before there is one. UserError where damaged."""
        file = self.path / "evaluation.json"
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UserError(f"{file} is damaged: {error}; `reslab evaluate` replaces it") from None
        if not isinstance(found, dict):
            raise UserError(f"{file} is damaged: `reslab evaluate` replaces it")
        _sound(file, found, JUDGEMENT)
        return found

    def save(self, **changes: Any) -> None:
        """Write run.json with these entries changed."""
        self.info.update(changes)
        write_json(self.path / "run.json", self.info)

    def log(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The lines of log.jsonl, of one kind ("steps", "epoch", "note") or all of them."""
        try:
            text = (self.path / "log.jsonl").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        lines = []
        for number, written in enumerate(text.splitlines(keepends=True), 1):
            if not written.endswith("\n"):
                break  # torn off by a kill
            try:
                line = json.loads(written)
                if line["kind"] == "epoch" and not all(
                    isinstance(line[name], wanted) for name, wanted in LINE.items()
                ):
                    raise ValueError
                if kind in (None, line["kind"]):
                    lines.append(line)
            except (ValueError, KeyError, TypeError):
                where = f"line {number} of {self.path / 'log.jsonl'}"
                raise UserError(f"{where} is damaged: remove it to go on without") from None
        return lines

    def append(self, **line: Any) -> None:
        with writing(self.path), (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    @property
    def log_bytes(self) -> int:
        file = self.path / "log.jsonl"
        return file.stat().st_size if file.exists() else 0

    def cut_log(self, size: int) -> None:
        """Forget what was logged after a checkpoint that is gone back to."""
        if (self.path / "log.jsonl").exists():
            os.truncate(self.path / "log.jsonl", size)


def _sound(file: Path, entries: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    for name, kind in kinds.items():
        if name not in entries:
            raise UserError(f"{file} is damaged: it has no {name!r}")
        if not isinstance(entries[name], kind):
            raise UserError(f"{file} is damaged: {name!r} is no {kind.__name__}")
