"""The signals. An exception of one receiver does not affect the others."""

from __future__ import annotations

from typing import Any

from django.dispatch import Signal

from ..._runtime import access
from ..._state.leadership import Leadership
from ...elector import Elector

__all__ = ["connect", "leader_demoted", "leader_elected"]

leader_elected = Signal()
"""This process became the leader. Arguments: ``leadership`` (the token), ``elector``.

Sent on the library's callback thread, one signal at a time. Django logs an exception of a
receiver and calls the other receivers.
"""

leader_demoted = Signal()
"""A leadership that was announced is over. See `leader_elected`."""


def connect(elector: Elector) -> None:
    """Make ``elector`` send the signals."""

    def elected(leadership: Leadership) -> None:
        _send(leader_elected, leadership, elector)

    def demoted(leadership: Leadership) -> None:
        _send(leader_demoted, leadership, elector)

    access.listen(elector, "on_elected", elected, lambda: _has_receivers(leader_elected))
    access.listen(elector, "on_demoted", demoted, lambda: _has_receivers(leader_demoted))


def _has_receivers(signal: Any) -> bool:
    """Without receivers, a signal is not leader-only work.

    `Signal.has_listeners` takes a lock, which a forked child could inherit.
    """
    return bool(signal.receivers)


def _send(signal: Any, leadership: Leadership, elector: Elector) -> None:
    signal.send_robust(sender=Elector, leadership=leadership, elector=elector)
