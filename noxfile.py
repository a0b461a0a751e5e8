"""The tests on every supported Python, and with the lowest versions that the metadata allows.

``make test-all`` runs this. A Python that is not installed is skipped and named in nox's summary.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
PROJECT = nox.project.load_toml("pyproject.toml")
PYTEST = ("python", "-m", "pytest", "-q", "-n", "5", "--dist", "loadfile")

nox.options.envdir = ".venv/nox"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"


def find_pyenv() -> None:
    """Put pyenv's Pythons first in PATH: its own commands only run those that are activated."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [str(folder) for folder in sorted(root.glob("versions/3.*/bin"))]
    os.environ["PATH"] = os.pathsep.join([*found, os.environ["PATH"]])


find_pyenv()


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the suite with the newest versions of everything."""
    session.install("-e", ".[cli]", *nox.project.dependency_groups(PROJECT, "test"))
    install_uwsgi(session, nox.project.dependency_groups(PROJECT, "uwsgi"))
    session.run(*PYTEST, *session.posargs)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Run the suite with the lowest versions of the dependencies and of the extras."""
    pins = lowest_versions()
    uwsgi = pins.pop("uwsgi")
    others = nox.project.dependency_groups(PROJECT, "test")
    tools = [requirement for requirement in others if name_of(requirement) not in pins]
    session.install("-e", ".[cli]", *pins.values(), *tools)
    install_uwsgi(session, [uwsgi])
    session.run(*PYTEST, *session.posargs)


def install_uwsgi(session: nox.Session, requirement: tuple[str, ...] | list[str]) -> None:
    """Compile uWSGI. Without a C compiler this fails, and its tests are left out."""
    session.install(*requirement, silent=True, success_codes=[0, 1])


def name_of(requirement: str) -> str:
    """The package that a requirement names."""
    return re.split(r"[^\w-]", requirement, maxsplit=1)[0]


def lowest_versions() -> dict[str, str]:
    """Each dependency of the library and of its extras, pinned to its lower bound."""
    project = PROJECT["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    bounds = [re.match(r"([\w-]+)>=([\d.]+)", requirement) for one in lists for requirement in one]
    return {bound[1]: f"{bound[1]}=={bound[2]}" for bound in bounds if bound}
