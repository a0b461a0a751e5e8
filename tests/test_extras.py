"""What is told where an optional package is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

HIDE = "import sys; sys.modules[sys.argv[1]] = None; import importlib; "


@pytest.mark.parametrize(
    ("module", "missing", "told"),
    [
        ("local", "h11", "h11, Starlette and uvicorn: pip install 'elector-thread[local]'"),
        ("local", "starlette", "h11, Starlette and uvicorn: pip install 'elector-thread[local]'"),
        ("local.control", "uvicorn", "pip install 'elector-thread[local]'"),
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
