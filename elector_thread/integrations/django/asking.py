"""How a management command learns who the leader is: by GET, without threads or a stream."""

from __future__ import annotations

import time

from django.core.management.base import CommandError

from ..._dispatch.log import without_log
from ..._state.clock import now
from ..._state.model import State, Status
from ...elector import Elector
from ...errors import ConfigurationError, ElectorUnavailableError
from ...settings import Options
from . import conf

__all__ = ["ask", "ask_until_known"]

PAUSE = 0.5
"""Seconds between two GETs while the leader is not known."""


def ask() -> Status:
    """Ask once. CommandError with exit code 1 without an answer, and 2 for bad settings.

    The answer is about the pod, also with ``scope="process"``: a worker holds the lock.
    """
    try:
        with without_log():
            return _elector().refresh()
    except ElectorUnavailableError as error:
        raise CommandError(str(error)) from None


def ask_until_known(patience: float) -> Status:
    """Ask until the leader is known. CommandError if it is not after ``patience`` seconds."""
    elector = _elector()
    give_up = now() + patience
    while True:
        try:
            with without_log():
                status, problem = elector.refresh(), "no election has taken place yet"
        except ElectorUnavailableError as error:
            status, problem = elector.status(), str(error)
        if status.state is not State.UNKNOWN:
            return status
        left = give_up - now()
        if left <= 0:
            raise CommandError(f"the leader is not known after {patience:g} s: {problem}")
        time.sleep(min(PAUSE, left))


def _elector() -> Elector:
    options: Options = {**conf.read().elector, "scope": "pod"}
    try:
        return Elector(**options)
    except ConfigurationError as error:
        raise CommandError(str(error), returncode=2) from None
