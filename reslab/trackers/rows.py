"""What a tracker gets of a run: the rows of its log, its configuration and its evaluation."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple, TypedDict

from msgspec import Meta

from reslab.core import records
from reslab.core.files import write_json
from reslab.runs.records import LOG_LINES
from reslab.runs.run import Run

KINDS = "steps", "epoch", "results"  # in the order of rows of one step
FILE = "trackers.json"
FORMAT = 1
NOT_VALUES = "kind", "step", "epoch"
NOT_RESULTS = "n", "readings"


class Position(NamedTuple):
    """A row's place among those of its run: the step, and then the kind."""

    step: int
    kind: int


START = Position(-1, 0)


class TrackersRecord(TypedDict):
    """trackers.json."""

    format: int
    id: Annotated[str, Meta(pattern="^[0-9a-f]{12}$")]


class Row(NamedTuple):
    """Values that belong to one step, by their names, such as "epoch/val_error".

    Attributes:
        step: Counted in steps of the batch with which the run began, so that it always increases.
        kind: One of `KINDS`; the first part of the names, except for results.
        values: Also has "epoch", a fraction for the kind "steps".
    """

    step: int
    kind: str
    values: Mapping[str, float]

    @property
    def position(self) -> Position:
        return Position(self.step, KINDS.index(self.kind))


class LogTail:
    """Reads the rows of log.jsonl, also while it grows."""

    def __init__(self, run: Run) -> None:
        self.file = run.path / "log.jsonl"
        self.offset = 0
        self.per_epoch = _steps_per_epoch(run)

    def read(self) -> Iterator[Row]:
        """The rows that were added since the last call. An unfinished line comes later."""
        try:
            with self.file.open("rb") as file:
                file.seek(self.offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self.offset += len(line)
                    if row := self._row(line):
                        yield row
        except FileNotFoundError:
            return

    def _row(self, content: bytes) -> Row | None:
        try:
            line = records.parse(content)
            if not isinstance(line, dict) or (kind := line.get("kind")) not in ("steps", "epoch"):
                return None
            records.check(line, LOG_LINES[kind])
        except records.Damaged:  # other readers say so
            return None
        values = {f"{kind}/{name}": value for name, value in line.items() if name not in NOT_VALUES}
        step = line["step"] if self.per_epoch is None else round(line["epoch"] * self.per_epoch)
        return Row(step, kind, numbers({**values, "epoch": line["epoch"]}))


def _steps_per_epoch(run: Run) -> int | None:
    """Of the batch with which the run began; None if the run still has it."""
    if run.first_batch == int(run.info["recipe"]["batch"]):
        return None
    images = run.info["data"]["counts"]["train"]
    return max(1, images // min(run.first_batch, images))


def results(run: Run, step: int) -> Row | None:
    """The evaluation of a run as its last row: "test/top1_error", and the ends of its interval."""
    evaluation = run.evaluation
    if evaluation is None:
        return None
    part = evaluation.get("split", "test")
    values: dict[str, Any] = {}
    for name, value in evaluation.items():
        if isinstance(value, dict) and "value" in value:
            values[name] = value["value"]
            values |= {f"{name}_{end}": value.get(end) for end in ("low", "high")}
        elif name not in NOT_RESULTS:
            values[name] = value
    values["ece"] = evaluation.get("calibration", {}).get("ece")
    values["images"] = evaluation["n"]
    if run.info.get("chosen_epoch") is not None:
        values["chosen_epoch"] = run.info["chosen_epoch"]
    return Row(step, "results", numbers({f"{part}/{name}": v for name, v in values.items()}))


def kind_of(name: str) -> int | None:
    """The kind of the rows that have a value of this name; None if several have one."""
    prefix, slash, _ = name.partition("/")
    return KINDS.index(prefix if prefix in KINDS else "results") if slash else None


def position_of(step: int, names: Iterable[str]) -> Position:
    """The position of a row with values of these names; `START` if they are not of a row."""
    kinds = [kind for name in names if (kind := kind_of(name)) is not None]
    return Position(step, max(kinds)) if kinds else START


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those of the values that are numbers."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def configuration(run: Run) -> dict[str, Any]:
    """What was trained and how, in levels: recipe, network, data, options, versions, machine."""
    info, data = run.info, run.info["data"]
    names = "seed", "precision", "backend", "balance", "freeze_bn", "commit", "command", "started"
    weights = info.get("weights") or {}
    return {
        "recipe": info["recipe"],
        "network": {
            "name": run.network.name,
            "parameters": info.get("params"),
            "multiply_adds": info.get("multiply_adds"),
        },
        "data": {
            "name": data["name"],
            "checksum": data["checksum"],
            "classes": len(data["classes"]),
            "image_shape": "x".join(map(str, data["image_shape"])),
            **{f"{part}_images": count for part, count in data["counts"].items()},
        },
        "options": {name: info.get(name) for name in names} | {"weights": weights.get("source")},
        "versions": info.get("versions", {}),
        "machine": info.get("machine", {}),
    }


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str | float]:
    """A configuration in one level: "recipe/rate". Lists become text, and None is left out."""
    entries: dict[str, str | float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            entries |= flat(value, f"{prefix}{name}/")
        elif isinstance(value, str | bool | int):
            entries[f"{prefix}{name}"] = value
        elif isinstance(value, float):
            entries[f"{prefix}{name}"] = value if math.isfinite(value) else str(value)
        elif value is not None:
            entries[f"{prefix}{name}"] = ", ".join(map(str, value)) or "none"
    return entries


def identity(run: Run) -> str:
    """12 hex digits by which trackers know the run. They are made once, and stay in its folder."""
    file = run.path / FILE
    if not file.exists():
        record = {"format": FORMAT, "id": secrets.token_hex(6)}
        write_json(file, record, "trackers need it to know the run again")
    return str(records.read_record(file, "tracked run", FORMAT, TrackersRecord)["id"])
