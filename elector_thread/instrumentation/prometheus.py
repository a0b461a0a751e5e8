"""Prometheus: metrics of every elector in this process, for ``prometheus_client``.

::

    from elector_thread.instrumentation import prometheus

    prometheus.instrument()

In one process the state is read when it is scraped: an expiry shows although nothing happened.
Where several processes share files (``PROMETHEUS_MULTIPROC_DIR``), any of them may be scraped
for all, so that a thread, ``elector-metrics``, writes to the files: after each event (a guarded
call excepted), and every five seconds. docs/metrics.md has the table of the metrics.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from threading import Lock, get_ident
from weakref import WeakSet

from .._dispatch.worker import Worker
from .._runtime import forks
from .._state.clock import Flag
from ..extras import needed
from . import ContactLost, Event, GuardedCall, LeadershipLost, add_observer
from ._recorder import Amount, Recorder, recorder
from ._table import METRICS, Metric

with needed(__name__, "prometheus-client", "prometheus"):
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Summary, values
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        SummaryMetricFamily,
    )
    from prometheus_client.registry import Collector

__all__ = ["instrument"]

_instrumented: WeakSet[CollectorRegistry] = WeakSet()


def instrument(*, registry: CollectorRegistry | None = None) -> None:
    """Provide the metrics of this process. Calling it again has no effect.

    registry: ``prometheus_client.REGISTRY`` by default. Not used where
        ``PROMETHEUS_MULTIPROC_DIR`` is set: there prometheus_client keeps metrics in files.
    """
    if values.ValueClass is not values.MutexValue:  # decided when prometheus_client is imported
        if not _writers:
            _writers.append(_Writer(recorder()))
        return
    registry = REGISTRY if registry is None else registry
    if registry not in _instrumented:
        registry.register(_Collector(recorder()))
        _instrumented.add(registry)


# --- one process ---------------------------------------------------------------------------

_Family = GaugeMetricFamily | CounterMetricFamily | SummaryMetricFamily
_FAMILIES: dict[str, type[_Family]] = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "summary": SummaryMetricFamily,
}


class _Collector(Collector):
    """Reads the metrics at each scrape."""

    def __init__(self, source: Recorder) -> None:
        self._source = source

    def describe(self) -> list[_Family]:
        """The metrics without values: registering reads no elector."""
        return [_family(metric) for metric in METRICS]

    def collect(self) -> Iterator[_Family]:
        reading = self._source.read()
        for metric in METRICS:
            family = _family(metric)
            for labels, amount in reading[metric].items():
                _add(family, labels, amount)
            yield family


def _family(metric: Metric) -> _Family:
    return _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)


def _add(family: _Family, labels: tuple[str, ...], amount: Amount) -> None:
    if isinstance(family, SummaryMetricFamily):
        family.add_metric(labels, amount.times, amount.value)
    else:
        family.add_metric(labels, amount.value)


# --- several processes that share files ----------------------------------------------------

PERIOD = 5.0
"""Seconds after which the files are written without an event: for what has none, as `ALIVE`."""

LONGEST_WAIT = 1.0
"""Seconds for which a fork waits for a write that is under way, which takes microseconds."""


class _Writer:
    """Writes the metrics of this process to its files, on a thread that an event starts.

    In multiprocess mode prometheus_client has one lock for all values. It is taken by that
    thread alone, neither by an observer, which may run in a signal handler that has
    interrupted the lock's holder, nor while another thread forks (`_writing`): the child would
    inherit it locked. Nothing is made before the first event: a server's master, which has no
    elector, must not leave files that say so.
    """

    def __init__(self, source: Recorder) -> None:
        self._source = source
        self._metrics: dict[Metric, Gauge | Counter | Summary] = {}
        self._forget()
        forks.in_child(self._forget)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._pause, after_in_parent=self._resume)
        atexit.register(self._flush)
        add_observer(self)

    def _forget(self) -> None:
        """Also in a forked child, which has neither the thread nor the counts."""
        self._wanted = Flag()
        self._writing = Lock()  # held while prometheus_client is used
        self._forking: int | None = None  # the thread that forks and holds `_writing`
        self._unstarted = [True]  # emptied by the one thread that starts ours
        self._written: dict[tuple[Metric, tuple[str, ...]], Amount] = {}
        self._problem: Exception | None = None  # of the thread, until it was reported

    def __call__(self, event: Event) -> None:
        # a stop may come in a signal handler, which must not start a thread
        if self._unstarted and not isinstance(event, LeadershipLost | ContactLost):
            self._start()
        if not isinstance(event, GuardedCall):  # which may come too often
            self._wanted.set()
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem  # so that it is logged, once

    def _start(self) -> None:
        try:
            self._unstarted.pop()
        except IndexError:  # another thread was faster
            return
        try:
            Worker("metrics", self._run).start()
        except RuntimeError:  # the system refuses a thread; the next event tries again
            self._unstarted.append(True)
            raise

    def _run(self) -> None:
        wanted = self._wanted
        while wanted is self._wanted:  # else a greenlet that a forked child has inherited
            wanted.clear()
            try:
                with self._writing:
                    self._write_all()
            except Exception as error:  # of the file system
                self._problem = error
            wanted.wait(PERIOD)

    def _flush(self) -> None:
        """At the interpreter's exit, which ends the thread: write what came last."""
        if self._unstarted or not self._writing.acquire(timeout=LONGEST_WAIT):
            return
        try:
            self._write_all()
        except Exception as error:
            self._problem = error
        finally:
            self._writing.release()

    def _write_all(self) -> None:
        """Under the lock, so that no older reading is written after a newer one."""
        for metric, found in self._source.read().items():
            for labels, amount in found.items():
                self._write(metric, labels, amount)

    def _write(self, metric: Metric, labels: tuple[str, ...], amount: Amount) -> None:
        before = self._written.get((metric, labels), Amount(0))
        known = self._metrics.get(metric)
        if known is None:
            known = self._metrics[metric] = _make(metric)
        target = known.labels(*labels) if labels else known
        if isinstance(target, Gauge):
            target.set(amount.value)
        elif isinstance(target, Counter):
            target.inc(amount.value - before.value)
        elif amount.times > before.times:
            target.observe(amount.value - before.value)
            for _ in range(amount.times - before.times - 1):
                target.observe(0.0)  # only counts
        self._written[metric, labels] = amount

    def _pause(self) -> None:
        """Before a fork: let a write come to its end, and none begin."""
        if self._writing.acquire(timeout=LONGEST_WAIT):
            self._forking = get_ident()

    def _resume(self) -> None:
        """After the fork, in the parent."""
        if self._forking == get_ident():
            self._forking = None
            self._writing.release()


def _make(metric: Metric) -> Gauge | Counter | Summary:
    if metric.kind == "counter":
        return Counter(metric.name, metric.help, metric.labels, registry=None)
    if metric.kind == "summary":
        return Summary(metric.name, metric.help, metric.labels, registry=None)
    mode = metric.across or "all"
    return Gauge(metric.name, metric.help, metric.labels, registry=None, multiprocess_mode=mode)


_writers: list[_Writer] = []
