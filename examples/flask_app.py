"""Flask: ``flask --app examples/flask_app.py --debug run``."""

import os
from typing import Any

from flask import Flask, current_app

from elector_thread import default_elector, on_demoted, on_elected, only_on_leader
from elector_thread.integrations.flask import FlaskElector


@on_elected
def begin() -> None:
    print(f"{current_app.name} is the leader", flush=True)


@on_demoted
def end() -> None:
    print(f"{current_app.name} is no longer the leader", flush=True)


@only_on_leader
def report() -> str:
    return "sent"


def create_app() -> Flask:
    app = Flask("reports")
    # Where ELECTOR_GET_URL is not set, as on your own machine, this process is the leader.
    app.config["ELECTOR_THREAD"] = {"when_unconfigured": "lead"}
    app.add_url_rule("/elector", view_func=FlaskElector(app).health)

    @app.get("/")
    def index() -> dict[str, Any]:
        elector = default_elector()
        return {"leader": elector.leader, "is_leader": elector.is_leader, "pid": os.getpid()}

    @app.post("/report")
    def send() -> dict[str, str]:
        return {"report": str(report())}

    return app


if __name__ == "__main__":
    create_app().run(debug=True, port=int(os.environ.get("PORT", "5000")))
