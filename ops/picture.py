# /// script
# requires-python = ">=3.11"
# dependencies = ["matplotlib>=3.8"]
# ///
"""Draw dashboard.json with the samples of a rehearsal, as Grafana would lay it out.

    python ops/rehearse.py --seconds 120 --save samples.json
    python ops/picture.py samples.json docs/images

Writes dashboard-light.png and dashboard-dark.png. It is a drawing of the same queries and the same
layout by matplotlib, not a picture of Grafana.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
COLUMNS = 24  # of Grafana's grid
UNIT = (0.62, 0.43)  # inches of one cell of the grid
THEMES = {
    "light": {"page": "#f4f5f5", "panel": "#ffffff", "text": "#24292e", "grid": "#d9dadb"},
    "dark": {"page": "#111217", "panel": "#181b1f", "text": "#d5d6dc", "grid": "#34373d"},
}
LINES = ["#3d71d9", "#e0752d", "#2f9e5b", "#a352cc", "#c4162a", "#0f8fa8", "#b58900", "#7f7f7f"]
NAMED = {"green": "#2f9e5b", "blue": "#3d71d9", "orange": "#e0752d", "red": "#d64550"}
UNITS = {"s": "s", "reqps": "requests/s", "cps": "calls/s"}


class Picture:
    """The dashboard in one theme."""

    def __init__(self, samples: list[dict[str, Any]], theme: dict[str, str]) -> None:
        self.dashboard = json.loads((HERE / "dashboard.json").read_text(encoding="utf-8"))
        self.samples = samples
        self.theme = theme
        self.since = min(x for one in samples for line in one["series"] for x, _ in points(line))
        rows = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in self.dashboard["panels"])
        self.size = (COLUMNS * UNIT[0], rows * UNIT[1])
        self.figure = plt.figure(figsize=self.size, facecolor=theme["page"])

    def draw(self, path: Path) -> None:
        """Draw every panel, and write the picture."""
        drawers = {"stat": self._stat, "state-timeline": self._timeline, "timeseries": self._series}
        for panel in self.dashboard["panels"]:
            found = [one for one in self.samples if one["panel"] == panel["id"]]
            drawers[panel["type"]](panel, found)
        self.figure.savefig(path, dpi=100, facecolor=self.theme["page"])
        plt.close(self.figure)

    def _box(self, panel: dict[str, Any], inner: tuple[float, float, float, float]) -> Any:
        """The axes of a panel on its background, ``inner`` inches from its four edges."""
        place = panel["gridPos"]
        width, height = self.size
        x, w = place["x"] * UNIT[0] + 0.06, place["w"] * UNIT[0] - 0.12
        h = place["h"] * UNIT[1] - 0.12
        y = height - place["y"] * UNIT[1] - h - 0.06
        back = self.figure.add_axes((x / width, y / height, w / width, h / height))
        back.set(xticks=[], yticks=[], facecolor=self.theme["panel"])
        back.spines[:].set_color(self.theme["grid"])
        title = {"va": "top", "weight": "bold", "color": self.theme["text"], "fontsize": 9.5}
        back.text(0.12 / w, 1 - 0.1 / h, panel["title"], **title)
        left, top, right, bottom = inner
        axes = self.figure.add_axes(
            (
                (x + left) / width,
                (y + bottom) / height,
                (w - left - right) / width,
                (h - top - bottom) / height,
            ),
            facecolor="none",
        )
        axes.spines[:].set_visible(False)
        axes.tick_params(colors=self.theme["text"], length=0, labelsize=8, pad=5)
        return axes

    def _stat(self, panel: dict[str, Any], found: list[dict[str, Any]]) -> None:
        axes = self._box(panel, (0.1, 0.4, 0.1, 0.1))
        axes.set(xticks=[], yticks=[])
        defaults = panel["fieldConfig"]["defaults"]
        (one,) = found
        value = float(one["series"][0]["value"][1])
        if panel["options"]["textMode"] == "name":
            text = ", ".join(labelled(one["legend"], line) for line in one["series"])
        elif defaults["unit"] == "percentunit":
            text = f"{value:.1%}"
        else:
            text = f"{value:.0f}{' s' if defaults['unit'] == 's' else ''}"
        color = NAMED[reached(defaults, value)]
        axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=17, weight="bold", color=color)

    def _timeline(self, panel: dict[str, Any], found: list[dict[str, Any]]) -> None:
        axes = self._box(panel, (1.9, 0.45, 0.2, 0.75))
        names = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
        lines = [(labelled(one["legend"], line), line) for one in found for line in one["series"]]
        lines.sort(key=lambda pair: points(pair[1])[0][0], reverse=True)
        for row, (_, line) in enumerate(lines):
            for x, y in points(line):
                color = NAMED[names[f"{y:.0f}"]["color"]]
                axes.broken_barh([(x - self.since, 1.03)], (row - 0.4, 0.8), color=color, lw=0)
        axes.set_yticks(range(len(lines)), [label for label, _ in lines])
        self._finish(axes)
        for shown in names.values():
            axes.plot([], [], "s", color=NAMED[shown["color"]], label=shown["text"])
        self._legend(axes, 3)

    def _series(self, panel: dict[str, Any], found: list[dict[str, Any]]) -> None:
        axes = self._box(panel, (0.6, 0.5, 0.2, 0.85))
        defaults = panel["fieldConfig"]["defaults"]
        bars = defaults["custom"]["drawStyle"] == "bars"
        lines = [(labelled(one["legend"], line), line) for one in found for line in one["series"]]
        base: dict[float, float] = {}
        for (label, line), color in zip(
            sorted(lines, key=lambda pair: pair[0]), LINES, strict=False
        ):
            if bars:
                for x, y in points(line):
                    axes.bar(x - self.since, y, 1.0, base.get(x, 0.0), color=color, lw=0)
                    base[x] = base.get(x, 0.0) + y
                axes.plot([], [], "s", color=color, label=label)
            else:
                xs, ys = with_gaps(points(line), self.since)
                axes.plot(xs, ys, color=color, lw=1.5, label=label)
        if defaults["custom"].get("thresholdsStyle"):
            limit = defaults["thresholds"]["steps"][-1]["value"]
            if limit < 1.5 * axes.get_ylim()[1]:  # else it is not in sight, as in Grafana
                axes.axhline(limit, color=NAMED["red"], lw=1, ls="--")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=self.theme["grid"], lw=0.7)
        axes.set_axisbelow(True)
        axes.set_title(
            UNITS.get(defaults["unit"], ""), loc="left", fontsize=8, color=self.theme["text"], pad=2
        )
        self._finish(axes)
        self._legend(axes, 4)

    def _finish(self, axes: Any) -> None:
        end = max(x for one in self.samples for line in one["series"] for x, _ in points(line))
        axes.set_xlim(0, end - self.since)
        ticks = range(0, int(end - self.since) + 1, 20)
        axes.set_xticks(list(ticks), [f"{tick // 60}:{tick % 60:02}" for tick in ticks])

    def _legend(self, axes: Any, columns: int) -> None:
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=columns, frameon=False,
            fontsize=8, labelcolor=self.theme["text"], handlelength=1, columnspacing=1.2,
        )  # fmt: skip


def points(line: dict[str, Any]) -> list[tuple[float, float]]:
    """The samples of a series."""
    return [(float(x), float(y)) for x, y in line.get("values") or [line["value"]]]


def with_gaps(line: list[tuple[float, float]], since: float) -> tuple[list[float], list[float]]:
    """The coordinates, interrupted where samples are missing."""
    xs: list[float] = []
    ys: list[float] = []
    for x, y in line:
        if xs and x - since - xs[-1] > 1.5:
            xs.append(x - since)
            ys.append(float("nan"))
        xs.append(x - since)
        ys.append(y)
    return xs, ys


def labelled(legend: str, line: dict[str, Any]) -> str:
    """The legend, with the values of its labels."""
    return re.sub(r"\{\{(\w+)\}\}", lambda name: line["metric"].get(name[1], ""), legend)


def reached(defaults: dict[str, Any], value: float) -> str:
    """The colour of the highest threshold that the value has reached."""
    steps = defaults["thresholds"]["steps"]
    return str([s["color"] for s in steps if s["value"] is None or value >= s["value"]][-1])


def main() -> None:
    """Draw both pictures."""
    samples = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for name, theme in THEMES.items():
        Picture(samples, theme).draw(Path(sys.argv[2]) / f"dashboard-{name}.png")


if __name__ == "__main__":
    main()
