"""The exceptions users may meet. Values only: this module imports nothing of ours."""

from __future__ import annotations

__all__ = ["ConfigurationError", "ElectorError", "ElectorUnavailableError", "NotLeaderError"]


class ElectorError(Exception):
    """Base of every exception this library raises on purpose."""


class ConfigurationError(ElectorError, ValueError):
    """A setting is missing or wrong. The message names the setting and what would mend it."""


class ElectorUnavailableError(ElectorError):
    """The elector sidecar did not give an answer that can be used.

    Raised only where somebody waits for an answer (`Elector.refresh`); the
    background threads never raise it, they retry.
    """


class NotLeaderError(ElectorError):
    """A function guarded with ``only_on_leader(raises=True)`` was called without leading."""
