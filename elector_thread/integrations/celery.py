"""Celery: starts where tasks run and in beat; a task that skips on followers; a leader's beat.

`connect` starts the process-wide elector in each process that runs tasks: the children
of a prefork pool, not their parent, and the worker itself for other pools.
"""

from __future__ import annotations

import os
from typing import Any

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
"""What a `LeaderTask` gives on a follower: the text ``SKIPPED``, which every serializer knows."""

EXIT_PATIENCE = 2.0
"""Seconds that the end of a process waits for ``on_demoted`` callbacks and leader tasks."""


def connect() -> None:
    """Start the process-wide elector with workers and beat, and stop it with them.

    Its settings come from the environment, or from `elector_thread.configure`, called
    before. Calling this twice does nothing more.
    """
    signals.worker_process_init.connect(_start, weak=False, dispatch_uid="elector-process")
    signals.worker_ready.connect(_start_unless_prefork, weak=False, dispatch_uid="elector-ready")
    signals.beat_init.connect(_start, weak=False, dispatch_uid="elector-beat")
    signals.worker_process_shutdown.connect(_stop, weak=False, dispatch_uid="elector-process-end")
    signals.worker_shutdown.connect(_stop, weak=False, dispatch_uid="elector-end")


class LeaderTask(Task):
    """``@app.task(base=LeaderTask)``: runs where this process leads, else gives `SKIPPED_RESULT`.

    A skipped task has succeeded and is gone. A queue that all replicas share hands each
    task to one of them, who may be a follower: there, have the leader alone send it
    (`LeaderBeat`) instead of having followers skip it.
    """

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run, or skip."""
        return only_on_leader(otherwise=SKIPPED_RESULT)(super().__call__)(*args, **kwargs)


class LeaderOnly:
    """For a beat scheduler: ``class Mine(LeaderOnly, DatabaseScheduler)`` sends only while leading.

    Followers keep their schedules going without sending, so that a new leader goes on
    where the old one ended, instead of sending at once all that it has not sent yet.
    """

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send a due task, if this process leads."""
        if default_elector().is_leader:
            super().apply_entry(entry, producer=producer)  # type: ignore[misc]  # the scheduler's


class LeaderBeat(LeaderOnly, PersistentScheduler):
    """Celery's own scheduler, sending only while leading.

    ``celery -A app beat -S elector_thread.integrations.celery.LeaderBeat``, or
    ``beat_scheduler = "elector_thread.integrations.celery.LeaderBeat"``.
    """


_started: tuple[int, Elector] | None = None
"""The process in which `_start` was called, by its id since a fork copies this, and its elector."""


def _start(**_: Any) -> None:
    global _started
    elector = default_elector().start()
    _started = os.getpid(), elector


def _start_unless_prefork(sender: Any, **_: Any) -> None:
    """The parent of a prefork pool runs no task; its children start by themselves."""
    if not isinstance(sender.pool, PreforkPool):
        _start()


def _stop(**_: Any) -> None:
    """The process ends; a prefork child does so without Python's exit handlers."""
    if _started is not None and _started[0] == os.getpid():
        _started[1].stop(timeout=EXIT_PATIENCE)
