"""Flask: an extension with ``init_app``, application contexts in callbacks, and a command.

Starts where requests are served: at once where that can be known when the app is
made (``flask run``, a reloader's child, a worker of a known server), else at the
first request. Never in a reloader's parent, nor for ``flask`` commands.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from .._dispatch.callbacks import adapt, name_of
from .._dispatch.log import without_log
from .._runtime import forks
from .._state.model import State, Status
from ..default import configure
from ..elector import Elector
from ..errors import ConfigurationError, ElectorError, ElectorUnavailableError
from ..extras import needed
from ..guard import Guard
from ._process import is_preloading_master, is_server_worker, loaders
from ._settings import check_keys, is_merely_unconfigured
from ._text import describe
from .health import HEADERS, report

with needed(by=__name__, what="Flask", extra="flask"):
    import click
    from flask import Flask, Response, current_app, has_app_context
    from flask.cli import AppGroup, run_command
    from flask.helpers import get_debug_flag
    from werkzeug.serving import is_running_from_reloader

__all__ = ["FlaskElector"]

KEY = "elector_thread"
SOURCE = "ELECTOR_THREAD"

Callback = TypeVar("Callback", bound=Callable[..., object])


class FlaskElector:
    """The extension: one object for the project, any number of apps.

    app: an app to begin with; the same as calling `init_app`.

    Settings come from ``app.config["ELECTOR_THREAD"]``, a dict of `Elector`'s
    arguments. Each app has its `Elector` in ``app.extensions["elector_thread"]``. It is
    the process-wide one as well, so that `elector_thread.only_on_leader` asks it too,
    unless that was in use before.

    Callbacks may be registered before or after `init_app`; they run in an application
    context, with the promises of `Elector`.

    Example::

        elector = FlaskElector()

        @elector.on_elected
        def begin():
            current_app.logger.info("leading")

        def create_app():
            app = Flask(__name__)
            elector.init_app(app)
            return app
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._callbacks: list[tuple[str, Callable[..., object]]] = []
        self._apps: list[tuple[Flask, Elector]] = []
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give ``app`` its elector and the command ``flask elector status``; start where it serves.

        Raises `ConfigurationError`, naming the setting, for a bad one. A missing elector
        is an error only where requests are served, or when it is asked.
        """
        settings = _settings_of(app)
        starts_now = _is_served_from_here()
        if is_preloading_master(loaders()):  # wanted here already, started in the workers
            forks.hold_back()
            starts_now = True
        app.cli.add_command(_commands())
        try:
            elector = _make(settings)
        except ConfigurationError:
            if starts_now or not is_merely_unconfigured(settings):
                raise
            return
        app.extensions[KEY] = elector
        self._apps.append((app, elector))
        for method, callback in self._callbacks:
            _register(app, elector, method, callback)
        app.before_request(_Starter(app, elector))
        if starts_now:
            elector.start()

    @property
    def elector(self) -> Elector:
        """The current app's `Elector`; outside of an application context the newest app's."""
        if has_app_context():
            return _elector_of(current_app._get_current_object())  # type: ignore[attr-defined]  # a proxy's
        if not self._apps:
            raise RuntimeError("no Flask app has an elector yet: call init_app(app) first")
        return self._apps[-1][1]

    @property
    def is_leader(self) -> bool:
        """Whether this process leads right now."""
        return self.elector.is_leader

    def status(self) -> Status:
        """One consistent look at everything."""
        return self.elector.status()

    @property
    def only_on_leader(self) -> Guard:
        """The guard, asking the current app's elector at each call."""
        return Guard(lambda: self.elector)

    def on_elected(self, callback: Callback) -> Callback:
        """As `Elector.on_elected`, in an application context."""
        return self._add("on_elected", callback)

    def on_demoted(self, callback: Callback) -> Callback:
        """As `Elector.on_demoted`, in an application context."""
        return self._add("on_demoted", callback)

    def on_leader_change(self, callback: Callback) -> Callback:
        """As `Elector.on_leader_change`, in an application context."""
        return self._add("on_leader_change", callback)

    def while_leader(self, fn: Callback) -> Callback:
        """As `Elector.while_leader`, all in one application context."""
        return self._add("while_leader", fn)

    def health(self) -> Response:
        """A view with the status: ``app.add_url_rule("/elector", view_func=elector.health)``."""
        code, body = report(self.status())
        return Response(body, code, HEADERS)

    def _add(self, method: str, callback: Callback) -> Callback:
        adapt(callback, method)  # a TypeError should point here, not to init_app
        self._callbacks.append((method, callback))
        for app, elector in self._apps:
            _register(app, elector, method, callback)
        return callback


class _Starter:
    """Before each request: starts the elector once in each process that serves.

    `_pid` may be written by several request threads at once, all with the same value;
    `Elector.start` makes them take turns.
    """

    def __init__(self, app: Flask, elector: Elector) -> None:
        self._app = app
        self._elector = elector
        self._pid = 0

    def __call__(self) -> None:
        if self._pid == os.getpid() or self._app.testing:
            return
        self._elector.start()
        self._pid = os.getpid()


def _settings_of(app: Flask) -> dict[str, Any]:
    return check_keys(app.config.get(SOURCE, {}), f'app.config["{SOURCE}"]')


def _make(settings: dict[str, Any]) -> Elector:
    try:
        return configure(**settings)
    except ConfigurationError:
        raise
    except ElectorError:  # the process-wide one is in use: another app's
        return Elector(**settings)


def _elector_of(app: Flask) -> Elector:
    elector: Elector | None = app.extensions.get(KEY)
    if elector is not None:
        return elector
    Elector(**_settings_of(app))  # tells what is missing
    raise RuntimeError(f"{app!r} has no elector: call init_app(app) first")


def _register(app: Flask, elector: Elector, method: str, callback: Callable[..., object]) -> None:
    call = adapt(callback, method)

    def in_context(argument: object) -> object:
        with app.app_context():
            return call(argument)

    in_context.__qualname__ = name_of(callback)  # for the logs
    getattr(elector, method)(in_context)


def _is_served_from_here() -> bool:
    """Whether it is known already that the app being made will be served by this process."""
    context = click.get_current_context(silent=True)
    if context is not None and context.command is run_command:
        reload = context.params.get("reload")
        watches = get_debug_flag() if reload is None else reload
        return is_running_from_reloader() or not watches
    if context is not None:
        return False
    return is_running_from_reloader() or is_server_worker(loaders())


def _commands() -> AppGroup:
    group = AppGroup("elector", help="Ask the elector.")

    @group.command("status")
    @click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
    def status(as_json: bool) -> None:
        """Ask the elector once, and print who leads."""
        try:
            with without_log():
                answer = _elector_of(current_app._get_current_object()).refresh()  # type: ignore[attr-defined]  # a proxy's
        except ConfigurationError as error:
            raise click.UsageError(str(error)) from None
        except ElectorUnavailableError as error:
            raise click.ClickException(str(error)) from None
        if answer.state is State.UNKNOWN and as_json is False:
            click.echo("The elector has not seen an election yet.", err=True)
        click.echo(describe(answer, as_json=as_json))

    return group
