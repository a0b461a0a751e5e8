"""Celery: starts the elector in workers and beat; a task class and a beat for leaders only.

`connect` starts the process-wide elector in each process that runs tasks: in the children of a
prefork pool but not in their parent, and in the worker itself for other pools.
"""

from __future__ import annotations

import os
from typing import Any

from .._runtime.process import EXIT_PATIENCE
from ..default import default_elector, only_on_leader
from ..elector import Elector
from ..extras import needed
from ..guard import SKIPPED

with needed(by=__name__, what="Celery", extra="celery"):
    from celery import Task, signals
    from celery.beat import PersistentScheduler, ScheduleEntry
    from celery.concurrency.prefork import TaskPool as PreforkPool

__all__ = ["SKIPPED_RESULT", "LeaderBeat", "LeaderOnly", "LeaderTask", "connect"]

SKIPPED_RESULT = str(SKIPPED)
"""What a `LeaderTask` returns on a follower: the text ``SKIPPED``; every serializer takes it."""


def connect() -> None:
    """Start the process-wide elector with workers and beat, and stop it with them.

    Its settings come from the environment, or from an earlier call of
    `elector_thread.configure`. A second call has no effect.
    """
    signals.worker_process_init.connect(_start, weak=False, dispatch_uid="elector-process")
    signals.worker_ready.connect(_start_unless_prefork, weak=False, dispatch_uid="elector-ready")
    signals.beat_init.connect(_start, weak=False, dispatch_uid="elector-beat")
    signals.worker_process_shutdown.connect(_stop, weak=False, dispatch_uid="elector-process-end")
    signals.worker_shutdown.connect(_stop, weak=False, dispatch_uid="elector-end")


class LeaderTask(Task):
    """``@app.task(base=LeaderTask)``: runs on the leader, returns `SKIPPED_RESULT` on followers.

    A skipped task counts as successful and is not repeated. A queue that all replicas share
    delivers each task to only one of them, which may be a follower. For such a queue, let
    only the leader send the task (`LeaderBeat`).
    """

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run, or skip."""
        return only_on_leader(otherwise=SKIPPED_RESULT)(super().__call__)(*args, **kwargs)


class LeaderOnly:
    """For a beat scheduler that sends only on the leader: ``class Mine(LeaderOnly, Scheduler)``.

    Followers advance their schedules without sending. A new leader therefore continues where
    the old one stopped, and does not send at once everything that it has not sent before.
    """

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send a task that is due, if this process is the leader."""
        if default_elector().is_leader:
            super().apply_entry(entry, producer=producer)  # type: ignore[misc]  # the scheduler's


class LeaderBeat(LeaderOnly, PersistentScheduler):
    """Celery's own scheduler, which sends only on the leader.

    ``celery -A app beat -S elector_thread.integrations.celery.LeaderBeat``, or
    ``beat_scheduler = "elector_thread.integrations.celery.LeaderBeat"``.
    """


_started: tuple[int, Elector] | None = None
"""The elector that `_start` started, and the id of that process: a fork copies this variable."""


def _start(**_: Any) -> None:
    global _started
    elector = default_elector().start()
    _started = os.getpid(), elector


def _start_unless_prefork(sender: Any, **_: Any) -> None:
    """For all pools but prefork, whose parent process runs no tasks."""
    if not isinstance(sender.pool, PreforkPool):
        _start()


def _stop(**_: Any) -> None:
    """At the end of a process: a prefork child runs none of Python's exit handlers."""
    if _started is not None and _started[0] == os.getpid():
        _started[1].stop(timeout=EXIT_PATIENCE)
