"""The process-wide elector, for code that has no place to keep one."""

from __future__ import annotations

from threading import RLock
from typing import Unpack

from ._runtime import forks
from .elector import Elector
from .errors import ElectorError
from .guard import Guard
from .settings import SIGNATURE, Options

__all__ = ["Default", "configure", "current", "default_elector", "only_on_leader"]


class Default:
    """Keeps one elector, made when it is first needed. `_lock` protects both attributes.

    Re-entrant, because under gevent another greenlet of the same thread may enter.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._elector: Elector | None = None
        self._in_use = False

    @property
    def in_use(self) -> bool:
        """Whether the elector was handed out and started."""
        return self._in_use

    @property
    def made(self) -> Elector | None:
        """The elector, if it was made already, in use or not."""
        return self._elector

    def configure(self, **settings: Unpack[Options]) -> Elector:
        """See `elector_thread.configure`."""
        with self._lock:
            if self._in_use or (self._elector is not None and self._elector.was_started):
                raise ElectorError(
                    "configure() was called too late: the process-wide elector is in use "
                    "already; call it before the first default_elector() or guarded call"
                )
            if self._elector is None:
                self._elector = Elector(**settings)
            else:
                self._elector.reconfigure(**settings)
            return self._elector

    def get(self) -> Elector:
        """See `elector_thread.default_elector`."""
        if self._elector is not None and self._in_use:
            return self._elector
        with self._lock:
            if self._elector is None:
                self._elector = Elector()
            if not self._in_use:
                self._in_use = True  # before its callbacks run, which may call this
                try:
                    self._elector.start_unless_stopped()
                except BaseException:
                    self._in_use = False
                    raise
            return self._elector

    def renew_lock(self) -> None:
        """In a forked child: the inherited lock may be held by a thread that is gone."""
        self._lock = RLock()


current = Default()
"""The active instance; replaced only by `elector_thread.testing`."""


def configure(**settings: Unpack[Options]) -> Elector:
    """Set the settings of the process-wide elector: those of `Elector`. Returns it, not started.

    Call it where the application starts, before the first `default_elector()` or guarded
    call, which start it. A second call replaces the settings; what was registered stays.
    Raises `ElectorError` if the elector is in use already, and `ConfigurationError` for a
    bad setting.
    """
    return current.configure(**settings)


configure.__signature__ = SIGNATURE  # type: ignore[attr-defined]  # `help` shows every setting


def default_elector() -> Elector:
    """The process-wide elector, made from the environment and started at the first call."""
    return current.get()


forks.in_child(lambda: current.renew_lock())

only_on_leader = Guard(default_elector)
