"""What users have registered: callbacks and leader tasks, in order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any, TypeAlias

from .._state.health import Health
from .._state.model import TaskStatus
from .callbacks import adapt, name_of
from .tasks import TaskRunner, adapt_task
from .worker import Worker

__all__ = ["Registration", "Registry"]


Context: TypeAlias = Callable[[], AbstractContextManager[object]]


class Registration:
    """One registered callback. Never changed; compared by identity.

    kind: the name of the method that registered it, ``"on_elected"`` for example.
    call: takes exactly one argument.
    task: for ``while_leader``, what runs the function.
    is_work: whether it is leader-only work, which several processes should not repeat.
    """

    __slots__ = ("__weakref__", "call", "callback", "is_work", "kind", "name", "task")

    def __init__(
        self,
        kind: str,
        callback: Callable[..., object],
        call: Callable[[Any], object],
        task: TaskRunner | None = None,
        is_work: Callable[[], bool] = lambda: True,
    ) -> None:
        self.kind = kind
        self.callback = callback
        self.call = call
        what = f"{kind} callback" if task is None else "while_leader function"
        self.name = f"{what} {name_of(callback)}"
        self.task = task
        self.is_work = is_work


class Registry:
    """The registrations of one elector in one process.

    It has no lock: each change of a list is one atomic step, and readers take a copy. So a
    signal handler may interrupt a registration, and a callback may register meanwhile.
    `_removed` holds the leader tasks that were removed but may still run. `_enabled` and
    `_contexts` are set while the application starts.
    """

    def __init__(self, health: Health) -> None:
        self._enabled = True
        self._contexts: list[Context] = []
        self._health = health
        self._entries: list[Registration] = []
        self._removed: list[TaskRunner] = []

    def __contains__(self, entry: Registration) -> bool:
        return entry in self._entries

    def disable(self) -> None:
        """In a process that only asks who leads: call nothing before `enable`."""
        self._enabled = False

    def enable(self) -> None:
        """Undo `disable`."""
        self._enabled = True

    def surround(self, context: Context) -> None:
        """Enter ``context()`` around every call, for example to look after connections."""
        self._contexts.append(context)

    def _within_contexts(self, call: Callable[[Any], object]) -> Callable[[Any], object]:
        contexts = self._contexts  # shared with registries that are renewed from this one

        def run(argument: object) -> object:
            with ExitStack() as stack:
                for context in contexts:
                    stack.enter_context(context())
                return call(argument)

        return run

    def add(
        self,
        kind: str,
        callback: Callable[..., object],
        is_work: Callable[[], bool] = lambda: True,
    ) -> None:
        """Register ``callback``. Raises TypeError if it cannot be called; see `adapt`."""
        call = self._within_contexts(adapt(callback, kind))
        self._entries.append(Registration(kind, callback, call, is_work=is_work))

    def add_task(self, fn: Callable[..., object]) -> None:
        """Register a ``while_leader`` function. Raises TypeError; see `adapt_task`."""
        call = self._within_contexts(adapt_task(fn))
        before = [task.worker for task in list(self._removed) if task.fn == fn]
        task = TaskRunner(fn, call, self._health, [worker for worker in before if worker])
        self._entries.append(Registration("on_elected", fn, task.offer, task))

    def remove(self, callback: Callable[..., object]) -> bool:
        """Remove every registration of ``callback``; False if there was none."""
        self._forget_ended()
        gone = [entry for entry in list(self._entries) if entry.callback == callback]
        for entry in gone:
            if entry.task is not None:
                self._removed.append(entry.task)  # before: a stop must find it in one of the two
                entry.task.remove()
            with suppress(ValueError):  # removed by another thread meanwhile
                self._entries.remove(entry)
        return bool(gone)

    def of(self, kind: str) -> list[Registration]:
        """Those of one kind, in the order of registration; none while disabled."""
        if not self._enabled:
            return []
        return [entry for entry in list(self._entries) if entry.kind == kind]

    @property
    def has_work(self) -> bool:
        """Whether there is leader-only work: callbacks for us as the leader, or leader tasks."""
        entries = [*self.of("on_elected"), *self.of("on_demoted")]
        return any(entry.is_work() for entry in entries)

    def task_workers(self) -> list[Worker]:
        """The threads in which leader tasks run now."""
        self._forget_ended()
        tasks = [entry.task for entry in list(self._entries) if entry.task is not None]
        tasks += self._removed
        return [worker for task in tasks if (worker := task.worker) is not None]

    def task_statuses(self) -> tuple[TaskStatus, ...]:
        """How each registered task is, in the order of registration."""
        tasks = [entry.task for entry in list(self._entries)]
        return tuple(task.status for task in tasks if task is not None)

    def _forget_ended(self) -> None:
        """Drop removed tasks that do not run any more."""
        for task in list(self._removed):
            if task.worker is None:
                with suppress(ValueError):  # dropped by another thread meanwhile
                    self._removed.remove(task)

    def renewed(self, health: Health) -> Registry:
        """The same registrations for another runtime, in which no leader task runs yet."""
        registry = Registry(health)
        registry._enabled, registry._contexts = self._enabled, self._contexts
        for entry in self._entries:
            if entry.task is not None:
                task = entry.task.renewed(health)
                entry = Registration(entry.kind, entry.callback, task.offer, task)
            registry._entries.append(entry)
        return registry
