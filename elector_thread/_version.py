"""The one place that holds the version; the build and the User-Agent read it here."""

__version__ = "0.1.0"
