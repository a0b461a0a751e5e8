"""The Django app: sets up the process-wide elector, and starts it where requests are served."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import request_started

from ... import default
from ..._runtime import access
from ...default import default_elector
from .._process import hold_back
from .._settings import check_options
from . import checks, conf, signals
from .connections import working_connections
from .serving import Start, when_to_start

__all__ = ["ElectorThreadConfig"]


class ElectorThreadConfig(AppConfig):
    """``elector_thread`` as a Django app."""

    name = "elector_thread.integrations.django"
    label = "elector_thread"
    verbose_name = "Leader election"

    def ready(self) -> None:
        """Provide the settings, and start the elector if this process serves requests.

        Elsewhere it answers questions, but calls no callbacks unless the command itself starts
        it. Raises `ConfigurationError` for a bad setting; a missing elector URL is an error only
        where requests are served, and elsewhere a system check reports it.
        """
        register(checks.check_elector, "elector_thread")
        given = conf.read()
        check_options(given.elector)
        default.current.provide(lambda: given.elector)
        elector = default_elector()
        access.call_within(elector, working_connections)
        signals.connect(elector)
        start = when_to_start(given.start_in)
        if start is Start.NEVER:
            access.only_answer(elector)
            return
        if start is Start.IN_WORKERS:
            hold_back()
        elector.start()
        request_started.connect(_start_dormant, dispatch_uid="elector_thread")


def _start_dormant(**_: object) -> None:
    """Start in a worker at its first request, whether or not the elector ran in the master."""
    default_elector().post_fork()
