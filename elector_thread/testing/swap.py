"""Replacing the process-wide elector for the length of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, Unpack

from .. import default
from ..elector import Elector
from ..settings import Options

__all__ = ["StandIn", "own_default_elector", "use_as_default"]

SomeElector = TypeVar("SomeElector", bound=Elector)


class StandIn(default.Default):
    """Always returns one given elector, also after `configure`."""

    def __init__(self, elector: Elector) -> None:
        super().__init__()
        self.elector = elector

    @property
    def in_use(self) -> bool:
        """True: there is nothing to configure or to start."""
        return True

    def configure(self, **settings: Unpack[Options]) -> Elector:
        """Has no effect."""
        return self.elector

    def provide(self, options: Callable[[], Options]) -> None:
        """Has no effect."""


@contextmanager
def _replaced(instead: default.Default) -> Iterator[None]:
    before, default.current = default.current, instead
    try:
        yield
    finally:
        default.current = before


@contextmanager
def use_as_default(elector: SomeElector) -> Iterator[SomeElector]:
    """Within the block ``elector`` is the process-wide one, which `only_on_leader` uses.

    Calls of ``configure()`` return it and have no other effect.
    """
    with _replaced(StandIn(elector)):
        yield elector


@contextmanager
def own_default_elector() -> Iterator[None]:
    """Within the block there is a new process-wide elector, made when it is first needed.

    It is stopped at the end. For tests with a local elector (`elector_thread.local`).
    """
    own = default.Default()
    with _replaced(own):
        try:
            yield
        finally:
            own.elector.stop()
