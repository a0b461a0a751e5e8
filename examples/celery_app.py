"""Celery: ``celery -A examples.celery_app worker``, and ``… beat`` beside it in every replica.

The broker is a folder, so that the example runs without a server.
"""

import os
import tempfile
from pathlib import Path

from celery import Celery

from elector_thread import configure
from elector_thread.integrations.celery import LeaderTask, connect

# Without an elector (ELECTOR_GET_URL), as on your own machine, this process leads.
elector = configure(when_unconfigured="lead")
connect()

app = Celery("reports")
# Every replica's beat keeps the schedule, the leader's alone sends.
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
    print(f"process {os.getpid()} leads", flush=True)


@elector.on_demoted
def end() -> None:
    print(f"process {os.getpid()} leads no longer", flush=True)


@app.task(name="reports.tick")
def tick() -> None:
    print("tick", flush=True)


@app.task(name="reports.state")
def state() -> dict[str, object]:
    return {"leader": elector.leader, "is_leader": elector.is_leader, "pid": os.getpid()}
