"""Print what is observed of every server as a Markdown table: ``python -m tests.servers``."""

from __future__ import annotations

from .test_servers import run


def main() -> None:
    print("| server | processes that lead | streams | a switch is seen within | SIGTERM ends it |")
    print("|---|---|---|---|---|")
    for name, seen in run().items():
        switch = max(seen.switched.values()) * 1000
        cells = (
            len(seen.started),
            seen.streams,
            f"{switch:.0f} ms",
            f"in {seen.ended_within:.1f} s",
        )
        print("|", name, "|", " | ".join(map(str, cells)), "|")


if __name__ == "__main__":
    main()
