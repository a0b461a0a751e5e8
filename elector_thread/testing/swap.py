"""Another process-wide elector for a while: a given one, or one made anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Unpack

from .. import default
from ..elector import Elector
from ..settings import Options

__all__ = ["StandIn", "own_default_elector", "use_as_default"]


class StandIn(default.Default):
    """Hands out one given elector, whatever the application configures."""

    def __init__(self, elector: Elector) -> None:
        super().__init__()
        self._stand_in = elector

    @property
    def in_use(self) -> bool:
        """True: there is nothing to configure or start any more."""
        return True

    def configure(self, **settings: Unpack[Options]) -> Elector:
        """Accepted, and without effect."""
        return self._stand_in

    def get(self) -> Elector:
        """The one it stands for."""
        return self._stand_in


@contextmanager
def _current(instead: default.Default) -> Iterator[None]:
    before, default.current = default.current, instead
    try:
        yield
    finally:
        default.current = before


@contextmanager
def use_as_default(elector: Elector) -> Iterator[Elector]:
    """Within the block ``elector`` is the process-wide one, which `only_on_leader` asks.

    ``configure()`` is accepted within it and changes nothing.
    """
    with _current(StandIn(elector)):
        yield elector


@contextmanager
def own_default_elector() -> Iterator[None]:
    """Within the block the process-wide elector is made anew when it is first asked for.

    It, too, is stopped at the end. For tests against `elector_thread.local`.
    """
    own = default.Default()
    with _current(own):
        try:
            yield
        finally:
            if own.made is not None:
                own.made.stop()
