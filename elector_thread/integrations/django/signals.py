"""The signals, and how they are sent: contained, with fresh database connections."""

from __future__ import annotations

from typing import Any

from django.db import close_old_connections
from django.dispatch import Signal

from ..._state.leadership import Leadership
from ...elector import Elector

__all__ = ["connect", "leader_demoted", "leader_elected"]

leader_elected = Signal()
"""This process begins to lead. Arguments: ``leadership`` (the token), ``elector``.

Sent on the library's callback thread, never together with another signal of ours; what
a receiver raises is logged by Django and does not keep the others from being told.
"""

leader_demoted = Signal()
"""A leadership that was announced is over. Otherwise as `leader_elected`."""


def connect(elector: Elector) -> None:
    """Have ``elector`` send the signals from now on."""

    def elected(leadership: Leadership) -> None:
        _send(leader_elected, leadership, elector)

    def demoted(leadership: Leadership) -> None:
        _send(leader_demoted, leadership, elector)

    elector.on_elected(elected)
    elector.on_demoted(demoted)


def _send(signal: Any, leadership: Leadership, elector: Elector) -> None:
    """Before: a connection from hours ago may be dead. After: none is kept without need."""
    close_old_connections()
    try:
        signal.send_robust(sender=Elector, leadership=leadership, elector=elector)
    finally:
        close_old_connections()
