"""The examples in docs/local-elector.md run, each by itself; its table of faults is whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from elector_thread.local.faults import FaultKind

TEXT = (Path(__file__).parents[2] / "docs" / "local-elector.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example(example: str) -> None:
    exec(compile(example, "docs/local-elector.md", "exec"), {})


def test_every_fault_is_explained() -> None:
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", TEXT, re.MULTILINE) == [
        kind.word for kind in FaultKind
    ]
