"""What ``doctor`` finds, and how it is shown."""

from __future__ import annotations

import shutil
import sys
import textwrap
from dataclasses import dataclass

from ..local.output import has_colours
from .terminal import one_line

__all__ = ["MANIFEST", "NOTE", "OK", "PROBLEM", "Finding", "as_text"]

OK, NOTE, PROBLEM = "ok", "note", "problem"
COLOURS = {OK: "32", NOTE: "36", PROBLEM: "1;31"}

MANIFEST = "set 'spec.leaderElection: true' in the NAIS manifest and deploy"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    level: ``"ok"``, ``"note"`` or ``"problem"``.
    check: what was checked. message: what was found. remedy: what to do about it.
    """

    level: str
    check: str
    message: str
    remedy: str | None = None


def as_text(finding: Finding) -> str:
    """The finding as lines for the terminal."""
    width = min(100, shutil.get_terminal_size((80, 24)).columns)
    head = f"{finding.level:<8} {finding.check:<12} "
    lines = _wrapped(finding.message, head, width)
    if finding.remedy is not None:
        lines += _wrapped(f"→ {finding.remedy}", " " * len(head), width)
    if has_colours(sys.stdout):
        level = finding.level
        lines[0] = lines[0].replace(level, f"\033[{COLOURS[level]}m{level}\033[0m", 1)
    return "\n".join(lines)


def _wrapped(text: str, head: str, width: int) -> list[str]:
    return textwrap.wrap(
        one_line(text),
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
