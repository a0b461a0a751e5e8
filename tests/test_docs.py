"""Every Python block of these pages runs as it is written: beside an elector, and on a laptop."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from .scripted import ScriptedServer

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/package-index.md", "docs/guide.md", "docs/processes.md")

BLOCK = re.compile(
    r"^```python\n(.*?)^```\n(?:\n[^\n]*prints:\n\n^```text\n(.*?)^```)?", re.S | re.M
)
"""A block, and what the page says that it prints."""

SET_UP = re.compile(r"# on a laptop: ((?:\w+=\S+ )*)python app\.py\n")
"""The first line of a block that needs an elector."""


def blocks() -> list[tuple[str, str, str]]:
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text()
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append((f"{page}:{line}", match[1], match[2] or ""))
    return found


BLOCKS = blocks()


def run(code: str, environ: dict[str, str], folder: Path) -> str:
    """Run a block as a program of its own, which must succeed quietly; what it prints."""
    (folder / "app.py").write_text(code)
    unwanted = ("ELECTOR_", "NAIS_", "KUBERNETES_")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    ended = subprocess.run(
        [sys.executable, "app.py"],
        env={**ours, **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@pytest.mark.parametrize("code", [code for _, code, _ in BLOCKS], ids=[name for name, *_ in BLOCKS])
def test_a_block_runs_beside_an_elector(server: ScriptedServer, tmp_path: Path, code: str) -> None:
    server.leader = "pod-a"
    environ = {
        "ELECTOR_GET_URL": server.get_url,
        "ELECTOR_SSE_URL": server.sse_url,
        "ELECTOR_THREAD_IDENTITY": "pod-a",
    }
    run(code, environ, tmp_path)


@pytest.mark.parametrize(
    ("code", "promised"),
    [(code, promised) for _, code, promised in BLOCKS],
    ids=[name for name, *_ in BLOCKS],
)
def test_a_block_runs_on_a_laptop_with_the_set_up_that_it_states(
    tmp_path: Path, code: str, promised: str
) -> None:
    stated = SET_UP.match(code)
    variables = dict(pair.split("=") for pair in stated[1].split()) if stated else {}
    printed = run(code, variables, tmp_path).replace(socket.gethostname(), "laptop")
    if promised:
        assert without_repetitions(printed) == without_repetitions(promised)


def without_repetitions(text: str) -> list[str]:
    """The lines; how often a loop prints the same one depends on the machine."""
    return [line for line, _ in groupby(text.splitlines())]


def test_the_readme_says_what_callbacks_and_leader_tasks_print() -> None:
    assert [name.partition(":")[0] for name, _, promised in BLOCKS if promised] == ["README.md"] * 2


def test_the_page_for_a_package_index_has_no_relative_links() -> None:
    text = (ROOT / "docs" / "package-index.md").read_text()
    assert "package-index.md" in (ROOT / "pyproject.toml").read_text()
    assert not [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert "<img" not in text


@pytest.mark.parametrize("page", sorted(["README.md", "CONTRIBUTING.md", *(
    str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")
)]))  # fmt: skip
def test_links_within_the_project_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target and not target.startswith("#"):
            assert (ROOT / page).parent.joinpath(target.partition("#")[0]).exists(), target
