"""``doctor``: checks everything that is often wrong in a pod, and suggests remedies.

Each check returns findings and never raises. One cause is one finding.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from ..settings import Settings
from .checks_app import check_app
from .checks_environment import check_identity, check_proxies, check_variables, check_workers
from .checks_lease import check_lease
from .checks_settings import IDENTITY, SCOPE, VERIFY, Usable, check_settings
from .checks_sidecar import check_sidecar
from .findings import NOTE, PROBLEM, Finding, as_text
from .terminal import print_line

__all__ = ["doctor"]


def doctor(*, as_json: bool, app: str | None) -> int:
    """Run all checks and print the findings; 0 if there are no problems, else 1."""
    findings = [*_examine(os.environ), *check_app(app)]
    ok = all(finding.level != PROBLEM for finding in findings)
    if as_json:
        print_line(json.dumps({"ok": ok, "findings": [asdict(each) for each in findings]}))
    else:
        for finding in findings:
            print_line(as_text(finding))
    return 0 if ok else 1


def _examine(env: Mapping[str, str]) -> Iterator[Finding]:
    yield from check_variables(env)
    findings, usable = check_settings(env)
    yield from findings
    if usable.settings is not None:
        yield from _ask(usable, usable.settings)


def _ask(usable: Usable, settings: Settings) -> Iterator[Finding]:
    """The checks that need settings, apart from those whose own setting cannot be used."""
    leader = None
    if settings.configured:
        findings, leader = check_sidecar(settings)
        yield from findings
    else:
        assumed = settings.when_unconfigured
        yield Finding(NOTE, "GET", f"no elector is configured: when_unconfigured={assumed!r}")
    if VERIFY not in usable.ignored:
        yield from check_lease(settings, usable.env, leader)
    if IDENTITY not in usable.ignored:
        yield check_identity(settings, usable.env, leader)
    yield from check_proxies(settings)
    if SCOPE not in usable.ignored:
        yield from check_workers(settings, usable.env)
