"""One result as a row, all of them as a table. No measuring here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Row", "as_dict", "rendered"]


@dataclass(frozen=True)
class Row:
    """One promise: what was measured, against what, and the bound it is held to.

    value, yardstick: medians, in the row's own unit, as text for people.
    figure: the number that the bound is about (a ratio, a count, megabytes).
    bound: its limit, None for what is only shown for comparison; at_least: whether that is
        a floor rather than a ceiling.
    """

    what: str
    value: str
    yardstick: str
    figure: float
    unit: str
    bound: float | None
    at_least: bool = False

    @property
    def held(self) -> bool | None:
        if self.bound is None:
            return None
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound


def as_dict(row: Row) -> dict[str, Any]:
    return {**asdict(row), "held": row.held}


def rendered(rows: list[Row]) -> str:
    head = ("what", "measured", "yardstick", "figure", "bound", "held")
    body = [
        (
            row.what,
            row.value,
            row.yardstick,
            f"{_number(row.figure)}{row.unit}",
            *_judged(row),
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    ruler = tuple("-" * width for width in widths)
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, ruler, *body]
    )


def _judged(row: Row) -> tuple[str, str]:
    if row.bound is None:
        return "", ""
    bound = f"{'>=' if row.at_least else '<='} {_number(row.bound)}{row.unit}"
    return bound, "yes" if row.held else "NO"


def _number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}"
