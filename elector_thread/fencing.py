"""Fencing: a database that refuses the work of a leader which has been replaced.

Each leadership that is verified by the Lease has a number, ``leadership.fence``, which grows
from leader to leader. A `Fence` is a row that holds the highest number seen so far. The leader
updates that row in the same transaction as its work, and a lower number is refused::

    fence = Fence("elector_fence", "reports")

    def store(connection, leadership, report):
        with connection.transaction():  # psycopg; other drivers have their own form
            fence.enforce(connection, leadership)
            connection.execute("INSERT INTO reports VALUES (%s)", [report])

Nothing in this module commits or rolls back. It works with any DB-API driver and with Django,
and imports neither.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Literal, Protocol, get_args

from .errors import ConfigurationError, ElectorError, StaleLeaderError

__all__ = ["DatabaseConnection", "Fence", "FencedLeadership", "ParamStyle", "StaleLeaderError"]

ParamStyle = Literal["qmark", "numeric", "named", "format", "pyformat"]
"""How a driver marks parameters in SQL. Source: PEP 249, ``paramstyle``."""

PLACEHOLDERS: Mapping[str, str] = {
    "qmark": "?",
    "numeric": ":{position}",
    "named": ":{key}",
    "format": "%s",
    "pyformat": "%({key})s",
}
TABLE = re.compile(r"[A-Za-z_]\w{0,62}(\.[A-Za-z_]\w{0,62})?", re.ASCII)
"""A table's name, with or without its schema. 63 characters: the limit of PostgreSQL."""
NAME_LENGTH = 200

# {table} is a checked identifier; [name] and [fence] become the driver's placeholders.
CREATE = (
    "CREATE TABLE IF NOT EXISTS {table} "
    f"(name VARCHAR({NAME_LENGTH}) NOT NULL PRIMARY KEY, fence BIGINT NOT NULL)"
)
UPDATE = "UPDATE {table} SET fence = [fence] WHERE name = [name] AND fence <= [fence]"
SELECT = "SELECT fence FROM {table} WHERE name = [name]"
INSERT = "INSERT INTO {table} (name, fence) VALUES ([name], [fence]) ON CONFLICT (name) DO NOTHING"


class FencedLeadership(Protocol):
    """What a fence needs of a leadership. `elector_thread.Leadership` has it."""

    @property
    def fence(self) -> int | None:
        """The number that grows from leader to leader. None without verification."""

    def check(self) -> None:
        """Raise `NotLeaderError` if this leadership is over."""


class DatabaseConnection(Protocol):
    """A connection as PEP 249 describes it, or Django's."""

    def cursor(self) -> Any:
        """A cursor. Each driver's differs in its types."""


class Fence:
    """A row of a table: the highest fence of any leader that has written so far.

    table: the table's name, or ``schema.table``; letters, digits and underscores. It is not
        quoted in SQL.
    name: what the fence protects, usually the application; 1 to 200 characters. Each name has
        a row of its own.
    paramstyle: how the driver marks parameters (PEP 249). Default: what the driver's module
        says. Needed only for a connection that is wrapped in a class of another library.

    Raises `ConfigurationError` for anything else. Safe to share between threads.
    """

    __slots__ = ("_name", "_paramstyle", "_table")

    def __init__(self, table: str, name: str, *, paramstyle: ParamStyle | None = None) -> None:
        if not isinstance(table, str) or not TABLE.fullmatch(table):
            raise ConfigurationError(
                f"Fence: table: expected letters, digits and underscores, at most 63, with or "
                f"without a schema and a dot before them, got {table!r}"
            )
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= NAME_LENGTH:
            raise ConfigurationError(
                f"Fence: name: expected 1 to {NAME_LENGTH} printable characters, got {name!r}"
            )
        if paramstyle is not None and paramstyle not in PLACEHOLDERS:
            raise ConfigurationError(
                f"Fence: paramstyle: expected one of {', '.join(get_args(ParamStyle))}, "
                f"got {paramstyle!r}"
            )
        self._table = table
        self._name = name
        self._paramstyle = paramstyle

    def enforce(self, connection: DatabaseConnection, leadership: FencedLeadership) -> None:
        """Refuse a leader that has been replaced. Call it first in the transaction of the work.

        The row stays locked until the transaction ends, so that the next leader's transactions
        come after it. The caller's ``with`` commits or rolls back, and must see the exception.

        Raises `StaleLeaderError` if a newer leader has written, `NotLeaderError` if the
        leadership is over, and `ConfigurationError` if it has no fence or if the connection
        would commit each statement separately. The driver's own exceptions pass through.
        """
        leadership.check()
        token = _fence_of(leadership)
        _refuse_what_cannot_work(connection)
        style = self._paramstyle or _paramstyle_of(connection)
        with closing(connection.cursor()) as cursor:
            self._raise_to(token, cursor, style)

    def create_table(self, connection: DatabaseConnection) -> None:
        """Create the table unless it exists. Does not commit.

        For a deployment step or a test. It is ``CREATE TABLE IF NOT EXISTS``, which PostgreSQL
        may refuse when two sessions run it at once.
        """
        with closing(connection.cursor()) as cursor:
            cursor.execute(CREATE.format(table=self._table))

    def _raise_to(self, token: int, cursor: Any, style: str) -> None:
        """Set the row to ``token``, or create it. Only a reported row counts as success."""
        for _ in range(2):  # twice: another transaction may create the row after our UPDATE
            matched = self._run(UPDATE, token, cursor, style)
            if matched == 1:
                return
            self._run(SELECT, token, cursor, style)
            rows = cursor.fetchall()
            if not rows and self._run(INSERT, token, cursor, style) == 1:
                return
            newest = _only_value(rows[0]) if rows else token
            if newest > token:
                raise StaleLeaderError(
                    f"this leadership's fence {token} is older than {newest}, which a newer "
                    f"leader has written to {self._table} for {self._name!r}"
                )
        raise ElectorError(
            f"expected one row for {self._name!r} in {self._table} to match, but the driver "
            f"reported {matched}: either another transaction changed the row (repeat this one), "
            f"or the driver counts only rows that it changed (MySQL: set CLIENT.FOUND_ROWS)"
        )

    def _run(self, statement: str, token: int, cursor: Any, style: str) -> int:
        """Execute a statement; the number of rows that the driver reports."""
        sql, values = _render(
            statement.format(table=self._table), {"name": self._name, "fence": token}, style
        )
        cursor.execute(sql, values)
        return int(cursor.rowcount)

    def __repr__(self) -> str:
        return f"Fence({self._table!r}, {self._name!r})"


