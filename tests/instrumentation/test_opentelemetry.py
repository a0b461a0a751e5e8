"""OpenTelemetry: the metrics as an SDK collects them, and the library's absence from traces."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, InMemoryMetricReader, Metric, Sum

from elector_thread import Elector
from elector_thread.instrumentation import opentelemetry
from elector_thread.instrumentation._table import METRICS
from tests.conftest import MakeElector
from tests.forks.children import in_child
from tests.lease_api import LEASE_PATH, LeaseApi
from tests.polling import until
from tests.processes import run_python
from tests.scripted import PATIENCE, ScriptedServer

Values = dict[tuple[str, ...], float]


class Collected:
    """What one provider collects."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self._reader])

    def metrics(self) -> dict[str, Metric]:
        data = self._reader.get_metrics_data()
        assert data is not None
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def values(self, name: str) -> Values:
        """By the values of the attributes."""
        found = self.metrics().get(name)
        points = [] if found is None else found.data.data_points
        return {tuple((point.attributes or {}).values()): point.value for point in points}


@pytest.fixture
def collected(own_recorder: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collected]:
    monkeypatch.setattr(opentelemetry, "_instrumented", [])
    made = Collected()
    opentelemetry.instrument(meter_provider=made.provider)
    opentelemetry.instrument(meter_provider=made.provider)  # harmless
    yield made
    made.provider.shutdown()


@pytest.fixture
def leader(collected: Collected, make_elector: MakeElector, server: ScriptedServer) -> Elector:
    server.leader = "pod-a"
    elector = make_elector().start()
    assert elector.wait_until_leader(PATIENCE)
    until(lambda: collected.values("elector_thread.leaderships") == {(): 1})
    return elector


def test_every_metric_of_the_table_is_collected(collected: Collected, leader: Elector) -> None:
    leader.only_on_leader(interval=1)(print)
    found = collected.metrics()
    assert set(found) == {name for metric in METRICS for name in metric.otel.split()}
    for metric in METRICS:
        one = found[metric.otel.split()[-1]]
        assert (one.unit, one.description) == (metric.unit, metric.help)
        assert isinstance(one.data, Gauge if metric.kind == "gauge" else Sum)
        attributes = {name for point in one.data.data_points for name in point.attributes or {}}
        assert attributes <= set(metric.labels)


def test_the_state_is_read_at_collection(
    collected: Collected, leader: Elector, server: ScriptedServer
) -> None:
    master = "leader_election.master_status"
    assert collected.values(master) == {("elector-thread",): 1}
    assert collected.values("elector_thread.state") == {
        ("leader",): 1,
        ("follower",): 0,
        ("unknown",): 0,
    }
    [(_, confirmed)] = collected.values("elector_thread.confirmed_timestamp").items()
    assert abs(confirmed - time.time()) < 60
    server.elect("pod-b")
    until(lambda: collected.values(master) == {("elector-thread",): 0})
    until(lambda: collected.values("elector_thread.leaderships_ended")[("replaced",)] == 1)


def test_callbacks_are_two_counters(collected: Collected, leader: Elector) -> None:
    leader.on_elected(lambda: None)
    until(lambda: collected.values("elector_thread.callbacks") == {(): 1})
    [(_, seconds)] = collected.values("elector_thread.callback.time").items()
    assert 0 < seconds < 60


def test_a_forked_child_counts_anew(collected: Collected, leader: Elector) -> None:
    leader.stop()
    assert leader.start().wait_until_leader(PATIENCE)
    until(lambda: collected.values("elector_thread.leaderships") == {(): 2})
    [count] = in_child(lambda: collected.values("elector_thread.leaderships")).values()
    assert count <= 1  # its own, if it is the leader by then


# --- traces -----------------------------------------------------------------------------------

BEFORE_THE_LIBRARY = """
import elector_thread
"""

TRACED = """
import sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)

from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor

URLLib3Instrumentor().instrument()
RequestsInstrumentor().instrument()

import requests, urllib3
from elector_thread import Elector

get_url, sse_url = sys.argv[1:]
with Elector(get_url=get_url, sse_url=sse_url, identity="pod-a") as elector:
    assert elector.wait_until_leader(10)
    elector.refresh()
    requests.get(f"{get_url}by-requests")
    urllib3.request("GET", f"{get_url}by-urllib3")
    sys.stdin.readline()
for span in spans.get_finished_spans():
    print(span.attributes["http.url"].rpartition("/")[2])
"""


@pytest.mark.parametrize("earlier", ["", BEFORE_THE_LIBRARY], ids=["before", "after"])
def test_no_request_of_the_library_is_traced(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, earlier: str
) -> None:
    """With urllib3 and requests instrumented before or after the library was imported."""
    api = LeaseApi(server)
    for name, value in api.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ELECTOR_THREAD_VERIFY", "lease")
    api.elect("pod-a")
    server.leader = "pod-a"
    ended = run_python(earlier + TRACED, server.get_url, server.sse_url)
    assert (ended.exit_code, ended.err) == (0, "")
    assert ended.out.split() == ["by-requests", "by-urllib3"]
    traced = {head.split(" ")[1] for head in server.heads if "traceparent" in head}
    assert traced == {"/by-requests", "/by-urllib3"}
    ours = {head.split(" ")[1] for head in server.heads} - traced
    assert ours >= {"/", "/sse", LEASE_PATH}


def test_the_library_does_not_import_opentelemetry() -> None:
    code = "import sys, elector_thread.default\nprint('opentelemetry' in sys.modules)"
    assert run_python(code).out == "False\n"
