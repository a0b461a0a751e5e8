"""``elect`` and ``fault``: control a local elector that runs in another process."""

from __future__ import annotations

from typing import Any

from ..local.control import ControlError, find
from ..local.faults import FaultError, FaultKind, check_fault
from .terminal import UsageError, print_line, print_message

__all__ = ["elect", "fault"]


def elect(name: str) -> int:
    """Make ``name`` the leader of the local elector."""
    state = find().elect(name)
    living = {replica["name"] for replica in state["replicas"] if replica["alive"]}
    note = "" if not living or name in living else " (no replica has that name)"
    print_message("elect", f"{name} leads{note}")
    return 0


def fault(
    kind: str | None, *, replica: str | None, seconds: float | None, clear: bool, show: bool
) -> int:
    """Start a fault, clear faults, or show them. Raises `UsageError`."""
    if [kind is not None and not clear, clear, show].count(True) != 1:
        raise UsageError("expected a KIND, --clear or --list")
    if seconds is not None and (clear or show):
        raise UsageError("--seconds applies only when a fault is started")
    _check(kind, seconds)
    if show:
        _show()
    elif clear:
        count = find().clear(kind, replica)
        print_message("fault", f"{count} {'fault' if count == 1 else 'faults'} cleared")
    elif kind is not None:
        print_message("fault", _described(find().fault(kind, replica, seconds)))
    return 0


def _check(kind: str | None, seconds: float | None) -> None:
    """Check first, so that a typo gets the same answer with and without a running elector."""
    if kind is None:
        return
    try:
        check_fault(kind, seconds)
    except FaultError as error:
        raise UsageError(str(error)) from None


def _show() -> None:
    width = max(len(kind.word) for kind in FaultKind)
    for kind in FaultKind:
        print_line(f"{kind.word:<{width}}  {kind.label}: {kind.effect}")
    try:
        active = find().state()["faults"]
    except ControlError:  # the kinds can be listed without an elector
        return
    for each in active:
        print_line(f"active: {_described(each)}")


def _described(fault: dict[str, Any]) -> str:
    target = fault["replica"] or "all replicas"
    left = fault["remaining"]
    return f"{fault['kind']}, {target}{'' if left is None else f', for {left:g} s'}"
