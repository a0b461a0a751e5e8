"""The examples in docs/up.md: the web servers run, and the recorded output is what `up` prints."""

from __future__ import annotations

import os
import re
import shlex
import sys
import urllib.request
from pathlib import Path

import pytest

from elector_thread.cli import main

from .helpers import Up, leaders

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "up.md").read_text(encoding="utf-8")

Output = dict[tuple[str, str], list[str]]
"""What each replica printed, sorted, by its name and the mark of its stream."""


def fetch(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        text: str = answer.read().decode()
        return text


def test_a_web_server_on_its_port(tmp_path: Path) -> None:
    (web,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "web.py").write_text(web)
    with Up("-n", "2", "--", sys.executable, str(tmp_path / "web.py")) as up:
        urls = [line[1] for line in up.matches(r"^app-\S+ +\| (http\S+)$", 2)]
        (first,) = leaders(up, 1)
        assert len(set(urls)) == 2
        for url in urls:
            assert fetch(url) in (f"the leader is {first}\n", "the leader is None\n")


def test_a_server_that_takes_its_port_as_an_argument() -> None:
    (line,) = re.findall(r"^\$ elector-thread up (.*uvicorn.*)$", TEXT, re.MULTILINE)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with Up("-n", "2", *shlex.split(line), PATH=path, PYTHONPATH=str(ROOT)) as up:
        running = up.matches(r"Uvicorn running on (\S+)", 2, stderr=True)
        for match in running:
            assert '"is_leader":' in fetch(match[1])


def printed(lines: list[str], isolated: str, other: str) -> Output:
    """The lines without what differs from run to run: names, addresses, rounds and ports."""
    found: Output = {}
    for line in lines:
        match = re.match(r"(\S+) +([|!]) (.*)", line)
        assert match, line
        text = match[3].replace(isolated, "ISOLATED").replace(other, "OTHER")
        if not re.match("the elector answers|its page|starting|fault injected|round", text):
            source = {isolated: "ISOLATED", other: "OTHER"}.get(match[1], match[1])
            found.setdefault((source, match[2]), []).append(text)
    return {key: sorted(texts) for key, texts in found.items()}


def test_the_output_for_an_isolated_leader_is_real() -> None:
    (block,) = re.findall(r"^```console\n([^`]*--verify[^`]*)^```$", TEXT, re.MULTILINE)
    commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    recorded = [line for line in block.splitlines() if not line.startswith("$ ")]
    exported = re.findall(r"(\w+)=(\S+)", " ".join(commands[:-1]))
    options = shlex.split(commands[-1])[2:-2]
    worker = ROOT / "examples" / "worker.py"

    with Up(*options, sys.executable, str(worker), **dict(exported)) as up:
        (isolated,) = leaders(up, 1)
        (other,) = {line[1] for line in up.matches(r"^(\S+) +\| the leader is", 2)} - {isolated}
        up.line(rf"^{isolated} +\| round 1")
        assert main(["fault", "split", "--replica", isolated]) == 0
        up.line(rf"^{isolated} +\| lost leadership")
        up.line(rf"^{other} +\| round 3")
        real = printed([*up.lines, *up.errors], isolated, other)

    names = re.findall(r"\| (app-\S+) leads", block)
    assert printed(recorded, *names) == real
