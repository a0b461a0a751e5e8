"""Fences, on SQLite and on a real PostgreSQL: a replaced leader's work is not committed."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import psycopg
import pytest
from django.apps import apps
from django.db import connections, migrations, transaction
from django.db.utils import ConnectionHandler

from elector_thread.errors import ConfigurationError, ElectorError, NotLeaderError
from elector_thread.fencing import Fence, StaleLeaderError

from .integrations import django_project  # noqa: F401 - configures Django's settings
from .postgres import PATIENCE, Postgres, postgres  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "fencing.md").read_text()
FENCE = Fence("elector_fence", "reports")


@dataclass
class Leader:
    """What a fence needs of a leadership, without an elector."""

    fence: int | None
    over: bool = False

    def check(self) -> None:
        if self.over:
            raise NotLeaderError("leadership 1 is over")


@dataclass
class PausedLeader(Leader):
    """Pauses where no check can help: after the last one, before the statement."""

    reached: threading.Event = field(default_factory=threading.Event)
    resumed: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        super().check()
        self.reached.set()
        assert self.resumed.wait(PATIENCE)


class Database(Protocol):
    """A database, and how a user of it opens a transaction."""

    def connect(self) -> Any: ...

    def close(self, connection: Any) -> None: ...

    def transaction(self, connection: Any) -> AbstractContextManager[Any]: ...

    def execute(self, connection: Any, statement: str) -> list[Any]: ...

    def restart(self) -> None: ...


class DriverDatabase:
    """One that is used by its driver."""

    def close(self, connection: Any) -> None:
        connection.close()

    def execute(self, connection: Any, statement: str) -> list[Any]:
        cursor = connection.execute(statement)
        return [] if cursor.description is None else cursor.fetchall()


class Sqlite(DriverDatabase):
    def __init__(self, path: Path) -> None:
        self.path = path

    def connect(self, **settings: Any) -> sqlite3.Connection:
        options = {"timeout": PATIENCE, "check_same_thread": False, **settings}
        return sqlite3.connect(self.path, **options)

    def transaction(self, connection: sqlite3.Connection) -> AbstractContextManager[Any]:
        return connection

    def restart(self) -> None:
        """There is no server. The test's connections are new ones in any case."""


class Psycopg(DriverDatabase):
    def __init__(self, server: Postgres) -> None:
        self.server = server
        self.connect = server.connect

    def transaction(self, connection: psycopg.Connection[Any]) -> AbstractContextManager[Any]:
        return connection.transaction()

    def restart(self) -> None:
        self.server.stop()
        self.server.start()


class Django:
    """Django's connections. Each thread has one of its own for each alias."""

    def __init__(self, inner: Database, **options: Any) -> None:
        self.inner = inner
        self.options = options
        self.count = iter(range(1000))
        apps.populate([])  # otherwise Django warns of queries while it is being set up

    def connect(self) -> Any:
        alias = f"fence-{next(self.count)}"
        connections[alias] = ConnectionHandler({"default": {}, alias: self.options})[alias]
        return connections[alias]

    def close(self, connection: Any) -> None:
        connection.close()
        del connections[connection.alias]

    def transaction(self, connection: Any) -> AbstractContextManager[Any]:
        return transaction.atomic(using=connection.alias)

    def execute(self, connection: Any, statement: str) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return [] if cursor.description is None else cursor.fetchall()

    def restart(self) -> None:
        self.inner.restart()


def django_on_sqlite(path: Path) -> Django:
    where = {"NAME": str(path), "OPTIONS": {"timeout": PATIENCE}}  # Django's own limit is 5 s
    return Django(Sqlite(path), ENGINE="django.db.backends.sqlite3", **where)


def django_on_postgres(server: Postgres) -> Django:
    where = {"HOST": str(server.folder), "USER": "tests", "NAME": "postgres"}
    return Django(Psycopg(server), ENGINE="django.db.backends.postgresql", **where)


@pytest.fixture
def sqlite(tmp_path: Path) -> Sqlite:
    database = Sqlite(tmp_path / "database")
    prepare(database)
    return database


@pytest.fixture
def psycopg_database(postgres: Postgres) -> Psycopg:  # noqa: F811
    database = Psycopg(postgres)
    prepare(database)
    return database


