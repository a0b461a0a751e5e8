"""The pytest plugin, as a user's own test run sees it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"

STRICT = """
[pytest]
addopts = --strict-markers --strict-config -p no:cacheprovider
filterwarnings = error
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other plugin that happens to be installed here: some take a second to import."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, **files: str) -> pytest.RunResult:
    pytester.makeini(STRICT)
    pytester.makepyfile(**files)
    return pytester.runpytest_subprocess("-q", "-p", "pytest_elector_thread")


def test_fixtures_and_marker(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        test_app="""
        import unittest, pytest, requests
        from elector_thread import Elector, default_elector, only_on_leader, SKIPPED

        @only_on_leader
        def work():
            return "done"

        def test_fake(fake_elector):
            assert work() is SKIPPED
            fake_elector.elect()
            assert work() == "done"
            assert default_elector() is fake_elector

        def test_local(local_elector):
            local_elector.elect("pod-a")
            with Elector(identity="pod-a") as elector:
                assert elector.wait_until_leader(20)
            assert requests.get(local_elector.get_url).json()["name"] == "pod-a"
            assert not default_elector().is_leader

        def test_local_again(local_elector):
            local_elector.elect(default_elector().identity)
            assert default_elector().wait_until_leader(20)
            assert work() == "done"

        @pytest.fixture
        def during_setup():
            yield work()
            assert work() == "done"

        @pytest.mark.leader
        def test_marked(during_setup):
            assert during_setup == "done"

        @pytest.mark.leader(False)
        class TestFollower:
            def test_inherits(self):
                assert work() is SKIPPED

            @pytest.mark.leader(leading=True)
            def test_the_closest_counts(self):
                assert work() == "done"

        class TestOld(unittest.TestCase):
            @pytest.mark.leader
            def test_unittest(self):
                assert work() == "done"

        def test_unmarked():
            with pytest.raises(ValueError, match="ELECTOR_GET_URL"):
                work()
        """,
    )
    result.assert_outcomes(passed=8)


def test_a_wrong_marker_is_an_error_and_leaves_no_override(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        test_app="""
        import pytest
        from elector_thread.testing import FakeElector

        @pytest.mark.leader("yes")
        def test_wrong():
            pass

        @pytest.mark.leader
        def test_fails():
            assert False

        def test_after():
            assert not FakeElector().is_leader
        """,
    )
    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*pytest.mark.leader: expected no argument, True or False, got*"])


def test_local_elector_without_its_extra_is_a_one_line_error(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        conftest="import sys; sys.modules['h11'] = None",
        test_app="def test_local(local_elector): pass",
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["local_elector: elector_thread.local needs h11, *: pip install 'elector-thread[[]local]'*"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("* import *")


def test_nothing_of_the_library_is_imported_before_it_is_used(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        test_app="""
        import sys

        def test_imports():
            heavy = {"elector_thread", "requests", "urllib3", "sseclient", "tenacity", "uvicorn"}
            assert "pytest_elector_thread" in sys.modules
            assert not heavy & set(sys.modules)
        """,
    )
    result.assert_outcomes(passed=1)


def test_pytest_finds_it_by_its_entry_point() -> None:
    (entry,) = entry_points(group="pytest11", name="elector_thread")
    assert entry.value == "pytest_elector_thread"


def test_the_kit_itself_needs_no_pytest() -> None:
    code = "import sys; import elector_thread.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_example_on_the_page_passes(pytester: pytest.Pytester) -> None:
    """Each Python block names its file in its first line."""
    blocks = re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.M)
    assert len(blocks) == PAGE.read_text().count("```python")
    files = dict(blocks)
    assert len(files) == len(blocks)
    result = run(pytester, **files)
    assert result.ret == 0
    passed = result.parseoutcomes()["passed"]
    assert passed == sum(block.count("def test_") for block in files.values())
