"""How a management command learns who leads: by GET, without threads and without a stream."""

from __future__ import annotations

import time

from django.core.management.base import CommandError

from ..._dispatch.log import without_log
from ..._state.clock import now
from ..._state.model import State, Status
from ...elector import Elector
from ...errors import ConfigurationError, ElectorUnavailableError
from . import conf

__all__ = ["ask", "ask_until_known"]

PAUSE = 0.5
"""Seconds between two questions, while nobody is known to lead."""


def ask() -> Status:
    """One answer. CommandError, with exit code 1 if there is none, and 2 if there is nobody to ask.

    It speaks for the pod, also with ``scope="process"``: the seat belongs to a worker.
    """
    try:
        with without_log():
            return _elector().refresh()
    except ElectorUnavailableError as error:
        raise CommandError(str(error)) from None


def ask_until_known(patience: float) -> Status:
    """The first answer that names a leader; CommandError after ``patience`` seconds without."""
    elector = _elector()
    give_up = now() + patience
    while True:
        try:
            with without_log():
                status, problem = elector.refresh(), "it has not seen an election yet"
        except ElectorUnavailableError as error:
            status, problem = elector.status(), str(error)
        if status.state is not State.UNKNOWN:
            return status
        left = give_up - now()
        if left <= 0:
            raise CommandError(f"nobody is known to lead after {patience:g} s: {problem}")
        time.sleep(min(PAUSE, left))


def _elector() -> Elector:
    try:
        return Elector(**{**conf.read().elector, "scope": "pod"})
    except ConfigurationError as error:
        raise CommandError(str(error), returncode=2) from None
