"""Every Python block of the frameworks page stands in an example, word for word, or runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..scripted import ScriptedServer
from .replica import EXAMPLES, PATIENCE, environment

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
SOURCES = [path.read_text() for path in EXAMPLES.rglob("*.py")]
TO_RUN = [block for block in BLOCKS if block.startswith("from ")]


def test_blocks_are_parts_of_the_examples() -> None:
    for block in BLOCKS:
        assert block in TO_RUN or any(block in source for source in SOURCES), block


@pytest.mark.parametrize("block", TO_RUN, ids=lambda block: block.splitlines()[-1][:30])
def test_a_block_that_is_no_part_of_an_example_runs(server: ScriptedServer, block: str) -> None:
    server.leader = "pod-a"
    env = environment({"ELECTOR_GET_URL": server.get_url, "ELECTOR_SSE_URL": server.sse_url})
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
