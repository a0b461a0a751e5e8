"""Celery: in every replica, ``celery -A examples.celery_app worker`` and ``… beat``.

The broker is a folder, so that the example needs no server.
"""

import os
import tempfile
from pathlib import Path

from celery import Celery

from elector_thread import configure
from elector_thread.integrations.celery import LeaderTask, connect

# Where ELECTOR_GET_URL is not set, as on your own machine, this process is the leader.
elector = configure(when_unconfigured="lead")
connect()

app = Celery("reports")
# Every replica runs beat; only the leader's beat sends tasks.
app.conf.beat_scheduler = "elector_thread.integrations.celery.LeaderBeat"


@app.task(name="reports.send", base=LeaderTask)
def send() -> str:
    return "sent"


folder = Path(os.environ.get("CELERY_FOLDER", tempfile.gettempdir())) / "elector-thread-celery"
(folder / "queue").mkdir(parents=True, exist_ok=True)

app.conf.update(
    broker_url="filesystem://",
    result_backend=f"file://{folder}",
    broker_transport_options={
        "data_folder_in": str(folder / "queue"),
        "data_folder_out": str(folder / "queue"),
        "control_folder": str(folder / "control"),
    },
    broker_connection_retry_on_startup=True,
    beat_schedule_filename=str(folder / "beat-schedule"),
    beat_schedule={"tick": {"task": "reports.tick", "schedule": 1.0}},
)


@elector.on_elected
def begin() -> None:
    print(f"process {os.getpid()} is the leader", flush=True)


@elector.on_demoted
def end() -> None:
    print(f"process {os.getpid()} is no longer the leader", flush=True)


@app.task(name="reports.tick")
def tick() -> None:
    print("tick", flush=True)


@app.task(name="reports.state")
def state() -> dict[str, object]:
    return {"leader": elector.leader, "is_leader": elector.is_leader, "pid": os.getpid()}
