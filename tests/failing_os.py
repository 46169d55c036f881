"""Whatever the system can refuse, refused: the k-th write, open, fsync, rename, mkdir ... of a flow, for every k.

    attack(tmp_path, flow, before=put_old_data, kept=check_old_data, done=check_result)

What must hold each time: nothing but an error of ours comes out, it says why, the old data is whole, and the same
flow, run again, goes on to the same end. As SQLite is tested ("I/O error testing", "out-of-disk testing").
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deeptrace.errors import DeepTraceError
from tests.os_calls import Observer, OsCall, observed

Flow = Callable[[Path], object]


@dataclass(frozen=True)
class Refusal:
    """How the system refuses one kind of call: once, or from then on (a full disk stays full)."""

    kind: str
    number: int
    stays: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {errno.errorcode[self.number]}{' from then on' if self.stays else ''}"


EVERY_CALL = bool(os.environ.get("DEEPTRACE_EVERY_CALL"))
"""Whether every call of every flow is tried; else a few, for flows that take their time."""

REFUSALS = (
    Refusal("write", errno.ENOSPC, stays=True),
    Refusal("write", errno.EIO),
    Refusal("open", errno.EMFILE),
    Refusal("open", errno.EROFS, stays=True),
    Refusal("fsync", errno.EIO),
    Refusal("rename", errno.EROFS),
    Refusal("mkdir", errno.ENOSPC, stays=True),
    Refusal("truncate", errno.EIO),
    Refusal("remove", errno.EROFS, stays=True),
    Refusal("list", errno.EMFILE),
)

FEW = (
    REFUSALS
    if EVERY_CALL
    else (
        Refusal("write", errno.ENOSPC, stays=True),
        Refusal("open", errno.EMFILE),
        Refusal("fsync", errno.EIO),
        Refusal("rename", errno.EROFS),
        Refusal("mkdir", errno.ENOSPC, stays=True),
    )
)
"""Of each kind of call one refusal, for flows that take their time; all of them where every call is tried."""


class Refuser(Observer):
    """Lets the k-th call (from 1) of one kind fail. Of a write to a full disk, half of the bytes still go in."""

    def __init__(self, refusal: Refusal, k: int) -> None:
        self.refusal, self.k, self.seen = refusal, k, 0
        self.refused: OsCall | None = None

    def before(self, call: OsCall) -> int | None:
        if call.kind != self.refusal.kind or not _can_fail(call, self.refusal):
            return None
        self.seen += 1
        if self.seen < self.k or (self.seen > self.k and not self.refusal.stays):
            return None
        first, self.refused = self.refused is None, self.refused or call
        if first and self.refusal.number == errno.ENOSPC and len(call.data) > 1:
            return len(call.data) // 2
        raise OSError(self.refusal.number, os.strerror(self.refusal.number), call.path)


class Tally(Observer):
    """Counts the calls that each kind of refusal could refuse."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        self.counts = dict.fromkeys(refusals, 0)

    def before(self, call: OsCall) -> int | None:
        for refusal in self.counts:
            self.counts[refusal] += call.kind == refusal.kind and _can_fail(call, refusal)
        return None


def _can_fail(call: OsCall, refusal: Refusal) -> bool:
    return refusal.number != errno.EROFS or call.kind != "open" or call.made


@contextlib.contextmanager
def refused(folder: Path, kind: str, number: int, *, k: int = 1, stays: bool = False) -> Iterator[Refuser]:
    """The k-th call of this kind below ``folder`` fails with this errno."""
    refuser = Refuser(Refusal(kind, number, stays), k)
    with observed(folder, refuser):
        yield refuser


@dataclass(frozen=True)
class Attack:
    """What was tried: attempts by refusal, and those of them that the flow did without."""

    tries: Counter[str]
    borne: Counter[str]


def attack(
    work: Path,
    flow: Flow,
    *,
    before: Flow | None = None,
    kept: Flow | None = None,
    done: Flow | None = None,
    refusals: Sequence[Refusal] = REFUSALS,
    most: int = 10_000 if EVERY_CALL else 6,
) -> Attack:
    """Run ``flow`` in a fresh folder for every refusal and every k.

    ``before`` fills the folder. ``kept`` is called after a failure, ``done`` after the flow has ended well; each raises
    what is wrong. Without ``done`` the folder must hold the same files with the same bytes as after an undisturbed run.
    ``most`` bounds the k of one refusal: the first, the last, and seeded ones between. With DEEPTRACE_EVERY_CALL in the
    environment it is every k.
    """
    start, whole = work / "start", work / "whole"
    start.mkdir(parents=True)
    if before is not None:
        before(start)
    shutil.copytree(start, whole)
    with observed(whole, tally := Tally(refusals)):
        flow(whole)
    check = done or (lambda folder: _check_same(folder, whole))
    check(whole)
    tries: Counter[str] = Counter()
    borne: Counter[str] = Counter()
    for refusal, count in tally.counts.items():
        for k in spread(count, most):
            folder = work / "tried"
            shutil.copytree(start, folder)
            where = f"{refusal}, call {k} of {count}"
            tries[str(refusal)] += 1
            if _try(folder, flow, refusal, k, where):
                borne[str(refusal)] += 1
            else:
                _run(kept, folder, f"{where}: the old data")
                _run(flow, folder, f"{where}: run again")
            _run(check, folder, f"{where}: the result")
            shutil.rmtree(folder)
    return Attack(tries, borne)


def spread(count: int, most: int) -> list[int]:
    """At most so many of 1 .. count: the first, the last, and the same ones between each time."""
    if count <= most:
        return list(range(1, count + 1))
    if most < 2:
        return [1]
    between = random.Random(count).sample(range(2, count), most - 2)
    return sorted({1, count, *between})


def _try(folder: Path, flow: Flow, refusal: Refusal, k: int, where: str) -> bool:
    """Whether the flow ended well all the same."""
    words: str | None = None
    with observed(folder, refuser := Refuser(refusal, k)):
        try:
            flow(folder)
        except DeepTraceError as error:
            words = str(error)
        except BaseException as error:
            lines = "".join(traceback.format_exception(error)[-8:])
            raise AssertionError(f"{where} ({refuser.refused}): {type(error).__name__} came out\n{lines}") from error
    if words is None:
        return True
    reason = os.strerror(refusal.number)
    assert reason in words or "more bytes are needed" in words, f"{where}: {words!r} does not say why"
    assert str(folder) not in words, f"{where}: {words!r} names our own place"
    assert refuser.refused is not None, f"{where}: {words!r}, and nothing had been refused"
    return False


def _run(step: Flow | None, folder: Path, where: str) -> None:
    try:
        if step is not None:
            step(folder)
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error


def _check_same(folder: Path, whole: Path) -> None:
    there, wanted = contents(folder), contents(whole)
    assert sorted(there) == sorted(wanted), f"other files: {sorted(set(there) ^ set(wanted))}"
    other = [name for name in wanted if there[name] != wanted[name]]
    assert not other, f"other bytes: {other}"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, by its relative name, but for the locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".deeptrace.lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