@pytest.fixture(params=["sqlite3", "psycopg", "Django, SQLite", "Django, PostgreSQL"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    make: dict[str, Callable[[], Database]] = {
        "sqlite3": lambda: Sqlite(tmp_path / "database"),
        "psycopg": lambda: Psycopg(request.getfixturevalue("postgres")),
        "Django, SQLite": lambda: django_on_sqlite(tmp_path / "database"),
        "Django, PostgreSQL": lambda: django_on_postgres(request.getfixturevalue("postgres")),
    }
    database = make[request.param]()
    prepare(database)
    return database


@contextmanager
def session(database: Database, **settings: Any) -> Iterator[Any]:
    """A connection, closed at the end."""
    connection = database.connect(**settings)
    try:
        yield connection
    finally:
        database.close(connection)


@contextmanager
def transaction_of(database: Database) -> Iterator[Any]:
    """A transaction, in a connection of its own."""
    with session(database) as connection, database.transaction(connection):
        yield connection


def prepare(database: Database) -> None:
    """Create the fence's table and the table that the work goes to, both empty."""
    with transaction_of(database) as connection:
        for table in ("elector_fence", "work"):
            database.execute(connection, f"DROP TABLE IF EXISTS {table}")
        FENCE.create_table(connection)
        FENCE.create_table(connection)
        database.execute(connection, "CREATE TABLE work (done VARCHAR(99))")


def write(database: Database, connection: Any, done: str) -> None:
    database.execute(connection, f"INSERT INTO work VALUES ('{done}')")


def work(database: Database, leader: Any, done: str) -> None:
    """A transaction of a leader, in a connection of its own."""
    with transaction_of(database) as connection:
        FENCE.enforce(connection, leader)
        write(database, connection, done)


def all_work(database: Database) -> list[str]:
    with transaction_of(database) as connection:
        return [row[0] for row in database.execute(connection, "SELECT done FROM work")]


def fences(database: Database) -> list[tuple[str, int]]:
    with transaction_of(database) as connection:
        return [tuple(row) for row in database.execute(connection, "SELECT * FROM elector_fence")]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as executor:
        yield executor


# What a fence promises, on each database.


def test_the_row_is_created_then_grows_and_an_older_leader_is_refused(database: Database) -> None:
    work(database, Leader(5), "5")
    work(database, Leader(5), "5 again")
    work(database, Leader(7), "7")
    with pytest.raises(StaleLeaderError, match=r"fence 5 is older than 7, .* for 'reports'"):
        work(database, Leader(5), "late")
    work(database, Leader(7), "7 again")
    assert all_work(database) == ["5", "5 again", "7", "7 again"]
    assert fences(database) == [("reports", 7)]


def test_a_paused_leaders_work_is_not_committed(
    database: Database, pool: ThreadPoolExecutor
) -> None:
    work(database, Leader(5), "old leader, in time")
    paused = PausedLeader(5)
    late = pool.submit(work, database, paused, "old leader, late")
    assert paused.reached.wait(PATIENCE)
    work(database, Leader(7), "new leader")
    paused.resumed.set()
    with pytest.raises(StaleLeaderError):
        late.result(PATIENCE)
    assert all_work(database) == ["old leader, in time", "new leader"]


def test_work_before_the_fence_is_rolled_back_too(database: Database) -> None:
    def late() -> None:
        with transaction_of(database) as connection:
            write(database, connection, "old leader, before its fence")
            FENCE.enforce(connection, Leader(5))

    work(database, Leader(7), "new leader")
    with pytest.raises(StaleLeaderError):
        late()
    assert all_work(database) == ["new leader"]


def test_the_fence_rolls_back_with_the_work(database: Database) -> None:
    def fail() -> None:
        with transaction_of(database) as connection:
            FENCE.enforce(connection, Leader(7))
            raise ZeroDivisionError

    work(database, Leader(5), "5")
    with pytest.raises(ZeroDivisionError):
        fail()
    assert fences(database) == [("reports", 5)]


def test_the_fence_outlives_a_restart_of_the_database(database: Database) -> None:
    work(database, Leader(5), "old leader")
    work(database, Leader(7), "new leader")
    database.restart()
    with pytest.raises(StaleLeaderError):
        work(database, Leader(5), "old leader, after the restart")
    work(database, Leader(7), "new leader, after the restart")
    assert all_work(database) == ["old leader", "new leader", "new leader, after the restart"]


def test_each_name_has_a_fence_of_its_own(database: Database) -> None:
    work(database, Leader(7), "7")
    with transaction_of(database) as connection:
        Fence("elector_fence", "it's another").enforce(connection, Leader(5))
    assert sorted(fences(database)) == [("it's another", 5), ("reports", 7)]


def test_racing_leaders_commit_in_the_order_of_their_fences(
    database: Database, pool: ThreadPoolExecutor
) -> None:
    """All begin at once, without a row. Only an older fence than the row has is refused."""
    together = threading.Barrier(4)

    def lead(turns: list[int]) -> int:
        refused = 0
        together.wait(PATIENCE)
        for token in turns:
            with session(database) as connection:
                try:
                    with database.transaction(connection):
                        FENCE.enforce(connection, Leader(token))
                        count = "SELECT COUNT(*) FROM work"  # exact: the row is locked
                        ((position,),) = database.execute(connection, count)
                        write(database, connection, f"{position:03} {token:03}")
                except StaleLeaderError:
                    refused += 1
        return refused

    turns = [sorted(random.Random(seed).choices(range(100), k=6)) for seed in range(4)]
    refused = sum(pool.map(lead, turns))
    done = sorted(all_work(database))
    tokens = [int(line.split()[1]) for line in done]
    assert [int(line.split()[0]) for line in done] == list(range(len(done)))
    assert tokens == sorted(tokens)
    assert len(done) + refused == 24
    assert tokens[-1] == max(token for turn in turns for token in turn)


# Concurrent transactions.


@pytest.mark.parametrize("row_exists", [True, False])
@pytest.mark.parametrize(("first", "second"), [(7, 5), (5, 7)])
def test_the_second_transaction_waits_for_the_first(
    psycopg_database: Psycopg, pool: ThreadPoolExecutor, row_exists: bool, first: int, second: int
) -> None:
    database = psycopg_database
    if row_exists:
        work(database, Leader(1), "before")
    with session(database) as one, session(database) as other:

        def second_leader() -> None:
            with other.transaction():
                FENCE.enforce(other, Leader(second))
                write(database, other, f"second {second}")

        with one.transaction():
            FENCE.enforce(one, Leader(first))
            result = pool.submit(second_leader)
            database.server.wait_blocked(other)
            write(database, one, f"first {first}")
        if second < first:
            with pytest.raises(StaleLeaderError):
                result.result(PATIENCE)
        else:
            result.result(PATIENCE)
    expected = ["before"] * row_exists + [f"first {first}"]
    assert all_work(database) == expected + [f"second {second}"] * (second > first)


@pytest.mark.parametrize("row_exists", [True, False])
@pytest.mark.parametrize("level", ["REPEATABLE_READ", "SERIALIZABLE"])
@pytest.mark.parametrize("second", [5, 9])
def test_a_stricter_isolation_level_has_the_second_one_repeat_its_transaction(
    psycopg_database: Psycopg, pool: ThreadPoolExecutor, row_exists: bool, level: str, second: int
) -> None:
    database = psycopg_database
    if row_exists:
        work(database, Leader(1), "before")
    with session(database) as one, session(database) as other:
        other.isolation_level = psycopg.IsolationLevel[level]

        def second_leader() -> None:
            with other.transaction():
                FENCE.enforce(other, Leader(second))
                write(database, other, f"second {second}")

        with one.transaction():
            FENCE.enforce(one, Leader(7))
            result = pool.submit(second_leader)
            database.server.wait_blocked(other)
            write(database, one, "first")
        with pytest.raises(psycopg.errors.SerializationFailure):
            result.result(PATIENCE)
        assert "second" not in "".join(all_work(database))
        if second == 9:
            second_leader()
        else:
            with pytest.raises(StaleLeaderError):
                second_leader()
    assert all_work(database)[row_exists:] == ["first"] + ["second 9"] * (second == 9)


@pytest.mark.parametrize("level", ["READ_COMMITTED", "REPEATABLE_READ", "SERIALIZABLE"])
def test_a_snapshot_from_before_the_newer_leader_does_not_help(
    psycopg_database: Psycopg, level: str
) -> None:
    database = psycopg_database

    def late() -> None:
        with session(database) as old:
            old.isolation_level = psycopg.IsolationLevel[level]
            with old.transaction():
                old.execute("SELECT * FROM work").fetchall()  # takes the snapshot
                work(database, Leader(7), "new leader")
                FENCE.enforce(old, Leader(5))
                write(database, old, "old leader")

    work(database, Leader(5), "before")
    with pytest.raises((StaleLeaderError, psycopg.errors.SerializationFailure)):
        late()
    assert all_work(database) == ["before", "new leader"]


def test_a_restart_within_a_transaction_commits_nothing(psycopg_database: Psycopg) -> None:
    database = psycopg_database

    def interrupted() -> None:
        with transaction_of(database) as connection:
            FENCE.enforce(connection, Leader(7))
            write(database, connection, "lost")
            database.restart()
            write(database, connection, "after the restart")

    with pytest.raises(psycopg.OperationalError):
        interrupted()
    assert (all_work(database), fences(database)) == ([], [])


def test_sqlite_refuses_the_second_transaction_while_the_first_is_open(sqlite: Sqlite) -> None:
    with session(sqlite) as one, session(sqlite, timeout=0) as other:
        with one:
            FENCE.enforce(one, Leader(7))
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                FENCE.enforce(other, Leader(5))
            write(sqlite, one, "first")
        with pytest.raises(StaleLeaderError), other:
            FENCE.enforce(other, Leader(5))
    assert all_work(sqlite) == ["first"]


def test_sqlites_write_ahead_log_and_an_old_snapshot(sqlite: Sqlite) -> None:
    with session(sqlite) as one, session(sqlite, isolation_level=None) as other:
        one.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN")
        other.execute("SELECT * FROM work").fetchall()
        with one:
            FENCE.enforce(one, Leader(7))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            FENCE.enforce(other, Leader(5))


# Connections that cannot protect anything.


def refused_in_autocommit(connection: Any) -> None:
    with pytest.raises(ConfigurationError, match="autocommit mode and no transaction is open"):
        FENCE.enforce(connection, Leader(5))


def test_sqlite3_without_transactions_of_its_own(sqlite: Sqlite) -> None:
    with session(sqlite, isolation_level=None) as connection:
        refused_in_autocommit(connection)
        assert fences(sqlite) == []
        connection.execute("BEGIN")
        FENCE.enforce(connection, Leader(5))
        connection.execute("COMMIT")
    assert fences(sqlite) == [("reports", 5)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has autocommit since 3.12")
def test_sqlite3_with_its_attribute_autocommit(sqlite: Sqlite) -> None:
    with session(sqlite, autocommit=True) as connection:
        refused_in_autocommit(connection)
    with session(sqlite, autocommit=False) as connection:
        connection.isolation_level = None
        FENCE.enforce(connection, Leader(5))
        connection.commit()
    assert fences(sqlite) == [("reports", 5)]


def test_psycopg_in_autocommit_mode(psycopg_database: Psycopg) -> None:
    with session(psycopg_database, autocommit=True) as connection:
        refused_in_autocommit(connection)
        assert fences(psycopg_database) == []
        with connection.transaction():
            FENCE.enforce(connection, Leader(5))
        connection.execute("BEGIN")
        FENCE.enforce(connection, Leader(6))
        connection.execute("ROLLBACK")
    assert fences(psycopg_database) == [("reports", 5)]


def test_django_outside_of_atomic(tmp_path: Path) -> None:
    database = django_on_sqlite(tmp_path / "database")
    prepare(database)
    with session(database) as connection:
        refused_in_autocommit(connection)
    assert fences(database) == []


@pytest.mark.parametrize(("autocommit", "refused"), [(True, True), (False, False)])
def test_a_driver_whose_autocommit_is_a_method(autocommit: bool, refused: bool) -> None:
    driver = ScriptedDriver([1])
    driver.autocommit = lambda on: None
    driver.get_autocommit = lambda: autocommit
    if refused:
        refused_in_autocommit(driver)
    else:
        Fence("t", "n", paramstyle="qmark").enforce(driver, Leader(5))


def test_an_asynchronous_connection_is_refused() -> None:
    connection = psycopg.AsyncConnection.__new__(psycopg.AsyncConnection)
    with pytest.raises(TypeError, match=r"synchronous connection, got psycopg\.AsyncConnection"):
        FENCE.enforce(connection, Leader(5))


def test_what_is_not_a_connection_is_refused() -> None:
    with pytest.raises(TypeError, match=r"DB-API connection or Django's, got builtins\.object"):
        FENCE.enforce(object(), Leader(5))  # type: ignore[arg-type] # wrong on purpose


# Leaderships that cannot pass.


@pytest.mark.parametrize("fence", [5, None])
def test_a_leadership_that_is_over_is_refused_before_anything_else(fence: int | None) -> None:
    with pytest.raises(NotLeaderError):
        FENCE.enforce(ScriptedDriver([]), Leader(fence, over=True))


def test_a_leadership_without_verification_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r'no fence.* set verify="lease"'):
        FENCE.enforce(ScriptedDriver([]), Leader(None))


# Identifiers and settings.


@pytest.mark.parametrize("table", ["fences", "_f2", "Jobs.Fences", "a" * 63 + "." + "b" * 63])
def test_a_table_is_an_identifier(table: str) -> None:
    assert repr(Fence(table, "n")) == f"Fence('{table}', 'n')"


INJECTIONS = [
    "",
    "a b",
    "a;--",
    "a\n",
    "1a",
    "a.b.c",
    ".a",
    "a.",
    '"a"',
    "%s",
    "[name]",
    "å",
    "{0}",
]


@pytest.mark.parametrize("table", [*INJECTIONS, "a" * 64, None, b"a"])
def test_anything_else_is_refused_as_a_table(table: Any) -> None:
    with pytest.raises(ConfigurationError, match="Fence: table: expected letters"):
        Fence(table, "n")


@pytest.mark.parametrize("name", ["", "a\0b", "a\n", "a" * 201, None, b"a", 5])
def test_a_bad_name_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="Fence: name: expected 1 to 200"):
        Fence("t", name)


@pytest.mark.parametrize(
    "name", ["'; DROP TABLE work; --", "%s %(name)s :fence ? [fence]", "blåbær"]
)
def test_a_name_is_a_parameter_and_never_sql(database: Database, name: str) -> None:
    with transaction_of(database) as connection:
        Fence("elector_fence", name).enforce(connection, Leader(5))
    assert fences(database) == [(name, 5)]
    assert all_work(database) == []


# Drivers: their parameter styles, and what else they report.


class ScriptedDriver:
    """A connection and its cursor; reports the given counts of rows, one for each statement."""

    autocommit: Any = False

    def __init__(self, counts: list[int], rows: list[Any] | None = None) -> None:
        self.counts = iter(counts)
        self.rows = rows or []
        self.executed: list[tuple[str, Any]] = []
        self.rowcount = -1

    def cursor(self) -> ScriptedDriver:
        return self

    def execute(self, statement: str, values: Any = None) -> None:
        self.executed.append((statement, values))
        self.rowcount = next(self.counts)

    def fetchall(self) -> list[Any]:
        return self.rows

    def close(self) -> None:
        pass


STYLES = {
    "qmark": ("SET fence = ? WHERE name = ? AND fence <= ?", [5, "n", 5]),
    "numeric": ("SET fence = :1 WHERE name = :2 AND fence <= :3", [5, "n", 5]),
    "named": (
        "SET fence = :fence WHERE name = :name AND fence <= :fence",
        {"name": "n", "fence": 5},
    ),
    "format": ("SET fence = %s WHERE name = %s AND fence <= %s", [5, "n", 5]),
    "pyformat": (
        "SET fence = %(fence)s WHERE name = %(name)s AND fence <= %(fence)s",
        {"name": "n", "fence": 5},
    ),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("module", ["a_driver", "a_driver.dbapi"])
def test_the_parameter_style_comes_from_the_drivers_module(
    monkeypatch: pytest.MonkeyPatch, style: str, module: str
) -> None:
    driver = ModuleType(module)
    driver.__dict__.update(apilevel="2.0", paramstyle=style)
    monkeypatch.setitem(sys.modules, module, driver)
    base = type("Base", (ScriptedDriver,), {"__module__": f"{module}.connections"})
    connection = type("Connection", (base,), {"__module__": "an_app"})([1])
    Fence("t", "n").enforce(connection, Leader(5))
    sql, values = STYLES[style]
    assert connection.executed == [(f"UPDATE t {sql}", values)]


@pytest.mark.parametrize("style", STYLES)
def test_the_parameter_style_can_be_given(style: Any) -> None:
    connection = ScriptedDriver([1])
    Fence("t", "n", paramstyle=style).enforce(connection, Leader(5))
    assert connection.executed[0][0].endswith(STYLES[style][0])


def test_a_wrapped_connection_without_a_style_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"ScriptedDriver has no paramstyle: .*qmark, num"):
        FENCE.enforce(ScriptedDriver([]), Leader(5))


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"paramstyle: expected one of qmark, .*, got '%s'"
    ):
        Fence("t", "n", paramstyle="%s")  # type: ignore[arg-type] # wrong on purpose


