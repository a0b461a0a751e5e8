"""Runs replicas of a command on this machine as a deployment does: the work behind ``up``.

Knows processes, names and output. Knows the elector only as something that can be
told who leads (`Cluster`), and no command line.
"""

from .deployment import ENDING_SIGNALS, Deployment
from .guardian import Guardian
from .names import is_app_name, name_width
from .output import Output
from .plan import CommandFailed, Plan

__all__ = [
    "ENDING_SIGNALS",
    "CommandFailed",
    "Deployment",
    "Guardian",
    "Output",
    "Plan",
    "is_app_name",
    "name_width",
]
