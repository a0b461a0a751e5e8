"""What an elector does in one process, and when that changes: one table. Pure."""

from __future__ import annotations

from enum import Enum

__all__ = ["DORMANT", "RUNNING", "UNUSED", "Phase", "Trigger", "next_phase"]


class Phase(Enum):
    """What an elector does in this process."""

    IDLE = "never started"
    RUNNING = "running"
    STOPPED = "stopped"
    DORMANT = "starts at first use: the parent's elector ran, or this process only forks workers"
    UNUSED = "the process-wide elector, which starts at the first question"


class Trigger(Enum):
    """What changes the phase."""

    START = "start() is called"
    HOLD = "start() is called where nothing may start"
    WAIT = "something waits for a state"
    QUESTION = "the state is read"
    WAKE = "a fork hook, or post_fork(), starts what ran in the parent"
    STOP = "stop() is called"
    FORK = "this process is a forked child"


_IDLE, RUNNING, _STOPPED, DORMANT, UNUSED = Phase

TRANSITIONS: dict[Phase, dict[Trigger, Phase]] = {
    _IDLE: {
        Trigger.START: RUNNING,
        Trigger.WAIT: RUNNING,
        Trigger.HOLD: DORMANT,
        Trigger.STOP: _STOPPED,
    },
    RUNNING: {Trigger.STOP: _STOPPED, Trigger.FORK: DORMANT},
    _STOPPED: {Trigger.START: RUNNING, Trigger.HOLD: DORMANT},
    DORMANT: {
        Trigger.START: RUNNING,
        Trigger.WAIT: RUNNING,
        Trigger.QUESTION: RUNNING,
        Trigger.WAKE: RUNNING,
        Trigger.STOP: _STOPPED,
    },
    UNUSED: {
        Trigger.START: RUNNING,
        Trigger.WAIT: RUNNING,
        Trigger.QUESTION: RUNNING,
        Trigger.HOLD: DORMANT,
        Trigger.STOP: _STOPPED,
    },
}
"""The next phase for each phase and trigger."""


def next_phase(phase: Phase, trigger: Trigger) -> Phase:
    """The phase that follows; where the table lists nothing, the phase stays."""
    return TRANSITIONS[phase].get(trigger, phase)