class Proxy:
    """A connection as OpenTelemetry wraps it: says that it has the driver's class."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    @property
    def __class__(self) -> type:
        return type(self._wrapped)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


def test_an_instrumented_connection(sqlite: Sqlite) -> None:
    with session(sqlite) as connection, connection:
        FENCE.enforce(Proxy(connection), Leader(5))
    assert fences(sqlite) == [("reports", 5)]


def test_rows_that_are_dictionaries(psycopg_database: Psycopg) -> None:
    work(psycopg_database, Leader(7), "7")
    with (
        session(psycopg_database, row_factory=psycopg.rows.dict_row) as connection,
        pytest.raises(StaleLeaderError, match="5 is older than 7"),
    ):
        FENCE.enforce(connection, Leader(5))


@pytest.mark.parametrize(
    ("counts", "rows"),
    [
        ([-1, -1, -1, -1], [(5,)]),  # a driver that never reports
        ([0, -1, 0, -1], [(5,)]),  # MySQL without FOUND_ROWS, with the same fence again
        ([2, -1, 2, -1], [(5,)]),  # a table without its primary key
        ([0, -1, 0, 0, -1, 0], []),  # a row that a snapshot does not show
    ],
)
def test_a_count_that_is_not_1_is_never_success(counts: list[int], rows: list[Any]) -> None:
    with pytest.raises(ElectorError, match="expected one row for 'n' in t to match"):
        Fence("t", "n", paramstyle="qmark").enforce(ScriptedDriver(counts, rows), Leader(5))


def test_a_row_that_another_transaction_creates_meanwhile() -> None:
    connection = ScriptedDriver([0, -1, 0, 1])
    Fence("t", "n", paramstyle="qmark").enforce(connection, Leader(5))
    assert [sql.split()[0] for sql, _ in connection.executed] == [
        "UPDATE",
        "SELECT",
        "INSERT",
        "UPDATE",
    ]


def test_a_missing_table_is_the_drivers_error(sqlite: Sqlite) -> None:
    with session(sqlite) as connection, pytest.raises(sqlite3.OperationalError, match="no such"):
        Fence("missing", "n").enforce(connection, Leader(5))


def test_neither_django_nor_a_driver_is_imported() -> None:
    code = "import elector_thread.fencing, sys; print({'django', 'sqlite3'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# The page.


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.splitlines()[-1][:30])
def test_a_block_of_the_page_runs_unchanged(tmp_path: Path, block: str) -> None:
    setup = "from django.conf import settings; settings.configure()\n" if "django" in block else ""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", setup + block],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)
    assert done.stdout.splitlines()[-len(said) :] == said


def test_the_pages_table_is_the_one_that_is_created(sqlite: Sqlite) -> None:
    (statement,) = (sql for sql in blocks("sql") if sql.startswith("CREATE TABLE"))
    with session(sqlite) as connection:
        tables = "SELECT sql FROM sqlite_master WHERE name = 'elector_fence'"
        ((created,),) = connection.execute(tables)
        connection.execute("DROP TABLE elector_fence")
        connection.execute(statement)
        ((on_the_page,),) = connection.execute(tables)
    assert "".join(on_the_page.split()) == "".join(created.split())


def test_the_pages_migration(database: Database) -> None:
    if not isinstance(database, Django):
        return
    (block,) = (block for block in blocks("python") if "class Migration" in block)
    found: dict[str, Any] = {}
    exec(block, found)
    (operation,) = found["Migration"].operations
    assert isinstance(operation, migrations.RunSQL)
    with session(database) as connection:
        database.execute(connection, "DROP TABLE elector_fence")
        with connection.schema_editor() as editor:
            operation.database_forwards("reports", editor, None, None)
        with database.transaction(connection):
            FENCE.enforce(connection, Leader(5))
        with connection.schema_editor() as editor:
            operation.database_backwards("reports", editor, None, None)


def test_the_pages_statements_for_other_drivers(psycopg_database: Psycopg) -> None:
    (statement,) = (sql for sql in blocks("sql") if sql.startswith("INSERT INTO"))
    upsert = re.sub(r":(\w+)", r"%(\1)s", statement)
    with session(psycopg_database) as connection:
        counts = [
            connection.execute(upsert, {"name": "reports", "fence": fence}).rowcount
            for fence in (5, 5, 7, 5)
        ]
    assert counts == [1, 1, 1, 0]
