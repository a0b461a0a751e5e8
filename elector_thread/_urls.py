"""URLs that settings hold: checking them, and showing them without credentials. Pure."""

from __future__ import annotations

import re
import socket
from string import ascii_letters, digits
from urllib.parse import urlsplit

from .errors import ConfigurationError

__all__ = ["check_url", "is_loopback", "shown"]

_HOST_CHARACTERS = frozenset(ascii_letters + digits + "._-")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def shown(url: str) -> str:
    """A URL for people: scheme, host, port and path; never user, password or query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine."""
    return urlsplit(url).hostname in _LOOPBACK


def check_url(name: str, value: object) -> str:
    """A usable http(s) URL; its text is never shown, because it may hold credentials."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}: expected a URL, got {type(value).__name__}")
    wrong = _what_is_wrong_with(value)
    if wrong:
        raise ConfigurationError(f"{name}: expected a URL like http://localhost:4040/, but {wrong}")
    return value


def _what_is_wrong_with(url: str) -> str | None:
    if not url.isprintable() or " " in url or "\\" in url:
        return "it contains spaces, backslashes or control characters"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "its host or port cannot be read"
    if parts.scheme not in ("http", "https"):
        return "it does not begin with http:// or https://"
    if not host:
        return "it has no host"
    if not host.isascii():
        return "its host has characters beyond ASCII; write an international name as xn--…"
    if not _is_host(host, parts.netloc.rpartition("@")[2]):
        return "its host is neither a name nor an IP address"
    return "port 0 is invalid" if port == 0 else None


def _is_host(host: str, authority: str) -> bool:
    """Whether requests can send to it; it would refuse only much later, and show the URL."""
    if "[" in authority:
        return re.fullmatch(r"\[[^]]*\](:\d*)?", authority) is not None and _is_ipv6(host)
    try:
        name = host.encode("idna").decode()
    except UnicodeError:
        return False
    return name[:1] not in ("", ".") and _HOST_CHARACTERS.issuperset(name)


def _is_ipv6(host: str) -> bool:
    address, percent, zone = host.partition("%")
    if percent and re.fullmatch(r"[A-Za-z0-9._~-]+", zone) is None:
        return False
    try:
        socket.inet_pton(socket.AF_INET6, address)
    except OSError:
        return False
    return True
