"""The dashboard in ops/: Grafana can load it, and a real Prometheus answers every query."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from elector_thread.instrumentation._table import METRICS

OPS = Path(__file__).parents[2] / "ops"
DASHBOARD: dict[str, Any] = json.loads((OPS / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
BUILT_IN = {"__range", "__rate_interval"}


@pytest.mark.timeout(120)
def test_every_query_has_data_while_faults_are_played(tmp_path: Path) -> None:
    if not shutil.which("prometheus"):
        pytest.skip("NOT TESTED: prometheus is not installed (Debian: prometheus)")
    ended = subprocess.run(
        [sys.executable, str(OPS / "rehearse.py"), "--seconds", "10"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    evaluated = re.findall(r"^(\d+) series: ", ended.stdout, re.M)
    assert len(evaluated) == len(TARGETS)


def test_every_panel_has_a_query_and_a_name_of_its_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS})
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0


def test_the_panels_fill_the_grid_and_do_not_overlap() -> None:
    cells: list[tuple[int, int]] = []
    for place in (panel["gridPos"] for panel in PANELS):
        columns = range(place["x"], place["x"] + place["w"])
        rows = range(place["y"], place["y"] + place["h"])
        cells += itertools.product(columns, rows)
    height = max(row for _, row in cells) + 1
    assert sorted(cells) == sorted(itertools.product(range(24), range(height)))


def test_the_data_source_and_the_application_are_chosen_in_grafana() -> None:
    variables = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert variables == ["datasource", "namespace", "app"]
    for one in [*PANELS, *TARGETS, *DASHBOARD["templating"]["list"][1:]]:
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in TARGETS:
        used = set(re.findall(r"\$(\w+)", target["expr"]))
        assert {"namespace", "app"} <= used <= {"namespace", "app"} | BUILT_IN
    assert DASHBOARD["id"] is None  # else Grafana refuses to import it


def test_every_metric_is_one_that_the_library_exports() -> None:
    exported = set()
    for metric in METRICS:
        suffixes = {"counter": ["_total"], "summary": ["_sum", "_count"], "gauge": [""]}
        exported |= {metric.name + suffix for suffix in suffixes[metric.kind]}
    texts = [target["expr"] for target in TARGETS]
    texts += [str(variable["query"]) for variable in DASHBOARD["templating"]["list"]]
    pages = [OPS / "alerts.yaml", OPS / "alerts.test.yaml", OPS.parent / "docs" / "runbook.md"]
    texts += [page.read_text() for page in pages]
    used = set(re.findall(r"\b(elector_thread_\w+)", " ".join(texts)))
    assert used <= exported
