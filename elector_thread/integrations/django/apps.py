"""The Django app: configures the process-wide elector, starts it where requests are served."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import request_started

from ..._runtime import forks
from ...default import configure, default_elector
from ...errors import ConfigurationError
from .._settings import is_only_unconfigured
from . import checks, conf, signals
from .serving import Start, when_to_start

__all__ = ["ElectorThreadConfig"]


class ElectorThreadConfig(AppConfig):
    """``elector_thread`` as a Django app."""

    name = "elector_thread.integrations.django"
    label = "elector_thread"
    verbose_name = "Leader election"

    def ready(self) -> None:
        """Configure the elector, and start it if this process serves requests.

        Raises `ConfigurationError` for a bad setting. Where no requests are served, a missing
        elector URL is not an error; a system check reports it.
        """
        register(checks.check_elector, "elector_thread")
        given = conf.read()
        start = when_to_start(given.start_in)
        try:
            elector = configure(**given.elector)
        except ConfigurationError:
            if start is Start.NEVER and is_only_unconfigured(given.elector):
                return
            raise
        signals.connect(elector)
        if start is Start.IN_WORKERS:
            forks.hold_back()
        if start is not Start.NEVER:
            default_elector()
            request_started.connect(_start_dormant, dispatch_uid="elector_thread")


def _start_dormant(**_: object) -> None:
    """Start in a worker at its first request, whether or not the elector ran in the master."""
    default_elector().post_fork()
