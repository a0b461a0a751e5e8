"""The exceptions that users may meet."""

from __future__ import annotations

__all__ = [
    "ConfigurationError",
    "ElectorError",
    "ElectorUnavailableError",
    "NotLeaderError",
    "StaleLeaderError",
]


class ElectorError(Exception):
    """Base class of the exceptions that this library raises."""


class ConfigurationError(ElectorError, ValueError):
    """A setting is missing or wrong. The message names the setting and what to do."""


class ElectorUnavailableError(ElectorError):
    """The elector sidecar did not return a usable answer.

    Raised only by calls that wait for an answer (`Elector.refresh`); the background
    threads retry instead.
    """


class NotLeaderError(ElectorError):
    """This process is not the leader (any more).

    Raised by functions guarded with ``only_on_leader(raises=True)``, and by
    `Leadership.check`.
    """


class StaleLeaderError(ElectorError):
    """A database has seen a newer leader than this one. Raised by `elector_thread.fencing`."""
