"""docs/metrics.md: every block runs, and the table is the one of the code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from elector_thread.instrumentation import _table
from tests.scripted import ScriptedServer

from .pages import blocks, generated

BLOCKS = blocks("metrics.md")


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_runs_as_it_is(server: ScriptedServer, tmp_path: Path, name: str) -> None:
    """tests/instrumentation/test_multiprocess.py serves those for gunicorn."""
    (tmp_path / name).write_text(BLOCKS[name])
    environ = {"ELECTOR_GET_URL": server.get_url, "ELECTOR_SSE_URL": server.sse_url}
    if name == "app.py":
        environ["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-W", "error", name],
        env={**os.environ, **environ},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_table_is_up_to_date() -> None:
    assert generated("metrics.md", "metrics") == _table.table()
