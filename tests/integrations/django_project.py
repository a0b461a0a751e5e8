"""The Django example: its commands as real processes, and settings for what runs in this one."""

from __future__ import annotations

import subprocess
import sys

from django.conf import settings

from .replica import EXAMPLES, PATIENCE

PROJECT = EXAMPLES / "django_app"

if not settings.configured:
    settings.configure()


def manage(
    *arguments: str, env: dict[str, str], python: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py``, or ``python`` in the project's folder."""
    command = python or ("manage.py",)
    return subprocess.run(
        [sys.executable, *command, *arguments],
        cwd=PROJECT,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )
