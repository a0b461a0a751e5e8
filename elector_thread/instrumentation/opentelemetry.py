"""OpenTelemetry: the same metrics as `elector_thread.instrumentation.prometheus`.

::

    from elector_thread.instrumentation import opentelemetry

    opentelemetry.instrument()

Every instrument is an observable one, read when metrics are collected. The attributes are named
as the labels are in Prometheus. The library makes no spans; its own requests are kept out of the
instrumentation of urllib3 and requests, whether or not this is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .._version import __version__
from ..extras import needed
from ._recorder import Amount, recorder
from ._table import METRICS, Metric

with needed(__name__, "opentelemetry-api", "opentelemetry"):
    from opentelemetry.metrics import (
        CallbackOptions,
        Meter,
        MeterProvider,
        Observation,
        get_meter,
    )

__all__ = ["instrument"]

_instrumented: list[MeterProvider | None] = []


def instrument(*, meter_provider: MeterProvider | None = None) -> None:
    """Provide the metrics of this process. Calling it again has no effect.

    meter_provider: the global one by default, also if it is set later.
    """
    if meter_provider in _instrumented:
        return
    _instrumented.append(meter_provider)
    meter = get_meter("elector_thread", __version__, meter_provider)
    for metric in METRICS:
        _create(meter, metric)


def _create(meter: Meter, metric: Metric) -> None:
    if metric.kind == "gauge":
        callbacks = [_observe(metric, _value)]
        meter.create_observable_gauge(metric.otel, callbacks, metric.unit, metric.help)
        return
    counted, _, timed = metric.otel.rpartition(" ")
    if counted:  # a summary
        callbacks = [_observe(metric, _times)]
        meter.create_observable_counter(counted, callbacks, "{call}", metric.help)
    callbacks = [_observe(metric, _value)]
    meter.create_observable_counter(timed, callbacks, metric.unit, metric.help)


def _value(amount: Amount) -> float:
    return amount.value


def _times(amount: Amount) -> float:
    return amount.times


def _observe(
    metric: Metric, part: Callable[[Amount], float]
) -> Callable[[CallbackOptions], Iterator[Observation]]:
    source = recorder()

    def observe(_: CallbackOptions) -> Iterator[Observation]:
        for labels, amount in source.read()[metric].items():
            attributes = dict(zip(metric.labels, labels, strict=True))
            yield Observation(part(amount), attributes)

    return observe
