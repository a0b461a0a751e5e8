"""``doctor``: checks everything that is often wrong in a pod, and suggests remedies.

Each check returns findings and never raises. One cause is one finding.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from .. import ConfigurationError
from ..settings import resolve
from .checks_environment import check_identity, check_proxies, check_variables, check_workers
from .checks_lease import check_lease
from .checks_sidecar import check_sidecar
from .findings import NOTE, PROBLEM, Finding, as_text
from .terminal import print_line

__all__ = ["doctor"]


def doctor(*, as_json: bool) -> int:
    """Run all checks and print the findings; 0 if there are no problems, else 1."""
    findings = list(_examine(os.environ))
    ok = all(finding.level != PROBLEM for finding in findings)
    if as_json:
        print_line(json.dumps({"ok": ok, "findings": [asdict(each) for each in findings]}))
    else:
        for finding in findings:
            print_line(as_text(finding))
    return 0 if ok else 1


def _examine(env: Mapping[str, str]) -> Iterator[Finding]:
    yield from check_variables(env)
    try:
        settings = resolve(env)
    except ConfigurationError as error:
        yield Finding(PROBLEM, "settings", str(error))
        return
    leader = None
    if settings.configured:
        findings, leader = check_sidecar(settings)
        yield from findings
    else:
        assumed = settings.when_unconfigured
        yield Finding(NOTE, "GET", f"no elector is configured: when_unconfigured={assumed!r}")
    yield from check_lease(settings, env, leader)
    yield check_identity(settings, env, leader)
    yield from check_proxies(settings)
    yield from check_workers(settings, env)
