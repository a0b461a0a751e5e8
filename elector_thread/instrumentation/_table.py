"""Every metric: its names, type, labels and meaning. Pure.

The table in docs/metrics.md is generated from this: ``python -m
elector_thread.instrumentation._table``.
"""

from __future__ import annotations

import sys
from typing import Literal, NamedTuple, TypeAlias

__all__ = [
    "ALIVE",
    "CALLBACKS",
    "CALLBACK_ERRORS",
    "CONFIRMED",
    "ENDED",
    "GUARDED_CALLS",
    "INTERVAL",
    "LEADERSHIPS",
    "LEADING",
    "LEASE_VERIFIED",
    "MASTER",
    "METRICS",
    "REQUESTS",
    "STATE",
    "SUCCESS",
    "Metric",
    "table",
]

Across: TypeAlias = Literal["max", "livemax", "livesum", ""]


class Metric(NamedTuple):
    """One metric.

    name: in Prometheus, without the suffix of a counter or a summary.
    otel: in OpenTelemetry; for a summary, the names of two counters: of its count and its sum.
    unit: in OpenTelemetry's notation; of a summary's sum.
    across: how the processes of a pod are put together where they share files
        (prometheus_client's ``multiprocess_mode``); counters and summaries are added up.
    """

    name: str
    kind: Literal["gauge", "counter", "summary"]
    help: str
    otel: str
    unit: str
    labels: tuple[str, ...] = ()
    across: Across = ""


MASTER = Metric(
    "leader_election_master_status",
    "gauge",
    "1 on the leader, else 0. name: NAIS_APP_NAME, else elector-thread.",
    "leader_election.master_status",
    "{process}",
    ("name",),
    "livemax",
)
STATE = Metric(
    "elector_thread_state",
    "gauge",
    "1 for the present state (leader, follower or unknown), 0 for the others.",
    "elector_thread.state",
    "{process}",
    ("state",),
    "livesum",
)
ALIVE = Metric(
    "elector_thread_alive",
    "gauge",
    "1 while the threads of the library work, 0 if one has died or is stuck.",
    "elector_thread.alive",
    "{process}",
    across="livesum",  # "livemin" would find the 0 that a forked child's file begins with
)
LEADERSHIPS = Metric(
    "elector_thread_leaderships",
    "counter",
    "Leaderships gained.",
    "elector_thread.leaderships",
    "{leadership}",
)
ENDED = Metric(
    "elector_thread_leaderships_ended",
    "counter",
    "Leaderships lost. reason: replaced, expired, unverified or stopped.",
    "elector_thread.leaderships_ended",
    "{leadership}",
    ("reason",),
)
LEADING = Metric(
    "elector_thread_leading_seconds",
    "counter",
    "Seconds as the leader, the current leadership included.",
    "elector_thread.leading",
    "s",
)
CONFIRMED = Metric(
    "elector_thread_confirmed_timestamp_seconds",
    "gauge",
    "Unix time from which the elector's newest answer counts; 0 if there is none.",
    "elector_thread.confirmed_timestamp",
    "s",
    across="livemax",
)
LEASE_VERIFIED = Metric(
    "elector_thread_lease_verified_timestamp_seconds",
    "gauge",
    "Unix time at which the Lease was last asked for, if it then named this pod; else 0.",
    "elector_thread.lease_verified_timestamp",
    "s",
    across="livemax",
)
REQUESTS = Metric(
    "elector_thread_requests",
    "counter",
    "Requests sent. kind: get, stream or lease. outcome: ok, error, or absent (no stream there).",
    "elector_thread.requests",
    "{request}",
    ("kind", "outcome"),
)
CALLBACKS = Metric(
    "elector_thread_callback_seconds",
    "summary",
    "Calls of callbacks, and the seconds that they took.",
    "elector_thread.callbacks elector_thread.callback.time",
    "s",
)
CALLBACK_ERRORS = Metric(
    "elector_thread_callback_errors",
    "counter",
    "Callbacks and while_leader functions that raised.",
    "elector_thread.callback_errors",
    "{error}",
)
GUARDED_CALLS = Metric(
    "elector_thread_guarded_calls",
    "counter",
    "Calls of functions behind only_on_leader. outcome: run, skipped, unknown (skipped because "
    "the leader was not known) or error (it raised).",
    "elector_thread.guarded_calls",
    "{call}",
    ("function", "outcome"),
)
SUCCESS = Metric(
    "elector_thread_job_last_success_timestamp_seconds",
    "gauge",
    "Unix time at which a guarded function with an interval last returned here; 0 before.",
    "elector_thread.job.last_success_timestamp",
    "s",
    ("job",),
    "max",
)
INTERVAL = Metric(
    "elector_thread_job_interval_seconds",
    "gauge",
    "Seconds between two runs, as given to only_on_leader(interval=...).",
    "elector_thread.job.interval",
    "s",
    ("job",),
    "max",
)

METRICS = (
    MASTER,
    STATE,
    ALIVE,
    LEADERSHIPS,
    ENDED,
    LEADING,
    CONFIRMED,
    LEASE_VERIFIED,
    REQUESTS,
    CALLBACKS,
    CALLBACK_ERRORS,
    GUARDED_CALLS,
    SUCCESS,
    INTERVAL,
)

_SUFFIXES = {"gauge": "", "counter": "_total", "summary": ""}
_ACROSS = {
    "max": "largest, of dead processes too",
    "livemax": "largest",
    "livesum": "sum",
    "": "sum, of dead processes too",
}


def table() -> str:
    """The metrics as a Markdown table."""
    rows = ["| Prometheus | type | OpenTelemetry | unit | meaning | processes of a pod |"]
    rows += ["|---|---|---|---|---|---|"]
    for metric in METRICS:
        labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
        name = f"`{metric.name}{_SUFFIXES[metric.kind]}{labels}`"
        otel = ", ".join(f"`{name}`" for name in metric.otel.split())
        cells = (name, metric.kind, otel, f"`{metric.unit}`", metric.help, _ACROSS[metric.across])
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
