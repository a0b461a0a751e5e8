"""`configure()` with each adapter: how its settings are shown, and what a second call keeps."""

from __future__ import annotations

import asyncio
import inspect
import pydoc
import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, current_app

from elector_thread import (
    SKIPPED,
    ConfigurationError,
    Elector,
    ElectorError,
    LeaderChange,
    Leadership,
    configure,
    default_elector,
    only_on_leader,
)
from elector_thread.aio import AsyncElector
from elector_thread.integrations.django import signals
from elector_thread.integrations.flask import FlaskElector
from elector_thread.settings import DEFAULTS
from elector_thread.testing import FakeElector, own_default_elector, use_as_default

from .django_project import manage
from .replica import PATIENCE, environment


@pytest.fixture(autouse=True)
def own_default() -> Iterator[None]:
    with own_default_elector():
        yield


@pytest.mark.parametrize("takes_settings", [Elector, configure])
def test_help_and_signature_show_every_setting_with_its_default(
    takes_settings: Callable[..., object],
) -> None:
    parameters = inspect.signature(takes_settings).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == DEFAULTS
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    shown = pydoc.render_doc(takes_settings, renderer=pydoc.plaintext)
    for name, default in DEFAULTS.items():
        assert f"{name}={default!r}" in shown


# --- a second call ---------------------------------------------------------------------


def test_a_second_call_replaces_the_settings_of_the_same_elector() -> None:
    first = configure(when_unconfigured="follow", identity="pod-a")
    second = configure(when_unconfigured="lead")
    assert second is first
    assert second.identity != "pod-a"
    assert second is default_elector()
    assert second.wait_until_leader(PATIENCE)


def test_a_second_call_keeps_callbacks_tasks_and_guards() -> None:
    calls: queue.Queue[tuple[str, object]] = queue.Queue()
    first = configure(when_unconfigured="follow")

    @first.on_elected
    def elected(leadership: Leadership) -> None:
        calls.put(("elected", leadership.number))

    @first.on_demoted
    def demoted(leadership: Leadership) -> None:
        calls.put(("demoted", leadership.number))

    @first.on_leader_change
    def changed(change: LeaderChange) -> None:
        calls.put(("changed", change))

    @first.while_leader
    def task(leadership: Leadership) -> None:
        calls.put(("task", leadership.number))

    @first.on_elected
    def removed() -> None:
        calls.put(("removed", None))

    first.remove(removed)
    bound = first.only_on_leader(lambda: "ran")
    unbound = only_on_leader(lambda: "ran")

    elector = configure(when_unconfigured="lead", identity="pod-a").start()
    assert elector.wait_until_leader(PATIENCE)
    assert (bound(), unbound()) == ("ran", "ran")
    received = {calls.get(timeout=PATIENCE) for _ in range(3)}
    assert received == {
        ("elected", 1),
        ("task", 1),
        ("changed", LeaderChange(None, "pod-a")),
    }
    elector.stop()
    assert calls.get(timeout=PATIENCE) == ("demoted", 1)
    assert calls.empty()


def test_a_second_call_with_a_bad_setting_changes_nothing() -> None:
    first = configure(when_unconfigured="lead", identity="pod-a")
    with pytest.raises(ConfigurationError, match="grace_period"):
        configure(when_unconfigured="lead", grace_period=-1)
    assert first.identity == "pod-a"
    assert default_elector() is first


def test_a_call_after_the_first_use_is_refused() -> None:
    configure(when_unconfigured="follow").start()
    with pytest.raises(ElectorError, match="too late"):
        configure(when_unconfigured="lead")


# --- with the adapters -----------------------------------------------------------------


def test_an_async_elector_keeps_its_callbacks() -> None:
    async def main() -> None:
        asynchronous = AsyncElector()
        loop, elected = asyncio.get_running_loop(), asyncio.Event()

        @asynchronous.on_elected
        async def on_its_loop() -> None:
            assert asyncio.get_running_loop() is loop
            elected.set()

        configure(when_unconfigured="lead")
        async with asyncio.timeout(PATIENCE), AsyncElector():
            await elected.wait()
            assert asynchronous.is_leader

    asyncio.run(main())


def make_app(name: str, extension: FlaskElector, **settings: Any) -> Flask:
    app = Flask(name)
    app.config["ELECTOR_THREAD"] = settings
    extension.init_app(app)
    return app


def test_a_flask_app_keeps_its_callbacks() -> None:
    calls: queue.Queue[str] = queue.Queue()
    extension = FlaskElector()
    extension.on_elected(lambda: calls.put(current_app.name))
    app = make_app("reports", extension, when_unconfigured="follow")
    elector = configure(when_unconfigured="lead")
    assert app.extensions["elector_thread"] is elector
    elector.start()
    assert calls.get(timeout=PATIENCE) == "reports"


def test_configure_wins_over_the_settings_of_a_flask_app() -> None:
    calls: queue.Queue[str] = queue.Queue()
    configure(when_unconfigured="lead").on_elected(lambda: calls.put("elected"))
    extension = FlaskElector()
    make_app("reports", extension, when_unconfigured="follow")
    extension.elector.start()
    assert calls.get(timeout=PATIENCE) == "elected"


def test_a_second_flask_app_does_not_change_the_first_one() -> None:
    extension = FlaskElector()
    first = make_app("first", extension, when_unconfigured="follow", identity="pod-a")
    second = make_app("second", extension, when_unconfigured="lead", identity="pod-b")
    assert default_elector() is first.extensions["elector_thread"]
    assert first.extensions["elector_thread"].identity == "pod-a"
    assert second.extensions["elector_thread"].identity == "pod-b"
    with second.app_context():
        assert extension.elector is not default_elector(), "it has its own elector"
    assert only_on_leader(lambda: "ran")() is SKIPPED


def test_each_flask_app_of_a_test_uses_the_fake_elector() -> None:
    with use_as_default(FakeElector()) as fake:
        for name in ("first", "second"):
            app = make_app(name, FlaskElector(), when_unconfigured="lead")
            assert app.extensions["elector_thread"] is fake


def test_django_signals_are_kept() -> None:
    numbers: queue.Queue[int] = queue.Queue()

    def receive(leadership: Leadership, **_: object) -> None:
        numbers.put(leadership.number)

    signals.leader_elected.connect(receive)
    try:
        signals.connect(configure(when_unconfigured="follow"))
        configure(when_unconfigured="lead").start()
        assert numbers.get(timeout=PATIENCE) == 1
    finally:
        signals.leader_elected.disconnect(receive)


def test_django_keeps_callbacks_that_were_registered_before_its_settings_were_read() -> None:
    code = """
import threading
from elector_thread import default_elector, on_elected
elected = threading.Event()
on_elected(elected.set)
import wsgi  # the project's settings say "lead"
assert elected.wait(10)
"""
    done = manage(env=environment(), python=("-c", code))
    assert (done.returncode, done.stderr) == (0, "")


def test_an_async_elector_without_settings_keeps_those_of_configure() -> None:
    configured = configure(get_url="http://localhost:1/", grace_period=60.0)
    assert AsyncElector().elector is configured
    assert repr(configured).endswith("http://localhost:1/>")
