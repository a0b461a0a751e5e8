"""The process-wide elector, for code that has no place to keep one."""

from __future__ import annotations

import os
from threading import Lock
from typing import Any

from .elector import Elector
from .errors import ElectorError
from .guard import Guard

__all__ = ["configure", "default_elector", "only_on_leader"]

_lock = Lock()  # protects `_default` and `_handed_out`
_default: Elector | None = None
_handed_out = False


def configure(**settings: Any) -> Elector:
    """Give the process-wide elector its settings: those of `Elector`. Returns it, not started.

    What is registered on it is told as soon as something starts it: the first
    `default_elector()` or guarded call. To be called before that, typically where the
    application starts; raises `ElectorError` afterwards, and `ConfigurationError` for
    a bad setting.
    """
    global _default
    with _lock:
        if _handed_out:
            raise ElectorError(
                "configure() came too late: the default elector is in use already; "
                "call it before the first default_elector() or guarded call"
            )
        _default = Elector(**settings)
        return _default


def default_elector() -> Elector:
    """The process-wide elector, made from the environment and started at the first call."""
    global _default, _handed_out
    if _default is not None and _handed_out:
        return _default
    with _lock:
        if _default is None:
            _default = Elector()
        if not _handed_out:
            _default.start()
            _handed_out = True
        return _default


def _reset_lock_after_fork() -> None:
    global _lock
    _lock = Lock()  # whoever held it is gone


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_lock_after_fork)

only_on_leader = Guard(default_elector)
