"""The pod's one seat: a file lock that the kernel drops when its holder dies.

The elector names pods, not processes; with ``scope="process"`` a process leads
only while it holds this lock as well. POSIX locks: a forked child does not
inherit them, cannot keep them alive, and cannot drop its parent's.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from math import inf
from pathlib import Path
from threading import Lock, Thread

from . import forks
from .cell import Cell
from .clock import Flag, now
from .errors import ConfigurationError
from .settings import Settings

__all__ = ["Claim", "Seat", "default_path", "open_seat"]

RETRY = 1.0
"""Seconds between two tries while this pod leads and another process has the seat."""

RECHECK = 60.0
"""Seconds between two looks at whether the file is still the one that is locked."""


def default_path(identity: str) -> Path:
    """Where the processes of one pod, run by one user, meet."""
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"elector-thread-{os.getuid()}-{digest}.seat"


class _SeatFile:
    """One lock file of this process, shared by every elector here that uses it.

    A POSIX lock belongs to the process, and closing any descriptor of the file
    drops it: hence one descriptor, closed with its last claim. Everything here is
    protected by the module's `_lock`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.claims = 0
        self.locked = False
        self.descriptor = _open(path)

    def lock(self) -> bool:
        """Take the lock if nobody else has it."""
        while not self.locked:
            if not self._is_current():
                self._reopen()
            if not _try_lock(self.descriptor):
                return False
            # removed between the look and the lock, it is a file that nobody else will find
            self.locked = self._is_current()
        return True

    def recheck(self) -> bool:
        """Whether we still hold *the* seat: somebody may have removed the file.

        Touches it as well, so that cleaners of temporary folders leave it alone.
        """
        if self._is_current():
            os.utime(self.descriptor)
        self.locked = False  # to be taken again: whoever here closed the file has dropped it
        return self.lock()

    def close(self) -> None:
        """Drop the lock."""
        os.close(self.descriptor)

    def _is_current(self) -> bool:
        try:
            there = self.path.stat()
        except OSError:
            return False
        here = os.fstat(self.descriptor)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def _reopen(self) -> None:
        fresh = _open(self.path)
        os.close(self.descriptor)
        self.descriptor = fresh
        self.locked = False


_lock = Lock()  # protects `_files` and every `_SeatFile` in it
_files: dict[Path, _SeatFile] = {}


class Claim:
    """One elector's claim to the seat, from `open_seat` to `release`."""

    def __init__(self, file: _SeatFile) -> None:
        self._file: _SeatFile | None = file

    def take(self) -> bool:
        """Take the seat if it is free (or this process's already); never waits."""
        with _lock:
            return self._file is not None and self._file.lock()

    def recheck(self) -> bool:
        """Whether the seat is still ours."""
        with _lock:
            return self._file is not None and self._file.recheck()

    def release(self) -> None:
        """Give the seat up, unless another elector of this process claims it too."""
        with _lock:
            file, self._file = self._file, None
            if file is None:
                return
            file.claims -= 1
            if not file.claims:
                file.close()
                del _files[file.path]


def open_seat(settings: Settings) -> Claim:
    """A claim to the seat that ``settings`` name. ConfigurationError if it cannot be opened."""
    if os.name != "posix":  # pragma: no cover - Windows
        raise ConfigurationError("scope='process' needs POSIX file locks, which this system lacks")
    path = (settings.lock_path or default_path(settings.identity)).absolute()
    path = Path(os.path.realpath(path.parent), path.name)  # one descriptor, by any name
    with _lock:
        if path not in _files:
            _files[path] = _open_file(path)
        _files[path].claims += 1
        return Claim(_files[path])


def _open_file(path: Path) -> _SeatFile:
    try:
        file = _SeatFile(path)
    except OSError as error:
        raise ConfigurationError(
            f"lock_path: scope='process' needs a lock file, but {path} cannot be opened: "
            f"{os.strerror(error.errno or 0)}; give lock_path a file in a writable local folder"
        ) from None
    return file


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)


def _try_lock(descriptor: int) -> bool:
    import fcntl  # here, since most processes need no seat, and some systems have no fcntl

    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _forget_after_fork() -> None:
    """In a forked child: the locks are the parent's; close our copies of its descriptors."""
    global _lock
    _lock = Lock()
    for file in _files.values():
        os.close(file.descriptor)
    _files.clear()


forks.in_child(_forget_after_fork)


class Seat:
    """Everything the seat thread does; `run` is its body.

    Takes the seat when this pod leads, and keeps it until the elector stops: not
    before its callbacks and leader tasks have ended does another process get it.
    """

    def __init__(
        self,
        claim: Claim,
        cell: Cell,
        identity: str,
        stopping: Flag,
        working: Callable[[], Iterable[Thread]],
    ) -> None:
        self._claim = claim
        self._cell = cell
        self._epoch = cell.epoch
        self._identity = identity
        self._stopping = stopping
        self._working = working  # the threads that run user code

    def run(self) -> None:
        """Hold the seat, or try to get it, until told to stop and user code has ended."""
        held = False
        while not self._stopping.is_set():
            version = self._cell.version
            held = self._hold(held)
            self._cell.wait_beyond(version, now() + self._pause(held))
        for thread in self._working():
            thread.join()
        self._claim.release()

    def _hold(self, held: bool) -> bool:
        holds = held
        try:
            if held:
                holds = self._claim.recheck()
            elif self._pod_leads():
                holds = self._claim.take()
        except OSError:  # the folder is gone, say: no lock, no seat
            holds = False
        if holds != held:
            self._cell.seat(self._epoch, holds)
        return holds

    def _pause(self, held: bool) -> float:
        if held:
            return RECHECK
        return RETRY if self._pod_leads() else inf

    def _pod_leads(self) -> bool:
        snapshot = self._cell.snapshot
        return snapshot.leader == self._identity and now() < snapshot.known_until
