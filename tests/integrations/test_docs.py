"""Every Python block of the frameworks page runs unchanged, and each example is shown on it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..scripted import ScriptedServer
from .django_project import PROJECT
from .replica import EXAMPLES, PATIENCE, environment

PAGE = (Path(__file__).parents[2] / "docs" / "frameworks.md").read_text()
SECTIONS = [section for section in re.split(r"^## ", PAGE, flags=re.MULTILINE) if "```" in section]

AS_A_MODULE = "import runpy, sys; runpy.run_path(sys.argv[1], {'INSTALLED_APPS': []})"
"""Imports a block. It may add to a list of Django's settings."""


def blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "section", [s for s in SECTIONS if "../examples/" in s], ids=lambda s: s.splitlines()[0]
)
def test_an_example_is_shown_on_the_page_word_for_word(section: str) -> None:
    (target,) = re.findall(r"\]\(\.\./examples/([^)]+)\)", section)
    path = EXAMPLES / target
    sources = [file.read_text() for file in (path.rglob("*.py") if path.is_dir() else [path])]
    shown = [any(block in source for source in sources) for block in blocks(section)]
    assert any(shown)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: s.splitlines()[0])
def test_a_section_names_its_module(section: str) -> None:
    assert section.split("\n\n")[1].startswith("`elector_thread.integrations.")


@pytest.mark.parametrize("block", blocks(PAGE), ids=lambda block: block.splitlines()[-1][:30])
def test_a_block_runs_unchanged(server: ScriptedServer, tmp_path: Path, block: str) -> None:
    server.leader = "pod-a"
    file = tmp_path / "block.py"
    file.write_text(block)
    platform = {"ELECTOR_GET_URL": server.get_url, "ELECTOR_SSE_URL": server.sse_url}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AS_A_MODULE, str(file)],
        env=environment(platform, {"DJANGO_SETTINGS_MODULE": "settings"}),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
