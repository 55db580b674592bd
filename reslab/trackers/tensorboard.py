"""TensorBoard: event files in the folder `tensorboard` of the run, by tensorboardX.

A row is one event with several values, so it is in the file as a whole or not at all. What the
files hold is read when a run is continued. Old files stay as they are: a process that was killed
may have left an unfinished event at the end of one, and readers stop there.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from reslab.runs.run import Run
from reslab.trackers.base import Connection
from reslab.trackers.rows import START, Row, configuration, flat, position_of, results

MOST_EVENT = 2**24  # bytes
END = "_hparams_/session_end_info"
TEXT = "/text_summary"  # tensorboardX adds it to the names of texts


class TensorBoard(Connection):
    """The event files of a run."""

    def __init__(self, run: Run) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        self.run = run
        folder = run.path / "tensorboard"
        folder.mkdir(exist_ok=True)
        self.place = str(folder)
        tags: set[str] = set()
        self.position = START
        for event in _events(folder):
            values = event.summary.value
            tags |= {value.tag for value in values}
            row = [value.tag for value in values if value.WhichOneof("value") == "simple_value"]
            self.position = max(self.position, position_of(event.step, row))
        self.tags = tags
        self.writer = EventsWriter(str(folder / "events"), _suffix(folder))
        self._write_configuration()

    def send(self, rows: Sequence[Row]) -> None:
        from tensorboardX.summary import Summary

        for row in rows:
            values = [
                Summary.Value(tag=name, simple_value=value) for name, value in row.values.items()
            ]
            self._write(Summary(value=values), row.step)
        self.writer.flush()

    def close(self, status: str, report: Path | None) -> None:
        from tensorboardX.summary import hparams

        if status != "running" and END not in self.tags:
            _, _, end = hparams({}, {})
            self._write(end)
        if report is not None and f"report{TEXT}" not in self.tags:
            self._write(_text("report", f"`{report}`\n\n{_table(_result_lines(self.run))}"))
        self.writer.close()

    def _write_configuration(self) -> None:
        from tensorboardX.summary import hparams

        if f"configuration{TEXT}" in self.tags:
            return
        entries = flat(configuration(self.run))
        self._write(_text("configuration", _table(entries)))
        choices = {k: v for k, v in entries.items() if k.startswith(("recipe/", "network/"))}
        choices |= {k: v for k, v in entries.items() if k in ("data/name", "options/seed")}
        experiment, start, _ = hparams(choices, {"epoch/val_error": 0, "test/top1_error": 0})
        self._write(experiment)
        self._write(start)
        self.writer.flush()

    def _write(self, summary: Any, step: int = 0) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self.writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))


connect = TensorBoard


def _suffix(folder: Path) -> str:
    """Of the next file: two processes may start within the second that is in the names."""
    names = {path.name.rpartition(".")[2] for path in folder.glob("events.*")}
    return next(f".{number}" for number in count() if str(number) not in names)


def _text(tag: str, markdown: str) -> Any:
    from tensorboardX import summary

    return summary.text(tag, markdown)


def _table(entries: dict[str, str | float]) -> str:
    def cell(value: object) -> str:
        return " ".join(str(value).split()).replace("|", "\\|")

    rows = [f"| {cell(name)} | {cell(value)} |" for name, value in entries.items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def _result_lines(run: Run) -> dict[str, str | float]:
    row = results(run, 0)
    return {name: f"{value:.6g}" for name, value in row.values.items()} if row else {}


def _events(folder: Path) -> Iterator[Any]:
    """The events of all files, each up to the first that is unfinished."""
    from google.protobuf.message import DecodeError
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob("events.out.tfevents.*")):
        with path.open("rb") as file:
            while len(header := file.read(12)) == 12:
                (size,) = struct.unpack("<Q", header[:8])
                if size > MOST_EVENT or len(content := file.read(size)) < size:
                    break
                if len(file.read(4)) < 4:  # the checksum
                    break
                try:
                    yield Event.FromString(content)
                except DecodeError:
                    break
