"""Reading what a scrape returns."""

from __future__ import annotations

import struct
import urllib.error
import urllib.request
from contextlib import suppress

from prometheus_client import CollectorRegistry, generate_latest

Samples = dict[str, float]
"""Values by name and labels, as they are written: ``elector_thread_state{state="leader"}``."""


def parse(text: str) -> Samples:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def scrape(registry: CollectorRegistry) -> Samples:
    return parse(generate_latest(registry).decode())


def fetch(url: str) -> Samples:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return parse(answer.read().decode())


def fetch_from_files(url: str) -> Samples:
    """Nothing if another process has just begun a file, which prometheus_client cannot read."""
    with suppress(urllib.error.HTTPError):
        return fetch(url)
    return {}


def scrape_files(registry: CollectorRegistry) -> Samples:
    """See `fetch_from_files`."""
    with suppress(struct.error):
        return scrape(registry)
    return {}


STATE = 'elector_thread_state{state="%s"}'
MASTER = 'leader_election_master_status{name="elector-thread"}'
ENDED = 'elector_thread_leaderships_ended_total{reason="%s"}'
REQUESTS = 'elector_thread_requests_total{kind="%s",outcome="%s"}'
CALLS = 'elector_thread_guarded_calls_total{function="%s",outcome="%s"}'
ALIVE = "elector_thread_alive"
LEADERSHIPS = "elector_thread_leaderships_total"
