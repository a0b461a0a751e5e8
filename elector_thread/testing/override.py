"""`override_leader`: changes the answers of electors, and nothing else."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from threading import Lock
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from .. import default
from .._state.model import State, Status
from ..elector import Elector
from .fake import ANOTHER_POD, FakeElector
from .swap import StandIn

__all__ = ["override_leader"]

Function = TypeVar("Function", bound=Callable[..., Any])


class override_leader:  # noqa: N801 - used like a function
    """Make every elector of this process answer that it is the leader, or that it is not.

    A context manager, and a decorator for ``def``, ``async def``, generators (fixtures) and
    methods. Overrides may be nested; the innermost one counts. At the end, also after an
    exception, the answers are what they were before.

    leading: the answer. Raises TypeError if it is not a bool, or if the decorated object is
        not a function.

    Only answers change: `is_leader`, `state`, `leader`, `status()`, `refresh()`, the two waits
    and guarded calls. Callbacks do not run, and nothing is started. A process-wide elector
    that was not in use before needs neither environment variables nor a network. To simulate
    elections, use `FakeElector`.

    Example::

        @override_leader(True)
        def test_the_report_is_sent():
            assert send_report() == "sent"
    """

    def __init__(self, leading: bool = True) -> None:
        if not isinstance(leading, bool):
            raise TypeError(f"override_leader: expected True or False, got {leading!r}")
        self._leading = leading

    def __enter__(self) -> Self:
        _overrides.enter(self._leading)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _overrides.leave()

    def __call__(self, fn: Function) -> Function:
        """``fn`` with the answers overridden while it runs."""
        if inspect.isclass(fn) or not callable(fn) or inspect.isasyncgenfunction(fn):
            raise TypeError(
                f"override_leader: expected a function, a method or an async def, got {fn!r}"
            )
        wrapper: Any
        if inspect.iscoroutinefunction(fn):

            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with override_leader(self._leading):
                    return await fn(*args, **kwargs)

        elif inspect.isgeneratorfunction(fn):

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with override_leader(self._leading):
                    return (yield from fn(*args, **kwargs))

        else:

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with override_leader(self._leading):
                    return fn(*args, **kwargs)

        functools.update_wrapper(wrapper, fn)
        return cast("Function", wrapper)


class _Overrides:
    """The overrides in force, innermost last, and the attributes that they replace.

    `_lock` protects both, because tests may run in threads. The first override replaces the
    public readers of the classes, and the end of the last one restores them. So `is_leader`
    needs no check for overrides in production.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._outer: list[bool] = []  # the answer before each override in force
        self._leads = False
        self._replaced: list[tuple[type[Elector], str, object]] = []
        self._default: default.Default | None = None

    def enter(self, leading: bool) -> None:
        with self._lock:
            self._outer.append(self._leads)
            self._leads = leading
            if len(self._outer) == 1:
                self._replace()

    def leave(self) -> None:
        with self._lock:
            if len(self._outer) == 1:
                self._restore()
            self._leads = self._outer.pop()

    def leads(self) -> bool:
        return self._leads  # a single reference: read without the lock

    def _replace(self) -> None:
        for owner in (Elector, FakeElector):
            for name, answer in _answers(vars(owner)["status"]).items():
                if name in vars(owner):
                    self._replaced.append((owner, name, vars(owner)[name]))
                    setattr(owner, name, answer)
        if not default.current.in_use:
            self._default, default.current = default.current, StandIn(FakeElector())

    def _restore(self) -> None:
        while self._replaced:
            setattr(*self._replaced.pop())
        if self._default is not None:
            default.current, self._default = self._default, None


_overrides = _Overrides()


def _answers(real_status: Callable[[Any], Status]) -> dict[str, object]:
    """The readers of `Elector` while an override is in force."""
    leads = _overrides.leads

    def state(_: Elector) -> State:
        return State.LEADER if leads() else State.FOLLOWER

    def leader(elector: Elector) -> str:
        return elector.identity if leads() else ANOTHER_POD

    def status(elector: Elector) -> Status:
        return real_status(elector)._replace(
            state=state(elector), is_leader=leads(), leader=leader(elector)
        )

    def wait_until_leader(_: Elector, timeout: float | None = None) -> bool:
        return leads()

    def wait_until_known(_: Elector, timeout: float | None = None) -> bool:
        return True

    return {
        "is_leader": property(lambda _: leads()),
        "state": property(state),
        "leader": property(leader),
        "status": status,
        "refresh": status,
        "wait_until_leader": wait_until_leader,
        "wait_until_known": wait_until_known,
        "_may_wait_for_first_answer": lambda *_: False,
    }
