"""docs/asyncio.md: its module runs unchanged under every framework of the page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from elector_thread.local import LocalElector

from .replica import PATIENCE, SWITCH, Replica, environment, free_port

PAGE = (Path(__file__).parents[2] / "docs" / "asyncio.md").read_text()
BLOCK = re.compile(r"^([^\n]+)\n\n```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = {match[1].rstrip(":"): match[2] for match in BLOCK.finditer(PAGE)}
MODULE = BLOCKS["The elector and its work are in a module of their own, `reports.py`"]
FOLLOWING = BLOCKS["## Following the leader"]

UVICORN = ("-m", "uvicorn", "app:app", "--port", "PORT")
AIOHTTP = "import app; from aiohttp import web; web.run_app(app.app, host='127.0.0.1', port=PORT)"
COMMANDS = {
    "FastAPI": UVICORN,
    "Starlette": UVICORN,
    "Litestar": UVICORN,
    "Quart": ("-m", "hypercorn", "app:app", "--bind", "127.0.0.1:PORT"),
    "aiohttp": ("-c", AIOHTTP),
    "No framework": ("app.py",),
}


def test_every_block_of_the_page_is_tested() -> None:
    assert len(BLOCKS) == PAGE.count("```python")
    assert list(BLOCKS.values()) == [MODULE, *(BLOCKS[name] for name in COMMANDS), FOLLOWING]


@pytest.mark.parametrize("framework", COMMANDS)
def test_the_module_runs_under(framework: str, local: LocalElector, tmp_path: Path) -> None:
    (tmp_path / "reports.py").write_text(MODULE)
    (tmp_path / "app.py").write_text(BLOCKS[framework])
    command = [part.replace("PORT", str(free_port())) for part in COMMANDS[framework]]
    env = environment(local.environ, {"PYTHONPATH": str(tmp_path)})
    with Replica(*command, env=env, cwd=tmp_path) as replica:
        replica.wait_line("leadership 1: sending reports")
        local.elect("pod-b")
        replica.wait_line("leadership 1 is over: replaced", within=SWITCH)
        local.elect("pod-a")
        replica.wait_line("leadership 2: sending reports", within=SWITCH)
        replica.terminate()
        replica.wait_line("leadership 2 is over: stopped")
    for sign in ("Traceback", "was never awaited", "destroyed"):
        assert sign not in replica.output, replica.output


def test_following_the_leader(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FOLLOWING)
    ended = subprocess.run(
        [sys.executable, "-W", "error", "app.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "None -> pod-a\n", "")
