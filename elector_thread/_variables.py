"""Our own variables in the environment, by the names of settings. Part of `settings`."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["from_env", "variable"]


def variable(name: str) -> str:
    """The variable of a setting."""
    return f"ELECTOR_THREAD_{name.upper()}"


def from_env(name: str, env: Mapping[str, str]) -> str | None:
    """The text of a setting's variable; None if it is not set, or blank."""
    return env.get(variable(name), "").strip() or None
