"""elector-thread: run work on exactly one replica, and never be wrong about which.

A daemon thread listens to the platform's elector sidecar and checks it by
polling; `Elector` says who leads, calls back on changes and guards functions.
"""

import sys

from ._version import __version__
from .default import configure, default_elector, only_on_leader
from .elector import Elector
from .errors import ConfigurationError, ElectorError, ElectorUnavailableError, NotLeaderError
from .guard import SKIPPED
from .leadership import Leadership
from .model import LeaderChange, State, Status

__all__ = [
    "SKIPPED",
    "ConfigurationError",
    "Elector",
    "ElectorError",
    "ElectorUnavailableError",
    "LeaderChange",
    "Leadership",
    "NotLeaderError",
    "State",
    "Status",
    "__version__",
    "configure",
    "default_elector",
    "only_on_leader",
]

if hasattr(sys.modules.get("uwsgi"), "worker_id"):  # inside uWSGI, which forks past Python's hooks
    from .integrations import uwsgi as _uwsgi  # noqa: F401 - its import is all it takes