def _fence_of(leadership: FencedLeadership) -> int:
    fence = leadership.fence
    if fence is None:
        raise ConfigurationError(
            'this leadership has no fence, because the Lease was not read: set verify="lease" '
            "(ELECTOR_THREAD_VERIFY=lease). If it is set, a warning in the log says why"
        )
    return fence


def _refuse_what_cannot_work(connection: Any) -> None:
    """TypeError for what is not a connection; `ConfigurationError` without a transaction."""
    kind = f"{connection.__class__.__module__}.{connection.__class__.__qualname__}"
    if inspect.iscoroutinefunction(getattr(connection, "commit", None)):
        raise TypeError(
            f"Fence: expected a synchronous connection, got {kind}; in async code, execute the "
            f"statements of the page on fencing yourself"
        )
    if not hasattr(connection, "cursor"):
        raise TypeError(
            f"Fence: expected a DB-API connection or Django's, got {kind}; SQLAlchemy: pass "
            f"session.connection().connection.dbapi_connection"
        )
    if _commits_each_statement(connection):
        raise ConfigurationError(
            f"Fence: {kind} is in autocommit mode and no transaction is open, so the fence would "
            f"not protect the work: begin a transaction first (Django: transaction.atomic(); "
            f"psycopg: connection.transaction(); sqlite3: BEGIN)"
        )


def _commits_each_statement(connection: Any) -> bool:
    """Whether a statement would be a transaction of its own, as far as the driver tells."""
    if hasattr(connection, "in_atomic_block"):  # Django
        return not connection.in_atomic_block and bool(connection.get_autocommit())
    if getattr(connection, "in_transaction", False):  # sqlite3, mysql.connector
        return False
    if getattr(getattr(connection, "info", None), "transaction_status", 0):  # psycopg; 0: idle
        return False
    autocommit = getattr(connection, "autocommit", None)
    if callable(autocommit):  # PyMySQL and MySQLdb: the method that sets it
        return bool(connection.get_autocommit())
    if autocommit in (None, -1):  # before Python 3.12, or sqlite3.LEGACY_TRANSACTION_CONTROL
        # Only sqlite3 has both attributes. psycopg's isolation_level may also be None.
        return (
            hasattr(connection, "in_transaction")
            and getattr(connection, "isolation_level", "") is None
        )
    return bool(autocommit)


def _paramstyle_of(connection: Any) -> str:
    """What the driver's module says. Django has one style for all databases."""
    if hasattr(connection, "in_atomic_block"):
        return "format"
    # `__class__` instead of type(): OpenTelemetry's proxies answer with the driver's class.
    for base in connection.__class__.__mro__:
        package = base.__module__
        while package:
            module = sys.modules.get(package)
            style = getattr(module, "paramstyle", None)
            if hasattr(module, "apilevel") and style in PLACEHOLDERS:
                return str(style)
            package = package.rpartition(".")[0]
    kind = f"{connection.__class__.__module__}.{connection.__class__.__qualname__}"
    raise ConfigurationError(
        f"Fence: the module of {kind} has no paramstyle: pass the driver's own connection, or set "
        f"Fence(…, paramstyle=…) to one of {', '.join(PLACEHOLDERS)}"
    )


def _render(
    statement: str, values: Mapping[str, object], style: str
) -> tuple[str, dict[str, object] | list[object]]:
    """The SQL with the driver's placeholders, and the parameters in the form that they need."""
    keys: list[str] = []

    def placeholder(match: re.Match[str]) -> str:
        keys.append(match[1])
        return PLACEHOLDERS[style].format(key=match[1], position=len(keys))

    sql = re.sub(r"\[(\w+)\]", placeholder, statement)
    if style in ("named", "pyformat"):
        return sql, {key: values[key] for key in keys}
    return sql, [values[key] for key in keys]


def _only_value(row: Any) -> int:
    """The value of a row with one column. Row factories make dictionaries as well as tuples."""
    return int(next(iter(row.values())) if isinstance(row, Mapping) else row[0])
