"""Which processes of a pod run leader-only work: each of them locks one byte of a common file.

With ``scope="pod"`` every process of the leader's pod leads, so a callback that two of them
register runs twice. This is only to notice and report that: where the folder cannot be written,
or there are no POSIX locks, nothing is reported and nothing fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from time import sleep

from .._state.clock import is_held_here
from ..settings import Settings
from . import forks
from .podlock import close_inherited, file_name

with suppress(ImportError):  # Windows, where no place can be taken
    import fcntl

__all__ = ["WorkMark", "count_working"]

PLACES = 16
"""Bytes of the file, and the most processes that are counted."""

TURN = PLACES
"""The byte that a process locks while it looks and takes a place, so that of two that start at
the same moment one is the first."""

ATTEMPTS, PAUSE = 50, 0.01
"""How often, and after how many seconds, it is tried: its holder may be paused for long."""


class _WorkFile:
    """The file of one pod, and this process's place in it. Protected by the module's `_lock`.

    One descriptor for each file, closed with its last claim, since closing any descriptor of a
    file drops the process's locks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.claims = 0
        self.place: int | None = None
        self.has_others = False
        self.descriptor = _open(path, os.O_CREAT)

    def take_place(self) -> None:
        """Lock the first free byte, and note whether other processes hold one."""
        with _turn(self.descriptor):
            others = _count(self.descriptor)
            places = (place for place in range(PLACES) if _try_lock(self.descriptor, place))
            self.place = next(places, None)
        self.has_others = others > 0 or self.place != 0


_lock = RLock()  # protects `_files` and every `_WorkFile` in it
_files: dict[Path, _WorkFile] = {}


class WorkMark:
    """Marks this process as one that runs leader-only work, for one run of one elector.

    shared: whether another process of the pod was marked before.
    first: whether no other elector of this process has noted that.
    """

    def __init__(self, settings: Settings) -> None:
        self.shared = self.first = False
        self._settings = settings
        self._file: _WorkFile | None = None

    def set(self) -> None:
        """Take a place, unless this process has one already."""
        if os.name != "posix":  # pragma: no cover - Windows
            return
        path = _path(self._settings)
        with suppress(OSError), _lock:
            if path not in _files:
                _files[path] = _WorkFile(path)
            file = self._file = _files[path]
            file.claims += 1
            if file.place is None:
                file.take_place()
            self.shared, self.first = file.has_others, file.claims == 1

    def remove(self) -> None:
        """Give the place up, unless another elector of this process needs it."""
        file, self._file = self._file, None
        if file is None:
            return
        with suppress(OSError), _lock:
            if _files.get(file.path) is not file:  # a parent's, in a forked child
                return
            file.claims -= 1
            if not file.claims:
                del _files[file.path]
                os.close(file.descriptor)


def count_working(settings: Settings) -> int:
    """How many processes of this pod run leader-only work with ``scope="pod"``, as far as known.

    For any process of the pod, also one that runs no elector.
    """
    if os.name != "posix" or not settings.configured:
        return 0
    path = _path(settings)
    with suppress(OSError), _lock:
        file = _files.get(path)
        if file is not None:
            with _turn(file.descriptor):
                return _count(file.descriptor, own=file.place) + (file.place is not None)
        descriptor = _open(path)
        try:
            with _turn(descriptor):
                return _count(descriptor)
        finally:
            os.close(descriptor)
    return 0


def is_interrupted_here() -> bool:
    """Whether this is a signal handler that has interrupted one of the functions above."""
    return is_held_here(_lock)


def _path(settings: Settings) -> Path:
    """The same in all processes of a pod that one user runs, and in no other pod on a laptop.

    `tempfile.gettempdir` takes a lock, which a forked child could inherit.
    """
    variables = (os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    folder = next(filter(None, variables), "/tmp")  # noqa: S108 - the name is the user's own
    return Path(folder) / file_name(f"{settings.identity} {settings.where}", ".work")


def _open(path: Path, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)


@contextmanager
def _turn(descriptor: int) -> Iterator[None]:
    held = False
    for _ in range(ATTEMPTS):
        if held := _try_lock(descriptor, TURN):
            break
        sleep(PAUSE)
    try:
        yield
    finally:
        if held:
            fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, TURN)


def _count(descriptor: int, own: int | None = None) -> int:
    """How many places are locked by other processes. own: ours, which a test would release."""
    others = [place for place in range(PLACES) if place != own]
    return sum(not _is_free(descriptor, place) for place in others)


def _is_free(descriptor: int, place: int) -> bool:
    if not _try_lock(descriptor, place):
        return False
    fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, place)
    return True


def _try_lock(descriptor: int, place: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _forget_after_fork() -> None:
    """In a forked child: the places are the parent's; close our copies of its descriptors."""
    global _lock
    _lock = RLock()
    close_inherited([file.descriptor for file in list(_files.values())])
    _files.clear()


forks.in_child(_forget_after_fork)
