"""Every Python block of the README and of the guide runs, alone, against a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .scripted import ScriptedServer

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/guide.md", "docs/processes.md")


def blocks() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text()
        for match in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            found.append((f"{page}:{line}", match[1]))
    return found


@pytest.mark.parametrize("code", [code for _, code in blocks()], ids=[name for name, _ in blocks()])
def test_a_block_runs_quietly(server: ScriptedServer, code: str) -> None:
    server.leader = "pod-a"
    environ = {
        **os.environ,
        "ELECTOR_GET_URL": server.get_url,
        "ELECTOR_SSE_URL": server.sse_url,
        "ELECTOR_THREAD_IDENTITY": "pod-a",
    }
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("page", sorted(["README.md", "CONTRIBUTING.md", *(
    str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")
)]))  # fmt: skip
def test_links_within_the_project_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target and not target.startswith("#"):
            assert (ROOT / page).parent.joinpath(target.partition("#")[0]).exists(), target
