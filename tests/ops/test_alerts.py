"""The alerts in ops/: promtool accepts and tests them, and the runbook explains each of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ..processes import run_python

yaml = pytest.importorskip("yaml", reason="NOT TESTED: pyyaml is not installed")

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"
RULES = (OPS / "alerts.yaml").read_text()
TESTS: dict[str, Any] = yaml.safe_load((OPS / "alerts.test.yaml").read_text())
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES)["groups"] for rule in group["rules"]
}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("promtool"):
        pytest.skip("NOT TESTED: promtool is not installed (Debian: prometheus)")
    return subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, timeout=30, check=False
    )


def outcome(
    folder: Path, rules: Iterable[dict[str, Any]], tests: list[dict[str, Any]]
) -> subprocess.CompletedProcess[str]:
    """How these tests of alerts.test.yaml end with these rules."""
    groups = {"groups": [{"name": "rules", "rules": list(rules)}]}
    (folder / "alerts.yaml").write_text(yaml.safe_dump(groups))
    (folder / "alerts.test.yaml").write_text(yaml.safe_dump({**TESTS, "tests": tests}))
    return promtool("test", "rules", str(folder / "alerts.test.yaml"))


def generated(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, str(OPS / "prometheus_rule.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout


# --- the rules


def test_the_alerts_fire_and_do_not_fire() -> None:
    ended = promtool("test", "rules", str(OPS / "alerts.test.yaml"))
    assert ended.returncode == 0, ended.stderr


def cases(name: str, *, fires: bool) -> list[dict[str, Any]]:
    wanted = f"{name} fires " if fires else f"{name} does not fire "
    return [test for test in TESTS["tests"] if test["name"].startswith(wanted)]


def test_every_test_is_of_an_alert() -> None:
    found = [test for name in ALERTS for f in (True, False) for test in cases(name, fires=f)]
    assert len(found) == len(TESTS["tests"])


@pytest.mark.parametrize("fires", [True, False], ids=["fires", "does not fire"])
@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_is_tested_both_ways(tmp_path: Path, name: str, fires: bool) -> None:
    """The tests fail for an alert that never fires, and for one that always does."""
    wrong = {**ALERTS[name], "expr": "vector(0) > 1" if fires else "vector(1)"}
    tests = cases(name, fires=fires)
    assert tests
    assert outcome(tmp_path, [ALERTS[name]], tests).returncode == 0
    assert outcome(tmp_path, [wrong], tests).returncode == 1


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "consequence", "action", "runbook_url"}


# --- the PrometheusRule

FIELDS = {"alert", "annotations", "expr", "for", "labels"}
"""The fields of a rule in the schema of the Prometheus Operator that are used here.
Source: its CustomResourceDefinition of PrometheusRule, monitoring.coreos.com/v1."""


def test_the_prometheus_rule_is_the_plain_rules() -> None:
    assert (OPS / "prometheus-rule.yaml").read_text() == generated()
    manifest = yaml.safe_load(generated())
    assert (manifest["apiVersion"], manifest["kind"]) == (
        "monitoring.coreos.com/v1",
        "PrometheusRule",
    )
    assert manifest["metadata"] == {"name": "elector-thread"}
    assert manifest["spec"] == yaml.safe_load(RULES)


def test_the_prometheus_rule_fits_the_schema_of_the_operator() -> None:
    (group,) = yaml.safe_load(generated())["spec"]["groups"]
    assert set(group) == {"name", "rules"}
    for rule in group["rules"]:
        assert set(rule) <= FIELDS
        texts = [rule["expr"], *rule["labels"].values(), *rule["annotations"].values()]
        assert all(isinstance(text, str) for text in texts)
        assert re.fullmatch(r"\d+m", rule.get("for", "1m"))


def test_the_rules_of_a_namespace_select_it_everywhere(tmp_path: Path) -> None:
    manifest = yaml.safe_load(generated("--namespace", "my-team"))
    assert manifest["metadata"]["namespace"] == "my-team"
    for rule in manifest["spec"]["groups"][0]["rules"]:
        after = re.findall(r"\b(?:elector_thread|kube_pod)_\w+(.{20})", rule["expr"])
        assert set(after) == {'{namespace="my-team"'}
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(manifest["spec"]))
    ended = promtool("check", "rules", str(rules))
    assert ended.returncode == 0, ended.stderr


# --- the runbook


def test_each_alert_has_a_section_in_the_runbook_and_the_reverse() -> None:
    sections = re.findall(r"^## (Elector\w+)$", RUNBOOK, re.M)
    assert sections == list(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"


@pytest.mark.parametrize("name", ALERTS)
def test_a_section_says_what_the_alert_means_and_what_to_do(name: str) -> None:
    section = re.split(r"^## ", RUNBOOK.partition(f"## {name}\n")[2], maxsplit=1, flags=re.M)[0]
    assert re.findall(r"^### (.*)$", section, re.M) == ["Meaning", "Diagnosis", "Mitigation"]


def test_the_queries_of_the_runbook_are_valid(tmp_path: Path) -> None:
    queries = re.findall(r"^```promql\n(.*?)^```", RUNBOOK, re.M | re.S)
    assert queries
    records = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(queries)]
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": records}]}))
    ended = promtool("check", "rules", str(rules))
    assert ended.returncode == 0, ended.stderr


# --- the page about operations


def anchors(text: str) -> set[str]:
    return {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)}


def test_the_links_between_the_two_pages_lead_to_a_section() -> None:
    links = re.findall(r"\]\((?:runbook\.md)?#([^)]+)\)", OPERATIONS + RUNBOOK)
    assert set(links) <= anchors(RUNBOOK)
    assert set(re.findall(r"operations\.md#([^)]+)\)", RUNBOOK)) <= anchors(OPERATIONS)


def test_the_table_of_alerts_is_complete() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(.*\| (\w+) \|$", OPERATIONS, re.M)
    assert rows == [(name, rule["labels"]["severity"]) for name, rule in ALERTS.items()]


def test_the_example_of_a_job_runs() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", OPERATIONS, re.M | re.S)
    ended = run_python(example)
    assert (ended.exit_code, ended.err) == (0, "")
