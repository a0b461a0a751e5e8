"""The pod's lock: a file lock that the kernel drops when the process that holds it ends.

The elector names pods, not processes; with ``scope="process"`` a process is the leader
only while it holds this lock as well. POSIX locks: a forked child does not inherit them,
cannot keep them alive, and cannot drop its parent's.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import RLock

from .._dispatch.worker import Worker
from .._state.clock import Flag, is_held_here, now
from .._state.store import Store
from ..errors import ConfigurationError
from ..settings import Settings
from . import forks

with suppress(ImportError):  # Windows, where `open_lock` refuses
    import fcntl

__all__ = [
    "LockClaim",
    "LockKeeper",
    "close_inherited",
    "default_path",
    "file_name",
    "open_lock",
]

RETRY = 1.0
"""Seconds between two attempts while this pod leads and another process holds the lock."""

RECHECK = 60.0
"""Seconds between two looks at whether the file is still the one that is locked."""


def default_path(identity: str) -> Path:
    """The lock file that the processes of one pod share, if one user runs them."""
    return Path(tempfile.gettempdir()) / file_name(identity, ".lock")


def file_name(what: str, suffix: str) -> str:
    """A file's name for ``what``, private to the user."""
    digest = hashlib.sha256(what.encode()).hexdigest()[:16]
    return f"elector-thread-{os.getuid()}-{digest}{suffix}"


class _LockFile:
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
        """Take the lock if no other process holds it; whether it is ours."""
        while not self.locked:
            if not self._is_current():
                self._reopen()
            if not _try_lock(self.descriptor):
                return False
            # if the file was replaced before we locked it, other processes lock the new one
            self.locked = self._is_current()
        return True

    def recheck(self) -> bool:
        """Whether we still hold *the* lock: the file may have been removed.

        Touches the file as well, so that cleaners of temporary folders leave it alone.
        """
        if self._is_current():
            os.utime(self.descriptor)
        self.locked = False  # take it again: closing any descriptor of the file drops it
        return self.lock()

    def close(self) -> None:
        """Drop the lock."""
        descriptor, self.descriptor = self.descriptor, -1  # first: a fork may come while it closes
        os.close(descriptor)

    def _is_current(self) -> bool:
        try:
            there = self.path.stat()
        except OSError:
            return False
        here = os.fstat(self.descriptor)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def _reopen(self) -> None:
        old, self.descriptor = self.descriptor, _open(self.path)
        self.locked = False
        os.close(old)


_lock = RLock()  # protects `_files` and every `_LockFile` in it
_files: dict[Path, _LockFile] = {}


class LockClaim:
    """One elector's claim to the lock, from `open_lock` to `release`."""

    def __init__(self, file: _LockFile) -> None:
        self._file: _LockFile | None = file

    def take(self) -> bool:
        """Take the lock if it is free (or this process's already); never waits."""
        with _lock:
            return self._file is not None and self._file.lock()

    def recheck(self) -> bool:
        """Whether the lock is still ours."""
        with _lock:
            return self._file is not None and self._file.recheck()

    def release(self) -> None:
        """Drop the lock, unless another elector of this process claims it too."""
        with _lock:
            file, self._file = self._file, None
            if file is None:
                return
            file.claims -= 1
            if not file.claims:
                file.close()
                del _files[file.path]


def open_lock(settings: Settings) -> LockClaim:
    """A claim to the lock that ``settings`` name. ConfigurationError if it cannot be opened."""
    if os.name != "posix":  # pragma: no cover - Windows
        raise ConfigurationError("scope='process' needs POSIX file locks, which this system lacks")
    path = (settings.lock_path or default_path(settings.identity)).absolute()
    path = Path(os.path.realpath(path.parent), path.name)  # one descriptor, by any name
    with _lock:
        if path not in _files:
            _files[path] = _open_file(path)
        _files[path].claims += 1
        return LockClaim(_files[path])


def is_interrupted_here() -> bool:
    """Whether this is a signal handler that has interrupted a change of the lock files."""
    return is_held_here(_lock)


def _open_file(path: Path) -> _LockFile:
    try:
        file = _LockFile(path)
    except OSError as error:
        raise ConfigurationError(
            f"lock_path: scope='process' needs a lock file, but {path} cannot be opened: "
            f"{os.strerror(error.errno or 0)}; set lock_path to a file in a writable local folder"
        ) from None
    return file


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def close_inherited(descriptors: Iterable[int]) -> None:
    """In a forked child: close our copies of the parent's descriptors."""
    for descriptor in descriptors:
        with suppress(OSError):  # it was being closed
            os.close(descriptor)


def _forget_after_fork() -> None:
    """In a forked child: the locks are the parent's; close our copies of its descriptors."""
    global _lock
    _lock = RLock()
    close_inherited([file.descriptor for file in list(_files.values())])
    _files.clear()


forks.in_child(_forget_after_fork)


class LockKeeper:
    """Everything the lock thread does; `run` is its body.

    Takes the lock when this pod leads, and keeps it until the elector stops: no other
    process gets it before this one's callbacks and leader tasks have ended.
    """

    def __init__(
        self, claim: LockClaim, store: Store, working: Callable[[], Iterable[Worker]]
    ) -> None:
        self._claim = claim
        self._store = store
        self._working = working  # the threads that run user code

    def run(self) -> None:
        """Hold the lock, or try to get it, until the store is closed and user code has ended."""
        held = False
        flag = Flag()  # set by every change of the store
        with self._store.waking(flag):
            while not self._store.closed:
                flag.clear()
                held = self._hold(held)
                flag.wait(self._pause(held))
        if self._store.inherited:  # the lock is the parent's
            return
        for worker in self._working():
            worker.ended.wait()
        self._claim.release()

    def _hold(self, held: bool) -> bool:
        holds = held
        try:
            if held:
                holds = self._claim.recheck()
            elif self._pod_leads():
                holds = self._claim.take()
        except OSError:  # the folder is gone, for example
            holds = False
        if holds != held:
            self._store.set_lock_held(holds)
        return holds

    def _pause(self, held: bool) -> float | None:
        """Seconds until the next look; None: until something changes."""
        if self._store.closed:
            return 0.0
        if held:
            return RECHECK
        return RETRY if self._pod_leads() else None

    def _pod_leads(self) -> bool:
        snapshot = self._store.snapshot
        return snapshot.leader == snapshot.identity and now() < snapshot.known_until
