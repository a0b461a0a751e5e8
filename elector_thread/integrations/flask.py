"""Flask: an extension with ``init_app``, callbacks in an application context, and a command.

The elector starts in processes that serve requests: in ``init_app`` where it is known by then
(``flask run``, a reloader's child, a worker of a known server), otherwise at the first request.
It never starts in a reloader's parent or for ``flask`` commands.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from .. import default
from .._dispatch.callbacks import adapt
from .._dispatch.log import without_log
from .._runtime import access
from .._state.model import State, Status
from ..elector import Elector
from ..errors import ConfigurationError, ElectorError, ElectorUnavailableError
from ..extras import needed
from ..guard import Guard
from ..settings import Options, resolve
from ._process import hold_back, is_preloading_master, is_server_worker, loaders
from ._settings import check_options, read_options
from ._text import describe
from .health import report

with needed(by=__name__, what="Flask", extra="flask"):
    import click
    from flask import Flask, Response, current_app, has_app_context, request
    from flask.cli import AppGroup, run_command
    from flask.helpers import get_debug_flag
    from werkzeug.serving import is_running_from_reloader

__all__ = ["FlaskElector"]

KEY = "elector_thread"
SOURCE = "ELECTOR_THREAD"

Callback = TypeVar("Callback", bound=Callable[..., object])


class FlaskElector:
    """The extension: one object for the project, which serves any number of apps.

    app: an app to begin with; the same as calling `init_app`.

    Settings come from ``app.config["ELECTOR_THREAD"]``, a dict of `Elector`'s settings. Each
    app has its `Elector` in ``app.extensions["elector_thread"]``. The first app's is the
    process-wide one, which `elector_thread.only_on_leader` uses, unless that was in use
    before.

    Callbacks may be registered before or after `init_app`. They run in an application
    context, with the promises of `Elector`. So do those that the module's decorators
    (`elector_thread.on_elected`, …) register on the process-wide elector.

    Example::

        elector = FlaskElector()

        @elector.on_elected
        def begin():
            current_app.logger.info("elected")

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
        """Add an elector and the command ``flask elector status`` to ``app``.

        Starts the elector where the app will be served by this process. Raises
        `ConfigurationError`, naming the setting, for a bad one. A missing elector URL is an
        error only where requests are served, or when the elector is used.
        """
        options = _options_of(app)
        starts_now = _is_served_here()
        if is_preloading_master(loaders()):  # bad settings are an error here; workers start it
            hold_back()
            starts_now = True
        app.cli.add_command(_commands())
        check_options(options)
        elector = _make(options)
        app.extensions[KEY] = elector
        self._apps.append((app, elector))
        access.call_within(elector, app.app_context)
        for method, callback in self._callbacks:
            getattr(elector, method)(callback)
        app.before_request(_Starter(app, elector))
        if starts_now:
            elector.start()

    @property
    def elector(self) -> Elector:
        """The current app's `Elector`; outside of an application context, the newest app's."""
        if has_app_context():
            return _elector_of(current_app._get_current_object())  # type: ignore[attr-defined]  # a proxy's
        if not self._apps:
            raise RuntimeError("no Flask app has an elector yet: call init_app(app) first")
        return self._apps[-1][1]

    @property
    def is_leader(self) -> bool:
        """Whether this process is the leader right now."""
        return self.elector.is_leader

    def status(self) -> Status:
        """One consistent view of everything."""
        return self.elector.status()

    @property
    def only_on_leader(self) -> Guard:
        """The guard; each call uses the current app's elector."""
        return Guard(lambda: self.elector)

    def on_elected(self, callback: Callback) -> Callback:
        """See `Elector.on_elected`. Runs in an application context."""
        return self._add("on_elected", callback)

    def on_demoted(self, callback: Callback) -> Callback:
        """See `Elector.on_demoted`. Runs in an application context."""
        return self._add("on_demoted", callback)

    def on_leader_change(self, callback: Callback) -> Callback:
        """See `Elector.on_leader_change`. Runs in an application context."""
        return self._add("on_leader_change", callback)

    def while_leader(self, fn: Callback) -> Callback:
        """See `Elector.while_leader`. Each run has one application context."""
        return self._add("while_leader", fn)

    def health(self) -> Response:
        """A view with the status: ``app.add_url_rule("/elector", view_func=elector.health)``."""
        code, headers, body = report(self.status(), request.query_string.decode("latin-1"))
        return Response(body, code, headers)

    def _add(self, method: str, callback: Callback) -> Callback:
        adapt(callback, method)  # a TypeError should point here, not to init_app
        self._callbacks.append((method, callback))
        for _, elector in self._apps:
            getattr(elector, method)(callback)
        return callback


class _Starter:
    """Called before each request: starts the elector once in each process that serves.

    Several request threads may write `_pid` at once, all with the same value; `Elector.start`
    makes them take turns.
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


def _options_of(app: Flask) -> Options:
    options, _ = read_options(app.config.get(SOURCE, {}), f'app.config["{SOURCE}"]')
    return options


def _make(options: Options) -> Elector:
    """The process-wide elector for the first app, and one of its own for each later app."""
    try:
        default.current.provide(lambda: options)
    except ElectorError:  # it is in use already, or another app's
        return Elector._lazy(lambda: resolve(**options))
    return default.current.elector


def _elector_of(app: Flask) -> Elector:
    elector: Elector | None = app.extensions.get(KEY)
    if elector is not None:
        return elector
    raise RuntimeError(f"{app!r} has no elector: call init_app(app) first")


def _is_served_here() -> bool:
    """Whether it is known by now that this process will serve the app that is being made."""
    context = click.get_current_context(silent=True)
    if context is not None and context.command is run_command:
        reload = context.params.get("reload")
        watches = get_debug_flag() if reload is None else reload
        return is_running_from_reloader() or not watches
    if context is not None:
        return False
    return is_running_from_reloader() or is_server_worker(loaders())


def _commands() -> AppGroup:
    group = AppGroup("elector", help="Ask the elector who the leader is.")

    @group.command("status")
    @click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
    def status(as_json: bool) -> None:
        """Ask the elector once, and print the leader."""
        try:
            with without_log():
                answer = _elector_of(current_app._get_current_object()).refresh()  # type: ignore[attr-defined]  # a proxy's
        except ConfigurationError as error:
            raise click.UsageError(str(error)) from None
        except ElectorUnavailableError as error:
            raise click.ClickException(str(error)) from None
        if answer.state is State.UNKNOWN and not as_json:
            click.echo("No election has taken place yet.", err=True)
        click.echo(describe(answer, as_json=as_json))

    return group
