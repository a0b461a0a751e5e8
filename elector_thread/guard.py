"""``@only_on_leader``: run the function only if this process is the leader."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from enum import Enum
from math import inf
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    Never,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    get_args,
    overload,
)

from ._dispatch.callbacks import is_async, is_generator, name_of
from ._guarded import JOBS, Check, Job
from ._state.health import observers
from .errors import NotLeaderError

__all__ = ["SKIPPED", "Guard", "Skipped"]

WhenUnknown: TypeAlias = Literal["skip", "run"]
if TYPE_CHECKING:  # a Protocol is slow to define, and only type checkers look at these
    from ._guarded import ElectorLike, Outcome

    P = ParamSpec("P")
    R = TypeVar("R")
    Substitute = TypeVar("Substitute")
    Substitute_co = TypeVar("Substitute_co", covariant=True)
    Function = TypeVar("Function", bound=Callable[..., Any])

    class RaisingDecorator(Protocol):
        """A decorator that raises on a non-leader: the function keeps its type."""

        def __call__(self, fn: Function, /) -> Function:
            """Guard ``fn``."""

    class SubstitutingDecorator(Protocol[Substitute_co]):
        """A decorator with a substitute, such as `SKIPPED`, which a call may return."""

        @overload  # first, because a function that returns Any also matches the next one
        def __call__(self, fn: Callable[P, Never], /) -> Callable[P, Any]: ...

        @overload
        def __call__(
            self, fn: Callable[P, Coroutine[Any, Any, R]], /
        ) -> Callable[P, Coroutine[Any, Any, R | Substitute_co]]: ...

        @overload
        def __call__(self, fn: Callable[P, R], /) -> Callable[P, R | Substitute_co]: ...


class Skipped(Enum):
    """The type of `SKIPPED`. An enum: type checkers know that it has only one member."""

    SKIPPED = "SKIPPED"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "SKIPPED"

    __str__ = __repr__


SKIPPED: Final = Skipped.SKIPPED
"""What a guarded function returns if it was not run. False in a condition."""


class _NotGiven(Enum):
    """The type of `NOT_GIVEN`, the default of ``otherwise``: None is a value like any other."""

    NOT_GIVEN = "not given"


NOT_GIVEN: Final = _NotGiven.NOT_GIVEN


class Guard:
    """The decorator behind `only_on_leader`, with or without arguments."""

    def __init__(self, elector: ElectorLike | Callable[[], ElectorLike]) -> None:
        self._elector = elector

    @overload  # first, as in `SubstitutingDecorator`
    def __call__(self, fn: Callable[P, Never], /) -> Callable[P, Any]: ...

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Callable[P, Coroutine[Any, Any, R | Skipped]]: ...

    @overload
    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R | Skipped]: ...

    @overload
    def __call__(
        self,
        /,
        *,
        raises: Literal[True],
        elector: ElectorLike | None = None,
        wait: float = 5.0,
        when_unknown: WhenUnknown = "skip",
        interval: float | None = None,
    ) -> RaisingDecorator: ...

    @overload
    def __call__(
        self,
        /,
        *,
        raises: bool = False,
        elector: ElectorLike | None = None,
        wait: float = 5.0,
        when_unknown: WhenUnknown = "skip",
        interval: float | None = None,
    ) -> SubstitutingDecorator[Skipped]: ...

    @overload
    def __call__(
        self,
        /,
        *,
        otherwise: Callable[..., Coroutine[Any, Any, Substitute]],
        raises: Literal[False] = False,
        elector: ElectorLike | None = None,
        wait: float = 5.0,
        when_unknown: WhenUnknown = "skip",
        interval: float | None = None,
    ) -> SubstitutingDecorator[Substitute]: ...

    @overload
    def __call__(
        self,
        /,
        *,
        otherwise: Callable[..., Substitute],
        raises: Literal[False] = False,
        elector: ElectorLike | None = None,
        wait: float = 5.0,
        when_unknown: WhenUnknown = "skip",
        interval: float | None = None,
    ) -> SubstitutingDecorator[Substitute]: ...

    @overload
    def __call__(
        self,
        /,
        *,
        otherwise: Substitute,
        raises: Literal[False] = False,
        elector: ElectorLike | None = None,
        wait: float = 5.0,
        when_unknown: WhenUnknown = "skip",
        interval: float | None = None,
    ) -> SubstitutingDecorator[Substitute]: ...

    def __call__(
        self,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        otherwise: object = NOT_GIVEN,
        raises: bool = False,
        elector: ElectorLike | None = None,
        wait: float = 5.0,
        when_unknown: WhenUnknown = "skip",
        interval: float | None = None,
    ) -> Any:
        """Guard ``fn`` (a function, an ``async def`` or a method).

        otherwise: what a call returns on a non-leader: a value, or a function that is
            called with the same arguments. Default: `SKIPPED`.
        raises: raise `NotLeaderError` instead.
        elector: ask this elector. Default: the process-wide one, started at the first call.
        wait: seconds to wait, once, for the elector's first answer (5). Without it, a script
            that has just started would skip its job on every replica.
        when_unknown: ``"skip"`` (the default) or ``"run"``: what to do while nothing is known
            about the leader. ``"run"`` is for jobs that are safe to repeat: while the elector
            cannot be reached, every replica runs them.
        interval: seconds between two runs of this job, for metrics and alerts alone.

        **While the elector is down, a guarded job runs nowhere.** In a script that a cron-like
        scheduler starts, the call then returns `SKIPPED` after ``wait`` seconds and the script
        ends as if all was well, except for one WARNING in the log that names the function. Use
        ``raises=True`` for an exit code that says so, or ``when_unknown="run"``.

        Raises TypeError, when the function is decorated, if it cannot be guarded, if the
        arguments exclude each other, or for a wrong ``wait``, ``when_unknown`` or ``interval``.
        """
        if raises and otherwise is not NOT_GIVEN:
            raise TypeError("only_on_leader: expected either otherwise or raises=True, got both")
        if elector is not None:
            _check_elector(elector)
        _check_wait(wait)
        _check_when_unknown(when_unknown)
        _check_interval(interval)
        guarded = functools.partial(
            _guard,
            otherwise=otherwise,
            raises=raises,
            check=Check(elector or self._elector, wait, when_unknown == "run"),
            interval=interval,
        )
        return guarded if fn is None else guarded(fn)


def _guard(
    fn: Callable[..., Any],
    *,
    otherwise: object,
    raises: bool,
    check: Check,
    interval: float | None,
) -> Callable[..., Any]:
    _check_guardable(fn)
    substitutes = _substitutes(fn, otherwise, raises)
    job = Job(_full_name(fn), interval)
    if interval is not None:
        JOBS[job.name] = interval

    if is_async(fn):

        @functools.wraps(fn)
        async def guarded_async(*args: Any, **kwargs: Any) -> Any:
            elector = check.ask()
            outcome = await check.outcome_async(elector)
            if outcome == "run":
                if not observers:
                    return await fn(*args, **kwargs)
                with job.running(elector):
                    return await fn(*args, **kwargs)
            job.was_skipped(elector, outcome)
            result = substitutes[outcome](*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return guarded_async

    @functools.wraps(fn)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        elector = check.ask()
        outcome = check.outcome(elector)
        if outcome == "run":
            if not observers:  # without observers a call costs no more than the question
                return fn(*args, **kwargs)
            with job.running(elector):
                return fn(*args, **kwargs)
        job.was_skipped(elector, outcome)
        return substitutes[outcome](*args, **kwargs)

    return guarded


def _full_name(fn: Callable[..., Any]) -> str:
    """With its module; methods of builtins have none."""
    module = getattr(fn, "__module__", None)
    return f"{module}.{name_of(fn)}" if module else name_of(fn)


def _substitutes(
    fn: Callable[..., Any], otherwise: object, raises: bool
) -> dict[Outcome, Callable[..., Any]]:
    """What a call runs instead of ``fn``, by the reason."""
    if raises:
        return {
            "skipped": _refuse(fn, "this process is not the leader"),
            "unknown": _refuse(fn, "the leader is not known"),
        }
    result = SKIPPED if otherwise is NOT_GIVEN else otherwise
    substitute = result if callable(result) else lambda *_, **__: result
    return {"skipped": substitute, "unknown": substitute}


def _refuse(fn: Callable[..., Any], why: str) -> Callable[..., Any]:
    name = name_of(fn)

    def refuse(*_: Any, **__: Any) -> Any:
        raise NotLeaderError(f"{name} runs only on the leader, and {why}")

    return refuse


def _check_elector(elector: object) -> None:
    """By its methods: the class `Elector` is in a layer above this one."""
    if hasattr(elector, "_may_wait_for_first_answer") and not inspect.isclass(elector):
        return
    adapter = isinstance(getattr(elector, "only_on_leader", None), Guard)
    hint = ": use its own .only_on_leader" if adapter else ""
    raise TypeError(f"only_on_leader: expected an Elector, got {elector!r}{hint}")


def _check_guardable(fn: object) -> None:
    if isinstance(fn, classmethod | staticmethod):
        raise TypeError(
            f"only_on_leader: put it below @{type(fn).__name__}, directly above the function"
        )
    if inspect.isclass(fn) or not callable(fn):
        raise TypeError(f"only_on_leader: expected a function, got {fn!r}")
    if is_generator(fn):
        raise TypeError(
            f"only_on_leader: {name_of(fn)} is a generator, which runs after the check; "
            f"guard the function that iterates it"
        )


def _check_wait(given: object) -> None:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < inf:
        raise TypeError(
            f"only_on_leader: wait: expected a number of seconds, 0 or more, got {given!r}"
        )


def _check_when_unknown(given: object) -> None:
    choices = get_args(WhenUnknown)
    if given not in choices:
        expected = " or ".join(map(repr, choices))
        raise TypeError(f"only_on_leader: when_unknown: expected {expected}, got {given!r}")


def _check_interval(given: object) -> None:
    if given is None:
        return
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < inf:
        raise TypeError(
            f"only_on_leader: interval: expected a positive number of seconds, got {given!r}"
        )
