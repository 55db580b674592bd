"""Run mutants one after the other in this process, each within a time and a memory limit."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import tempfile
import traceback
import unicodedata
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from types import FrameType, TracebackType
from typing import Any, Self

from reslab.core.errors import UserError
from reslab.data.sources import glyphs
from tests.helpers.fuzz import fixtures, specials
from tests.helpers.fuzz.readers import Reader, readers

SECONDS = 10
SPECIALS = 0.06  # of the mutants are no files
MEMORY = 2**30  # bytes above what the process had before
CACHE = "RESLAB_CACHE"


class TooSlow(BaseException):
    """The time of a mutant is over."""


class Fuzzer:
    """Damages one file at a time and reads it.

    Args:
        seed: Of all mutants. A mutant depends on the seed and on its number alone.
        only: The name of the one reader whose file is damaged; all in turn by default.
    """

    def __init__(self, seed: int, only: str | None = None) -> None:
        self.seed = seed
        self.readers = [each for each in readers() if only in (None, each.name)]
        if not self.readers:
            raise SystemExit(f"no reader {only!r}; there are: {[e.name for e in readers()]}")
        self.outcomes: Counter[str] = Counter()
        self.traceback = ""
        self.base: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.root = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self.clean = self.root / "clean"
        self.clean.mkdir()
        self.cache = os.environ.get(CACHE)
        os.environ[CACHE] = str(self.root / "cache")
        fixtures.make(self.clean)
        shutil.copy(glyphs.MASKS, self.clean / "masks.npz")
        _write_index(self.clean)
        self.work = shutil.copytree(self.clean, self.root / "work")
        self.handler = signal.signal(signal.SIGALRM, _over)
        self.limit = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (_memory("VmData") + 4 * MEMORY, self.limit[1]))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGALRM, self.handler)
        resource.setrlimit(resource.RLIMIT_DATA, self.limit)
        if self.cache is None:
            os.environ.pop(CACHE)
        else:
            os.environ[CACHE] = self.cache
        shutil.rmtree(self.root)

    def run(self, number: int) -> str:
        """Read mutant `number`; returns what is wrong, or ""."""
        reader = self.readers[number % len(self.readers)]
        if reader.name not in self.base:
            self.base[reader.name] = reader.read(self.work)
        content = (self.clean / reader.file).read_bytes()
        rng = Random(f"{self.seed} {reader.name} {number}")
        path = self.work / reader.file
        if rng.random() < SPECIALS:
            specials.put(path, rng.choice(specials.KINDS))
        else:
            path.write_bytes(reader.damage(content, rng))
        outcome = self._read(reader)
        specials.remove(path)
        path.write_bytes(content)
        self.outcomes[outcome.partition(":")[0]] += 1
        if outcome in ("refused", "the same", "accepted"):
            return ""
        replay = f"scripts/fuzz {self.seed} {number + 1} --only {number}"
        if len(self.readers) == 1:
            replay += f" --reader {reader.name!r}"
        return f"WRONG {reader.name}, mutant {number}: {outcome} ({replay})"

    def _read(self, reader: Reader) -> str:
        before = _memory("VmRSS")
        _reset_peak()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                signal.setitimer(signal.ITIMER_REAL, SECONDS)
                result = reader.read(self.work)
            outcome = "the same" if result == self.base[reader.name] else "accepted"
        except UserError as error:
            text = str(error)
            odd = "" if _is_printable(text) else f"bad line: {text[:200]!a}"
            outcome = odd or "refused"
            self.traceback = traceback.format_exc()
        except TooSlow:
            outcome = f"slow: more than {SECONDS} s"
            self.traceback = traceback.format_exc()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            outcome = f"{type(error).__name__}: {ascii(str(error))[:150]}"
            self.traceback = traceback.format_exc()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        grown = _memory("VmHWM") - before
        return f"memory: {grown / 2**30:.2f} GiB" if grown > MEMORY else outcome

    def summary(self) -> str:
        return ", ".join(f"{n:,} {name}" for name, n in self.outcomes.most_common())


def _is_printable(text: str) -> bool:
    """Whether a terminal shows the text as one line; odd spaces, as in Japanese names, may be."""
    return all(c.isprintable() or unicodedata.category(c) == "Zs" for c in text)


def _over(number: int, frame: FrameType | None) -> None:
    raise TooSlow


def _write_index(clean: Path) -> None:
    """The index that `reslab.data.scan` writes for the folder of pictures."""
    from reslab.data import scan

    names = [path.relative_to(clean).as_posix() for path in (clean / "pictures").rglob("*.png")]
    scan.inspect(clean, sorted(names), clean / "cache")
    (index,) = (clean / "cache" / "folders").glob("*.json")
    shutil.copy(index, clean / "index.json")


def _memory(field: str) -> int:
    """A field of /proc/self/status in bytes; 0 where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next(int(x.split()[1]) * 1024 for x in lines.splitlines() if x.startswith(field))


def _reset_peak() -> None:
    """Let VmHWM start again from the memory that the process has now."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return
