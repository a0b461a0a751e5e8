"""What is told where an optional package is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

HIDE = "import sys; sys.modules[sys.argv[1]] = None; import importlib; "


@pytest.mark.parametrize(
    ("module", "missing", "told"),
    [
        ("integrations.flask", "flask", "Flask: pip install 'elector-thread[flask]'"),
        ("integrations.flask", "click", "Flask: pip install 'elector-thread[flask]'"),
        ("integrations.django", "django", "Django: pip install 'elector-thread[django]'"),
        ("integrations.django.views", "django", "Django: pip install 'elector-thread[django]'"),
        ("integrations.celery", "celery", "Celery: pip install 'elector-thread[celery]'"),
        (
            "integrations.apscheduler",
            "apscheduler",
            "APScheduler 3: pip install 'elector-thread[apscheduler]'",
        ),
        (
            "instrumentation.prometheus",
            "prometheus_client",
            "prometheus-client: pip install 'elector-thread[prometheus]'",
        ),
        (
            "instrumentation.opentelemetry",
            "opentelemetry",
            "opentelemetry-api: pip install 'elector-thread[opentelemetry]'",
        ),
    ],
)
def test_a_missing_package_is_told_with_its_extra(module: str, missing: str, told: str) -> None:
    code = f"{HIDE} importlib.import_module('elector_thread.{module}')"
    done = subprocess.run(
        [sys.executable, "-c", code, missing], capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: elector_thread.")
    assert told in last
    assert missing in last
    assert done.stderr.count("Error: ") == 1


@pytest.mark.parametrize("missing", ["h11", "starlette", "uvicorn"])
def test_only_what_serves_needs_the_extra_local(missing: str) -> None:
    code = f"{HIDE} import elector_thread.local.control, elector_thread.local.reporter\n"
    code += "from elector_thread.local import LocalElector"
    done = subprocess.run(
        [sys.executable, "-c", code, missing], capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    needs = "elector_thread.local needs h11, Starlette and uvicorn"
    assert last.startswith(f"ModuleNotFoundError: {needs}: pip install 'elector-thread[local]'")
    assert missing in last
    assert done.stderr.count("Error: ") == 1
