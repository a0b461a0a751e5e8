"""APScheduler 3.x: ``python examples/apscheduler_app.py``; jobs run only on the leader."""

import signal
import sys
import threading

from apscheduler.schedulers.background import BackgroundScheduler

from elector_thread import Elector, Leadership
from elector_thread.integrations.apscheduler import bind

# Where ELECTOR_GET_URL is not set, as on your own machine, this process is the leader.
elector = Elector(when_unconfigured="lead")
scheduler = BackgroundScheduler()
binding = bind(elector, scheduler)


@scheduler.scheduled_job("interval", seconds=0.2)
def short() -> None:
    print("short job", flush=True)


@scheduler.scheduled_job("interval", seconds=0.2, max_instances=1)
@binding.with_leadership
def long(leadership: Leadership) -> None:
    print(f"long job begins in leadership {leadership.number}", flush=True)
    if leadership.wait(timeout=60):
        print("long job ends early: the leadership is over", flush=True)


def main() -> int:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with elector:
        scheduler.start()
        while not ended.wait(timeout=1):  # a signal just before a wait does not interrupt it
            pass
    scheduler.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
