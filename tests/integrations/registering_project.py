"""A Django project whose app registers callbacks everywhere, and commands that use the elector."""

from __future__ import annotations

from pathlib import Path

ADAPTER = "elector_thread.integrations.django"

FILES = {
    "manage.py": """
import sys

from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
""",
    "settings.py": """
import os
from pathlib import Path

SECRET_KEY = "only for this test"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "jobs.views"
WSGI_APPLICATION = "wsgi.application"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(__file__).parent / "db.sqlite3",
        "TEST": {"NAME": ":memory:"},
    }
}
INSTALLED_APPS = os.environ["INSTALLED_APPS"].split()
ELECTOR_THREAD = {"start_in": ["consume"]}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"elector_thread": {"level": "INFO", "handlers": ["console"]}},
}
""",
    "wsgi.py": """
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
""",
    "gunicorn_hooks.py": """
from elector_thread.integrations.gunicorn import post_worker_init, worker_exit
""",
    "jobs/__init__.py": "",
    "jobs/register.py": """
import threading

from django.db import connections

from elector_thread import on_elected, while_leader

used = []  # the database connections of callbacks and leader tasks
called = threading.Semaphore(0)


def register(where):
    @on_elected
    def elected():
        use_database(f"on_elected of {where} runs")

    @while_leader
    def work(leadership):
        use_database(f"while_leader of {where} runs")


def use_database(said):
    connection = connections["default"]
    connection.ensure_connection()
    used.append(connection)
    print(said + "\\n", end="", flush=True)
    called.release()
""",
    "jobs/apps.py": """
from django.apps import AppConfig

from .register import register

register("the module of apps")


class JobsConfig(AppConfig):
    name = "jobs"

    def ready(self):
        register("ready")
""",
    "jobs/models.py": """
from .register import register

register("models")
""",
    "jobs/views.py": """
import os

from django.http import JsonResponse
from django.urls import path

from elector_thread import default_elector

from .register import register, used

register("views")


def index(_):
    elector = default_elector()
    closed = sum(connection.connection is None for connection in list(used))
    return JsonResponse(
        {
            "leader": elector.leader,
            "is_leader": elector.is_leader,
            "pid": os.getpid(),
            "closed": closed,
        }
    )


urlpatterns = [path("", index)]
""",
    "jobs/tests.py": """
from django.test import SimpleTestCase


class Test(SimpleTestCase):
    def test_nothing(self):
        pass
""",
    "jobs/management/__init__.py": "",
    "jobs/management/commands/__init__.py": "",
    "jobs/management/commands/guarded.py": """
from django.core.management.base import BaseCommand

from elector_thread import default_elector, only_on_leader


class Command(BaseCommand):
    def handle(self, **_):
        print("the guard:", only_on_leader(lambda: "ran")())
        assert default_elector().stop(None)  # after whatever it would announce
""",
    "jobs/management/commands/starts.py": """
from django.core.management.base import BaseCommand

from elector_thread import default_elector

from ...register import called


class Command(BaseCommand):
    def handle(self, **_):
        default_elector().start()
        for _ in range(8):
            assert called.acquire(timeout=10)
""",
    "jobs/management/commands/consume.py": """
from django.core.management.base import BaseCommand

from ...register import called


class Command(BaseCommand):
    def handle(self, **_):
        for _ in range(8):
            assert called.acquire(timeout=10)
""",
}

EVERYWHERE = [
    f"{kind} of {where} runs"
    for where in ("the module of apps", "ready", "models", "views")
    for kind in ("on_elected", "while_leader")
]
"""What the app prints where callbacks are called."""


def make_project(folder: Path) -> Path:
    """Write the project."""
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder
