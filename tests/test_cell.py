"""The one place where the state lives, without threads."""

from __future__ import annotations

import pytest

from elector_thread import LeaderChange
from elector_thread._state.model import Snapshot
from elector_thread._state.store import MAX_PENDING_CHANGES, Cell


@pytest.fixture
def cell() -> Cell:
    return Cell(Snapshot("pod-a", 30.0))


def hear(cell: Cell, *names: str) -> None:
    for name in names:
        cell.hear(cell.epoch, [name], cell.now())


def untold(cell: Cell) -> list[LeaderChange]:
    found = []
    while (change := cell.next_change()) is not None:
        found.append(change)
    return found


def test_changes_that_nobody_takes_fold_into_one(cell: Cell) -> None:
    hear(cell, "x", *(f"pod-{n}" for n in range(MAX_PENDING_CHANGES)))
    assert untold(cell) == [LeaderChange(None, f"pod-{MAX_PENDING_CHANGES - 1}")]


def test_changes_that_fold_into_none_are_told_to_nobody(cell: Cell) -> None:
    hear(cell, "x")
    assert untold(cell) == [LeaderChange(None, "x")]
    hear(cell, *(f"pod-{n}" for n in range(MAX_PENDING_CHANGES)), "x")
    assert untold(cell) == []
    hear(cell, "y")
    assert untold(cell) == [LeaderChange("x", "y")]


def test_a_seat_that_is_taken_in_an_ended_life_makes_no_leader() -> None:
    cell = Cell(Snapshot("pod-a", 30.0, exclusive=True, seated=False))
    ended = cell.epoch
    cell.end_epoch()
    hear(cell, "pod-a")
    cell.seat(ended, True)
    assert cell.snapshot.lead_until < cell.now()
    cell.seat(cell.epoch, True)
    assert cell.snapshot.lead_until > cell.now()
