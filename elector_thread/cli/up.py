"""Placeholder; replaced when the local elector's commands are merged."""

from __future__ import annotations

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @app.command()
    def up() -> None:
        """Not built yet."""
        raise typer.BadParameter("not built yet.")
