"""What users have registered: callbacks and leader tasks, in order."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any

from .._state.clock import is_held_here
from .._state.health import Health
from .callbacks import adapt, name_of
from .tasks import LeaderTask
from .worker import Worker

__all__ = ["Registration", "Registry"]


class Registration:
    """One registered callback. Never changed; equal to itself alone.

    kind: the name of the method that registered it, ``"on_elected"`` for example.
    call: takes exactly one argument.
    task: for ``while_leader``, what runs the function.
    """

    __slots__ = ("call", "callback", "kind", "name", "task")

    def __init__(
        self,
        kind: str,
        callback: Callable[..., object],
        call: Callable[[Any], object],
        task: LeaderTask | None = None,
    ) -> None:
        self.kind = kind
        self.callback = callback
        self.call = call
        self.name = f"{kind} callback {name_of(callback)}"
        self.task = task


class Registry:
    """The registrations of one elector in one process.

    `_lock` makes writers take turns. `entries` is replaced as a whole, so readers need no
    lock; `_removed` holds the leader tasks that were removed but may still run.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._lock = RLock()
        self.entries: tuple[Registration, ...] = ()
        self._removed: tuple[LeaderTask, ...] = ()

    def add(self, kind: str, callback: Callable[..., object]) -> None:
        """Register ``callback``. Raises TypeError if it cannot be called; see `adapt`."""
        entry = Registration(kind, callback, adapt(callback, kind))
        with self._lock:
            self.entries = (*self.entries, entry)

    def add_task(self, fn: Callable[..., object]) -> None:
        """Register a ``while_leader`` function. Raises TypeError as `add` does."""
        call = adapt(fn, "while_leader")
        with self._lock:
            before = [task.worker for task in self._removed if task.fn == fn]
            task = LeaderTask(fn, call, self._health, [worker for worker in before if worker])
            self.entries = (*self.entries, Registration("on_elected", fn, task.offer, task))

    def remove(self, callback: Callable[..., object]) -> bool:
        """Remove every registration of ``callback``; False if there was none."""
        with self._lock:
            gone = [entry for entry in self.entries if entry.callback == callback]
            self.entries = tuple(entry for entry in self.entries if entry not in gone)
            tasks = [entry.task for entry in gone if entry.task is not None]
            running = [task for task in self._removed if task.worker is not None]
            self._removed = (*running, *tasks)
        for task in tasks:
            task.remove()
        return bool(gone)

    def of(self, kind: str) -> list[Registration]:
        """Those of one kind, in the order of registration."""
        return [entry for entry in self.entries if entry.kind == kind]

    def task_workers(self) -> list[Worker]:
        """The threads in which leader tasks run now."""
        tasks = [entry.task for entry in self.entries if entry.task is not None]
        return [worker for task in (*tasks, *self._removed) if (worker := task.worker) is not None]

    def is_interrupted_here(self) -> bool:
        """Whether this is a signal handler that has interrupted a registration."""
        return is_held_here(self._lock)

    def renewed(self, health: Health) -> Registry:
        """The same registrations for another runtime, in which no leader task runs yet."""
        registry = Registry(health)
        for entry in self.entries:
            if entry.task is not None:
                task = entry.task.renewed(health)
                entry = Registration(entry.kind, entry.callback, task.offer, task)
            registry.entries = (*registry.entries, entry)
        return registry
