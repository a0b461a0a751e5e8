"""docs/logs.md: complete, up to date, and its set-ups show the fields."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from elector_thread._dispatch import log, messages
from tests.scripted import ScriptedServer

from .pages import DOCS, blocks, generated

BLOCKS = blocks("logs.md")
COMMON = {"elector_event", "elector_identity", "elector_leader", "elector_leadership"}


class Written(ast.NodeVisitor):
    """What the functions of `log` pass to `Log._write`: the names of messages, and fields."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.fields: set[str] = set()
        self.visit(ast.parse(inspect.getsource(log)))

    def visit_FunctionDef(self, function: ast.FunctionDef) -> None:
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "_write":
                self.names |= strings(call.args[0], function)
                self.fields |= {f"elector_{one.arg}" for one in call.keywords if one.arg != "error"}


def strings(argument: ast.expr, function: ast.FunctionDef) -> set[str]:
    """The values of an argument: itself, or what is assigned to the variable of that name."""
    if isinstance(argument, ast.Constant):
        return {argument.value}
    assert isinstance(argument, ast.Name)
    assigned = [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == argument.id
    ]
    (value,) = assigned
    assert isinstance(value, ast.IfExp)
    return {*strings(value.body, function), *strings(value.orelse, function)}


def test_every_message_that_is_written_is_in_the_table_and_the_reverse() -> None:
    assert Written().names == set(messages.MESSAGES)


def test_the_table_is_up_to_date() -> None:
    assert generated("logs.md", "messages") == messages.table()


def test_the_page_describes_every_field() -> None:
    text = (DOCS / "logs.md").read_text()
    described = re.findall(r"^\| `(elector_\w+)` \| [^|]*\|$", text, re.MULTILINE)
    assert set(described) == COMMON | Written().fields


WITH_AN_ELECTOR = """
import sys
import threading
from elector_thread import Elector

called = threading.Event()
elector = Elector(get_url=sys.argv[1], sse_url=sys.argv[2], identity="pod-a")

@elector.on_elected
def fail():
    called.set()
    raise ValueError("of the application")

with elector:
    assert called.wait(10)
"""


def lines(server: ScriptedServer, tmp_path: Path, name: str) -> list[str]:
    """What a process logs that is set up like this, becomes leader and stops."""
    server.leader = "pod-a"
    (tmp_path / name).write_text(BLOCKS[name] + WITH_AN_ELECTOR)
    ended = subprocess.run(
        [sys.executable, "-W", "error", name, server.get_url, server.sse_url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stderr.splitlines()


@pytest.mark.parametrize("name", ["json_logs.py", "structlog_logs.py"])
def test_the_fields_arrive(server: ScriptedServer, tmp_path: Path, name: str) -> None:
    records: dict[str, dict[str, Any]] = {}
    for line in lines(server, tmp_path, name):
        record = json.loads(line)
        records[record["elector_event"]] = record
    begun, failed, ended = (
        records[event] for event in ("leader", "callback_failed", "no_longer_leader")
    )
    assert (begun["elector_identity"], begun["elector_leader"]) == ("pod-a", "pod-a")
    assert (begun["elector_leadership"], ended["elector_leadership"]) == (1, 1)
    assert (ended["elector_reason"], ended["elector_leader"]) == ("stopped", None)
    assert (failed["elector_function"], failed["elector_reason"]) == (
        "on_elected callback fail",
        "ValueError",
    )
    assert "Traceback" in str(failed)
    text = begun.get("message", begun.get("event"))
    assert text == "pod-a is the leader (leadership 1)"
    assert "info" in str(begun).lower()


def test_plain_lines(server: ScriptedServer, tmp_path: Path) -> None:
    found = lines(server, tmp_path, "plain_logs.py")
    assert found[0].endswith(" INFO pod-a is the leader (leadership 1)")
    assert found[-1].endswith(" INFO pod-a is no longer the leader (leadership 1): stopped")
