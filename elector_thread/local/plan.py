"""What ``elector-thread up`` runs, and how its replicas are named: ``app-6d4c8f-x2k9p``."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Plan", "is_app_name", "name_width", "pod_name", "template_hash"]

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own: no vowels, so that no words appear; no 0, 1 and 3, which are easily misread."""

HASH_LENGTH = 6
SUFFIX_LENGTH = 5
MAX_APP_NAME = 50
"""Characters; a host name has at most 63."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    grace: seconds between SIGTERM and SIGKILL.
    rolling: seconds between two replacements; None for no replacements.
    """

    command: Sequence[str]
    app: str = "app"
    replicas: int = 3
    restart: bool = False
    rolling: float | None = None
    grace: float = 5.0


def is_app_name(text: str) -> bool:
    """Whether pods can be named after ``text``: lower-case letters, digits and inner dashes."""
    return len(text) <= MAX_APP_NAME and _LABEL.fullmatch(text) is not None


def template_hash(command: Sequence[str]) -> str:
    """The part of the name that all replicas of a command share."""
    digest = hashlib.sha256("\0".join(command).encode("utf-8", "surrogateescape")).digest()
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:HASH_LENGTH])


def pod_name(app: str, template: str) -> str:
    """A new name for a replica, with a random suffix."""
    suffix = "".join(secrets.choice(ALPHABET) for _ in range(SUFFIX_LENGTH))
    return f"{app}-{template}-{suffix}"


def name_width(app: str) -> int:
    """The number of characters in a replica's name."""
    return len(app) + 1 + HASH_LENGTH + 1 + SUFFIX_LENGTH
