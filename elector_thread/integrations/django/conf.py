"""``settings.ELECTOR_THREAD``, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from ...errors import ConfigurationError
from .._settings import check_keys

__all__ = ["Conf", "read"]

SOURCE = "ELECTOR_THREAD"


@dataclass(frozen=True, slots=True)
class Conf:
    """What the project says.

    elector: the arguments of `Elector`.
    start_in: management commands in which to start as well (``"start_in"``).
    """

    elector: dict[str, Any]
    start_in: tuple[str, ...]


def read() -> Conf:
    """The project's settings; `ConfigurationError` for an unknown key."""
    given = check_keys(getattr(settings, SOURCE, {}), SOURCE, also=("start_in",))
    commands = given.pop("start_in", ())
    if isinstance(commands, str) or not isinstance(commands, Sequence):
        raise ConfigurationError(
            f"{SOURCE}: start_in: expected a list of management commands, got {commands!r}"
        )
    return Conf(given, tuple(commands))
