"""Running a function in a forked child, with a hard time limit."""

from __future__ import annotations

import ctypes
import inspect
import os
import pickle
import select
import signal
import sys
import threading
import traceback
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from elector_thread._state.clock import Flag

PATIENCE = 10.0


class Child:
    """A forked child that runs ``fn`` and returns its result through a pipe."""

    def __init__(self, fn: Callable[[], Any], fork: Callable[[], int] | None = None) -> None:
        self._reader, writer = os.pipe()
        self.pid = (fork or fork_quietly)()
        if self.pid == 0:
            _run_and_exit(fn, writer)
        os.close(writer)

    def result(self, within: float = PATIENCE) -> Any:
        """What ``fn`` returned; a child that takes longer is killed, and the test fails."""
        data = b""
        while select.select([self._reader], [], [], within)[0]:
            if not (part := os.read(self._reader, 65536)):
                break
            data += part
        os.close(self._reader)
        status = reap(self.pid, 1.0)
        assert data, f"the child gave no result (it ended with {status})"
        ok, value = pickle.loads(data)
        assert ok, f"in the child:\n{value}"
        return value


def in_child(fn: Callable[[], Any], within: float = PATIENCE) -> Any:
    """Fork, run ``fn`` in the child, and return its result."""
    return Child(fn).result(within)


def reap(pid: int, within: float = PATIENCE) -> int:
    """The exit code of a child, which is killed if it does not end in time."""
    pidfd = os.pidfd_open(pid)
    if not select.select([pidfd], [], [], within)[0]:
        os.kill(pid, signal.SIGKILL)
    os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork_quietly() -> int:
    """os.fork() without Python 3.12's warning: a fork beside other threads is what is tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def c_fork() -> int:
    """fork() as a server in C calls it: none of Python's fork hooks runs."""
    pid: int = ctypes.PyDLL(None).fork()
    return pid


def _run_and_exit(fn: Callable[[], Any], writer: int) -> None:
    try:
        outcome = (True, fn())
    except BaseException:
        outcome = (False, traceback.format_exc())
    try:
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(outcome, pipe)
    finally:
        os._exit(0)


def own_socket_inodes(pid: int | str = "self") -> set[str]:
    """The sockets that a process has open, by their inodes."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:  # the descriptor of this very listing
            continue
        if target.startswith("socket:"):
            inodes.add(target[8:-1])
    return inodes


def client_inodes(port: int) -> set[str]:
    """The inodes of this host's sockets that are connected *to* ``port`` on loopback."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[2].endswith(f":{port:04X}")}


class Held:
    """A lock held by another thread for as long as the ``with`` block lasts."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._held, self._let_go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold)

    def _hold(self) -> None:
        with self._lock:
            self._held.set()
            self._let_go.wait(PATIENCE)

    def __enter__(self) -> None:
        self._thread.start()
        assert self._held.wait(PATIENCE), "the lock could not be taken"

    def __exit__(self, *_: object) -> None:
        self._let_go.set()
        self._thread.join()


LOCK_TYPES = (type(threading.Lock()), type(threading.RLock()), threading.Condition)


CORE = ("_dispatch", "_runtime", "_sidecar", "_state", "default", "elector", "guard")
"""Where to look for modules with locks: packages and modules below ``elector_thread``."""


def _core_modules() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, module in list(sys.modules.items()):
        package, _, path = name.partition(".")
        if package == "elector_thread" and path.partition(".")[0] in CORE:
            yield path.rpartition(".")[2], vars(module)


def locks_of(root: object) -> dict[str, list[Any]]:
    """Every lock that is reachable from ``root`` or from a module of the core, by ``owner.name``.

    Only attributes of the library's own classes are followed; the inner lock of an Event or
    a Thread is not ours to hold.
    """
    found: dict[str, list[Any]] = defaultdict(list)
    waiting: list[tuple[str, object]] = [("", root)]
    for name, module in _core_modules():
        waiting += [(f"{name}.{attribute}", value) for attribute, value in module.items()]
    seen: set[int] = set()
    while waiting:
        name, current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, Flag):
            continue  # its lock is a gate that no thread holds
        if isinstance(current, LOCK_TYPES):
            found[name].append(current)
        owner = type(current).__name__
        waiting += [(f"{owner}.{attribute}", value) for attribute, value in _attributes(current)]
    plain = [lock for locks in found.values() for lock in locks if not _is_condition(lock)]
    return {
        name: locks
        for name, locks in found.items()
        if not all(_is_condition(lock) and lock._lock in plain for lock in locks)
    }


def _is_condition(lock: object) -> bool:
    """A Condition over a lock that has a name of its own is not another lock."""
    return isinstance(lock, threading.Condition)


def _attributes(thing: object) -> list[tuple[str, Any]]:
    if isinstance(thing, list | tuple | set | deque):
        return [("", item) for item in thing]
    if isinstance(thing, dict):
        return [("", value) for value in thing.values()]
    if isinstance(thing, threading.Thread):
        return [(name, getattr(thing, name, None)) for name in ("_target", "_args")]
    if inspect.isfunction(thing):
        return [("", cell.cell_contents) for cell in thing.__closure__ or ()]
    owner = getattr(thing, "__self__", None)
    if owner is not None and not isinstance(thing, type):
        return [("", owner)]
    kind = type(thing)
    if not kind.__module__.startswith("elector_thread"):
        return []
    slots = [name for part in kind.__mro__ for name in getattr(part, "__slots__", ())]
    named = [(name, getattr(thing, name, None)) for name in slots if name != "__weakref__"]
    return [*named, *getattr(thing, "__dict__", {}).items()]
