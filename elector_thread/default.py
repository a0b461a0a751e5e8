"""The process-wide elector, for code that has no place to keep one.

Registering on it starts nothing and reads no setting. Its settings are read, and it starts, at
the first question, or where `Elector.start` is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, Unpack

from ._runtime import access
from .elector import Elector
from .errors import ElectorError
from .guard import Guard
from .settings import SIGNATURE, Options, Settings, resolve

__all__ = [
    "Default",
    "configure",
    "current",
    "default_elector",
    "on_demoted",
    "on_elected",
    "on_leader_change",
    "only_on_leader",
    "while_leader",
]

AnyCallback = TypeVar("AnyCallback", bound=Callable[..., object])


class Default:
    """The process-wide elector, and where its settings come from.

    `_provide` is written by an adapter while the application starts, and read when the settings
    are first needed.
    """

    def __init__(self) -> None:
        self._provide: Callable[[], Options] | None = None
        self._configured = False
        self.elector = Elector._lazy(self._read)

    @property
    def in_use(self) -> bool:
        """Whether the elector was ever started or stopped."""
        return access.is_used(self.elector)

    def configure(self, **settings: Unpack[Options]) -> Elector:
        """See `elector_thread.configure`."""
        access.reconfigure(self.elector, lambda: resolve(**settings), at_once=True)
        self._configured = True
        return self.elector

    def provide(self, options: Callable[[], Options]) -> None:
        """For adapters: use these settings unless `configure` is called. ``options`` reads them.

        Raises `ElectorError` if the elector is in use, or has settings of another app, already.
        """
        if self._provide is not None:
            raise ElectorError("the process-wide elector has the settings of another app already")
        self._provide = options  # first: a question may come in between
        try:
            if not self._configured:
                access.reconfigure(self.elector, self._read, at_once=False)
        except ElectorError:
            self._provide = None
            raise

    def _read(self) -> Settings:
        return resolve(**({} if self._provide is None else self._provide()))


current = Default()
"""The active instance; replaced only by `elector_thread.testing`."""


def configure(**settings: Unpack[Options]) -> Elector:
    """Set the settings of the process-wide elector: those of `Elector`. Returns it, not started.

    Call it where the application starts, before the first question. A second call replaces the
    settings; what was registered stays. Raises `ElectorError` if the elector is in use already,
    and `ConfigurationError` for a bad or missing setting.
    """
    return current.configure(**settings)


configure.__signature__ = SIGNATURE  # type: ignore[attr-defined]  # `help` shows every setting


def default_elector() -> Elector:
    """The process-wide elector. Returns at once and starts nothing.

    It starts at the first question (a guarded call, `Elector.is_leader`, `Elector.status`, a
    wait, …) or at `Elector.start`. Its settings come from `configure`, from an adapter, or from
    the environment; a `ConfigurationError` appears when it starts.
    """
    return current.elector


def on_elected(callback: AnyCallback) -> AnyCallback:
    """Register on the process-wide elector: see `Elector.on_elected`.

    Usable as a decorator in any module, before or after `configure`: it starts nothing and
    needs no settings. To remove the callback: ``default_elector().remove(callback)``.
    """
    return current.elector.on_elected(callback)


def on_demoted(callback: AnyCallback) -> AnyCallback:
    """Register on the process-wide elector: see `Elector.on_demoted` and `on_elected`."""
    return current.elector.on_demoted(callback)


def on_leader_change(callback: AnyCallback) -> AnyCallback:
    """Register on the process-wide elector: see `Elector.on_leader_change` and `on_elected`."""
    return current.elector.on_leader_change(callback)


def while_leader(fn: AnyCallback) -> AnyCallback:
    """Register on the process-wide elector: see `Elector.while_leader` and `on_elected`."""
    return current.elector.while_leader(fn)


only_on_leader = Guard(default_elector)
