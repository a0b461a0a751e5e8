"""``settings.ELECTOR_THREAD``, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings

from ...errors import ConfigurationError
from ...settings import Options
from .._settings import read_options

__all__ = ["Conf", "DjangoOptions", "read"]

SOURCE = "ELECTOR_THREAD"


class DjangoOptions(Options, total=False):
    """The type of ``ELECTOR_THREAD``, for projects that have it checked."""

    start_in: Sequence[str]


@dataclass(frozen=True, slots=True)
class Conf:
    """The project's settings.

    elector: the settings of `Elector`.
    start_in: further management commands in which the elector starts (``"start_in"``).
    """

    elector: Options
    start_in: tuple[str, ...]


def read() -> Conf:
    """The project's settings. Raises `ConfigurationError` for an unknown key."""
    elector, own = read_options(getattr(settings, SOURCE, {}), SOURCE, also=("start_in",))
    commands = own.get("start_in", ())
    if isinstance(commands, str) or not isinstance(commands, Sequence):
        raise ConfigurationError(
            f"{SOURCE}: start_in: expected a list of management commands, got {commands!r}"
        )
    return Conf(elector, tuple(commands))
