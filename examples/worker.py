"""A small app in which only the leader works. The demo runs three of them.

elector-thread up -- python examples/worker.py
"""

import signal
import sys
import threading

from elector_thread import Elector, LeaderChange, Leadership

elector = Elector()


def say(text: str) -> None:
    print(text, flush=True)


@elector.on_leader_change
def report(change: LeaderChange) -> None:
    say(f"the leader is {change.current}")


@elector.on_elected
def begin() -> None:
    say("gained leadership: starting the scheduler")


@elector.on_demoted
def end() -> None:
    say("lost leadership: stopping the scheduler")


@elector.while_leader
def work(leadership: Leadership) -> None:
    rounds = 0
    while not leadership.wait(timeout=1):
        rounds += 1
        say(f"round {rounds}")


def main() -> int:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with elector:
        while not ended.wait(timeout=1):  # a signal just before a wait does not interrupt it
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
