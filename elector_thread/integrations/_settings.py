"""A framework's ``ELECTOR_THREAD = {…}``: its keys, and what may wait until it is used."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ..elector import Elector
from ..errors import ConfigurationError
from ..settings import resolve

__all__ = ["check_keys", "is_merely_unconfigured"]

KEYS = tuple(inspect.signature(Elector).parameters)
"""What may be set: the arguments of `Elector`."""


def check_keys(given: object, source: str, also: tuple[str, ...] = ()) -> dict[str, Any]:
    """``given`` as keyword arguments; `ConfigurationError` for no mapping or an unknown key.

    source: what the setting is called, for the message. also: keys beyond `Elector`'s.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{source}: expected a dict of settings, got {given!r}")
    known = (*KEYS, *also)
    unknown = [key for key in given if key not in known]
    if unknown:
        names = ", ".join(repr(key) for key in unknown)
        raise ConfigurationError(f"{source}: unknown {names}; expected some of {', '.join(known)}")
    return dict(given)


def is_merely_unconfigured(settings: Mapping[str, Any]) -> bool:
    """Whether all is well with ``settings`` but that there is no elector to ask.

    That is the rule where images are built and tables are migrated, so it is an error
    only for whoever wants to know the leader.
    """
    if settings.get("get_url") is not None or settings.get("sse_url") is not None:
        return False
    try:
        resolve(**{**settings, "get_url": "http://localhost/"})
    except ConfigurationError:
        return False
    return True
