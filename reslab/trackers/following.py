"""The side of the training: start a process for each tracker, pass on what it says, and end it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from reslab.core import records
from reslab.core.errors import UserError, one_line
from reslab.core.progress import Watch
from reslab.runs.run import Run
from reslab.trackers.base import by_name
from reslab.trackers.rows import identity

CODE = """
import sys
from reslab.trackers.child import main
main(*sys.argv[1:3], *map(float, sys.argv[3:]))
"""
PATIENCE = 60.0  # seconds that a finished training waits for its trackers
INTERRUPTED = 3.0  # seconds that an interrupted one waits; they go on without it
_LEFT: list[subprocess.Popen[bytes]] = []  # processes that go on; Python warns if it forgets them


class Follower:
    """A process that sends the log of a run to one tracker.

    Attributes:
        messages: What it said and nobody has read yet.
    """

    def __init__(self, name: str, path: Path, limit: float) -> None:
        self.name = name
        self.messages: deque[dict[str, Any]] = deque()
        self.failed = False
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (`close` closes it)
        places = [os.path.abspath(place) for place in sys.path]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", CODE, name, str(path), str(PATIENCE), str(limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with suppress(ValueError):
                self.messages.append(records.parse(line))

    def end(self) -> None:
        """Tell the process that the log is complete."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def wait(self, seconds: float | None) -> bool:
        """Wait until the process has ended; False if it goes on."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self.reader.join()
        if self.process.returncode != 0 and not any("failed" in m for m in self.messages):
            self.messages.append({"failed": self._last_words()})
        return True

    def _last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").strip().splitlines()
        return one_line(lines[-1] if lines else f"exit status {self.process.returncode}")

    def close(self) -> None:
        """Let go of the process."""
        self.end()
        if self.process.poll() is not None:
            self.reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()
        self.errors.close()


class Following:
    """The processes of a training that is tracked."""

    def __init__(self, run: Run, names: Sequence[str], watch: Watch) -> None:
        self.run, self.watch = run, watch
        self.followers: list[Follower] = []
        for name in names:
            try:
                if missing := by_name(name).missing:
                    raise UserError(missing)
                if not sys.executable:
                    raise UserError("this program has no Python that could be started")
                identity(run)
                self.followers.append(Follower(name, run.path, limit=2 * PATIENCE))
            except (UserError, OSError) as error:
                self._warn(name, str(error))

    def watched(self) -> Watch:
        """The watch, which also gets what the trackers say."""

        def step(done: float, text: str) -> None:
            self.poll()
            self.watch.step(done, text)

        return replace(self.watch, step=step)

    def poll(self) -> None:
        """Pass on what the trackers have said. A failure is told once."""
        for follower in self.followers:
            while follower.messages:
                message = follower.messages.popleft()
                if "place" in message:
                    self.watch.say(f"tracked by {follower.name}: {message['place']}")
                elif "failed" in message and not follower.failed:
                    follower.failed = True
                    self._warn(follower.name, message["failed"])

    def _warn(self, name: str, reason: str) -> None:
        text = (
            f"caution: {name} does not get this training: {reason}; "
            f"`reslab track {self.run.path} --to {name}` sends what is missing"
        )
        self.run.append(kind="note", text=text)
        self.watch.say(text)

    def finish(self, patience: float) -> None:
        """Wait for the last rows and the report; what takes longer is told, and stopped."""
        for follower in self.followers:
            follower.end()
        deadline = time.monotonic() + patience
        for follower in self.followers:
            if not follower.wait(max(0.0, deadline - time.monotonic())):
                follower.process.kill()
                follower.process.wait()
                text = f"no answer in {patience:.0f} seconds"
                follower.messages.append({"failed": text})
            self.poll()

    def leave(self, seconds: float) -> None:
        """Wait for a moment; then the processes end by themselves."""
        for follower in self.followers:
            follower.end()
        deadline = time.monotonic() + seconds
        for follower in self.followers:
            if not follower.wait(max(0.0, deadline - time.monotonic())):
                _LEFT.append(follower.process)

    def close(self) -> None:
        """Let go of all processes."""
        for follower in self.followers:
            follower.close()


@contextmanager
def following(run: Run, names: Sequence[str], watch: Watch) -> Iterator[Watch]:
    """Send a run to trackers inside of the block. Yields the watch for the training.

    Nothing that a tracker does raises an error here.
    """
    follow = Following(run, names, watch)
    try:
        yield follow.watched() if follow.followers else watch
    except BaseException:
        follow.leave(INTERRUPTED)
        raise
    else:
        follow.finish(PATIENCE)
    finally:
        follow.close()


def track(run: Run, name: str) -> dict[str, Any]:
    """Send what a tracker does not have of a run, in a process of its own.

    Returns:
        The `place` where the tracker keeps the run, and the number of rows `sent`.

    Raises:
        UserError: The tracker fails.
    """
    identity(run)
    follower = Follower(name, run.path, limit=0)
    try:
        follower.end()
        follower.wait(None)
        answer = {name: value for message in follower.messages for name, value in message.items()}
        if "failed" in answer:
            raise UserError(f"{name} does not get {run.path}: {answer['failed']}")
        return answer
    finally:
        if follower.process.poll() is None:  # interrupted
            follower.process.kill()
            follower.process.wait()
        follower.close()
