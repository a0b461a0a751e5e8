"""The process-wide elector, for code that has no place to keep one."""

from __future__ import annotations

from threading import RLock
from typing import Any

from . import forks
from .elector import Elector
from .errors import ElectorError
from .guard import Guard

__all__ = ["Default", "configure", "current", "default_elector", "only_on_leader"]


class Default:
    """Keeps one elector, made when it is first asked for. `_lock` protects both attributes.

    Re-entrant, since under gevent another greenlet of the same thread may come in.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._elector: Elector | None = None
        self._handed_out = False

    @property
    def handed_out(self) -> bool:
        """Whether the elector is in use already."""
        return self._handed_out

    @property
    def made(self) -> Elector | None:
        """The elector, if it was made already, in use or not."""
        return self._elector

    def configure(self, **settings: Any) -> Elector:
        """See `elector_thread.configure`."""
        with self._lock:
            if self._handed_out:
                raise ElectorError(
                    "configure() came too late: the default elector is in use already; "
                    "call it before the first default_elector() or guarded call"
                )
            self._elector = Elector(**settings)
            return self._elector

    def get(self) -> Elector:
        """See `elector_thread.default_elector`."""
        if self._elector is not None and self._handed_out:
            return self._elector
        with self._lock:
            if self._elector is None:
                self._elector = Elector()
            if not self._handed_out:
                self._elector.start()
                self._handed_out = True
            return self._elector

    def reset_lock_after_fork(self) -> None:
        """In a forked child: whoever held the lock is gone."""
        self._lock = RLock()


current = Default()
"""The one in force; replaced as a whole by `elector_thread.testing`, never in production."""


def configure(**settings: Any) -> Elector:
    """Give the process-wide elector its settings: those of `Elector`. Returns it, not started.

    What is registered on it is told as soon as something starts it: the first
    `default_elector()` or guarded call. To be called before that, typically where the
    application starts; raises `ElectorError` afterwards, and `ConfigurationError` for
    a bad setting.
    """
    return current.configure(**settings)


def default_elector() -> Elector:
    """The process-wide elector, made from the environment and started at the first call."""
    return current.get()


forks.in_child(lambda: current.reset_lock_after_fork())

only_on_leader = Guard(default_elector)
