"""``elector-thread elect`` and ``fault``: steer a local elector that runs elsewhere.

Owns their arguments and their output; what happens is `elector_thread.local.control`'s.
"""

from __future__ import annotations

from typing import Annotated, Any, NoReturn

import typer

from ..local.control import Control, ControlError, find
from ..local.faults import FaultError, FaultKind, check_fault
from . import console

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add ``elect`` and ``fault`` to the command line."""
    app.command("elect")(elect)
    app.command("fault")(fault)


def elect(
    name: Annotated[str, typer.Argument(help="Who leads from now on, a replica or not.")],
) -> None:
    """Make somebody the leader of the local elector."""
    state = find().elect(name)
    living = {replica["name"] for replica in state["replicas"] if replica["alive"]}
    stranger = "" if not living or name in living else " (no replica here has that name)"
    console.say(f"{name} leads{stranger}")


def fault(
    kind: Annotated[
        str | None, typer.Argument(help="What to break; --list tells what there is.")
    ] = None,
    replica: Annotated[
        str | None, typer.Option(help="Only this one; without it, everybody.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="How long; without it, until it is cleared.")
    ] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="End faults: all, or those of KIND or --replica.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--list", help="Tell what can be broken, and what is right now.")
    ] = False,
) -> None:
    """Break something on purpose, or mend it."""
    if [kind is not None and not clear, clear, show].count(True) != 1:
        _refuse("expected a KIND, --clear or --list")
    if seconds is not None and (clear or show):
        _refuse("--seconds belongs to the beginning of a fault")
    _check(kind, seconds)
    if show:
        _list()
    elif clear:
        _clear(kind, replica)
    else:
        assert kind is not None
        _begin(kind, replica, seconds)


def _check(kind: str | None, seconds: float | None) -> None:
    """Before anybody is asked, so that a slip is told the same with and without an elector."""
    if kind is None:
        return
    try:
        check_fault(kind, seconds)
    except FaultError as error:
        _refuse(str(error))


def _begin(kind: str, replica: str | None, seconds: float | None) -> None:
    begun = find().fault(kind, replica, seconds)
    console.say(_described(begun))


def _clear(kind: str | None, replica: str | None) -> None:
    ended = find().clear(kind, replica)
    console.say(f"{ended} {'fault' if ended == 1 else 'faults'} cleared")


def _list() -> None:
    width = max(len(kind.word) for kind in FaultKind)
    for kind in FaultKind:
        console.say(f"{kind.word:<{width}}  {kind.label}: {kind.effect}")
    elector = _running()
    for fault in elector.state()["faults"] if elector is not None else ():
        console.say(f"on now: {_described(fault)}")


def _running() -> Control | None:
    """What there is can be told without an elector, too."""
    try:
        return find()
    except ControlError:
        return None


def _described(fault: dict[str, Any]) -> str:
    whom = fault["replica"] or "everybody"
    left = fault["remaining"]
    until = "" if left is None else f" for {left:g} s"
    return f"{fault['kind']}: {whom}{until}"


def _refuse(problem: str) -> NoReturn:
    console.complain("fault", problem)
    raise typer.Exit(console.BAD_USAGE)
