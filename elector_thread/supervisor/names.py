"""Names as Kubernetes gives them to a deployment's pods: ``app-6d4c8f-x2k9p``."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence

__all__ = ["is_app_name", "name_width", "pod_name", "template_hash"]

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own: no vowels, so no words; no 0, 1, 3, so no misreading."""

HASH_LENGTH = 6
SUFFIX_LENGTH = 5
LONGEST_APP_NAME = 50  # a host name has 63 at most

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def is_app_name(text: str) -> bool:
    """Whether pods can be named after ``text``: lower-case letters, digits and inner dashes."""
    return len(text) <= LONGEST_APP_NAME and _LABEL.fullmatch(text) is not None


def template_hash(command: Sequence[str]) -> str:
    """The part that all replicas of one deployment share: the same command, the same hash."""
    digest = hashlib.sha256("\0".join(command).encode("utf-8", "surrogateescape")).digest()
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:HASH_LENGTH])


def pod_name(app: str, template: str) -> str:
    """A new name for a replica; never given twice, for all practical purposes."""
    suffix = "".join(secrets.choice(ALPHABET) for _ in range(SUFFIX_LENGTH))
    return f"{app}-{template}-{suffix}"


def name_width(app: str) -> int:
    """How many characters a replica's name has."""
    return len(app) + 1 + HASH_LENGTH + 1 + SUFFIX_LENGTH
