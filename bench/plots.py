"""The plots of docs/performance.md. Needs matplotlib (`pip install -e ".[bench]"`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.peers import ORDER

OURS: Final = "#0b6e4f"
DURABLE: Final = "#6aa9d8"
OTHERS: Final = "#c4c4c4"
KEYS: Final = ((OURS, "power-loop"), (DURABLE, "equally durable"), (OTHERS, "less durable, or nothing stored"))
LEFT_OUT: Final = ("ours_normal", "ours_null", "power_loop_020_full")
"""Variants that would only crowd the plots; the tables have them."""
Data = dict[str, Any]


def draw(data: Data, folder: Path) -> list[Path]:
    """Draw what the data allows; the files written."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    plt.rcParams |= {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "bench",
        "figure.dpi": 110,
    }
    folder.mkdir(exist_ok=True)
    drawn = []
    for name, plot, needed in (
        ("turns", _bars, "turns"),
        ("length", _lines, "turns"),
        ("sessions", _at_once, "sessions"),
    ):
        if needed in data:
            figure = plot(plt, data)
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=110, metadata={"Software": None})
            plt.close(figure)
            drawn.append(path)
    return drawn


def _colour(name: str, figures: Data) -> str:
    return OURS if name == "ours" else DURABLE if figures["equally_durable"] else OTHERS


def _legend(axes: Any, where: str) -> None:
    from matplotlib.patches import Patch

    axes.legend(handles=[Patch(color=colour, label=label) for colour, label in KEYS], loc=where, frameon=False)


def _shown(found: Data) -> list[str]:
    return [name for name in ORDER if name in found and name not in LEFT_OUT]


def _bars(plt: Any, data: Data) -> Any:
    """Turns a second of one session."""
    figure, both = plt.subplots(1, 2, figsize=(10.2, 4.4), layout="constrained")
    for axes, where in zip(both, ("in process", "over HTTP"), strict=True):
        found = data["turns"][where]
        names = sorted(
            (name for name in _shown(found) if found[name]["turns_a_second"] < 5_000),
            key=lambda name: found[name]["turns_a_second"],
        )
        speeds = [found[name]["turns_a_second"] for name in names]
        axes.barh(
            [found[name]["title"] for name in names], speeds, color=[_colour(name, found[name]) for name in names]
        )
        axes.bar_label(
            axes.containers[0], [f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}" for speed in speeds], padding=3
        )
        axes.set_title(f"model {where}", loc="left")
        axes.set_xlabel("turns a second")
        axes.margins(x=0.14)
    _legend(both[1], "lower right")
    figure.suptitle(f"One session of {data['turns']['turns']} turns", x=0.01, ha="left", weight="bold")
    return figure


def _lines(plt: Any, data: Data) -> Any:
    """Time of a turn against the number of messages before it, over HTTP."""
    figure, axes = plt.subplots(figsize=(8, 4.4), layout="constrained")
    found = data["turns"]["over HTTP"]
    ends = []
    for name in _shown(found):
        each = found[name]["each"]
        middle = [1000 * median(turn) for turn in zip(*each, strict=True)]
        smooth = [median(middle[max(0, n - 7) : n + 8]) for n in range(len(middle))]
        axes.plot(
            [5 * (n + 1) for n in range(len(smooth))],
            smooth,
            color=_colour(name, found[name]),
            linewidth=2.4 if name == "ours" else 1.4,
            zorder=3 if name == "ours" else 2,
        )
        ends.append((smooth[-1], found[name]["title"], _colour(name, found[name])))
    axes.set_yscale("log")
    axes.set_xlabel("messages in the session")
    axes.set_ylabel("milliseconds a turn")
    _labels(axes, ends, 5 * data["turns"]["turns"])
    axes.set_title("A turn over HTTP as the session grows", loc="left", weight="bold")
    _legend(axes, "upper left")
    return figure


def _labels(axes: Any, ends: Sequence[tuple[float, str, str]], at: int) -> None:
    """Name each line at its right end, far enough apart to be read."""
    low, high = axes.get_ylim()
    gap = (high / low) ** (1 / 22)
    last = 0.0
    for value, title, colour in sorted(ends):
        last = max(value, last * gap)
        dark = "#777777" if colour == OTHERS else colour
        axes.annotate(title, (at, last), xytext=(6, 0), textcoords="offset points", va="center", color=dark, fontsize=8)
    axes.set_ylim(low, max(high, last * gap))


def _at_once(plt: Any, data: Data) -> Any:
    """Turns a second of all sessions together."""
    figure, both = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
    for axes, where in zip(both, ("in process", "over HTTP"), strict=True):
        found = data["sessions"][where]
        counts = list(found)
        ends = []
        for name in [name for name in ORDER if name not in LEFT_OUT and name in found[counts[0]]]:
            points = [
                (int(count), median(found[count][name]["turns_a_second"])) for count in counts if name in found[count]
            ]
            colour = _colour(name, found[counts[0]][name])
            axes.plot(
                *zip(*points, strict=True),
                color=colour,
                marker="o",
                markersize=4,
                linewidth=2.4 if name == "ours" else 1.4,
            )
            ends.append((points[-1][1], found[counts[0]][name]["title"], colour))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks([int(count) for count in counts], counts)
        axes.minorticks_off()
        axes.set_xlabel("sessions at once")
        axes.set_title(f"model {where}", loc="left")
        _labels(axes, ends, int(counts[-1]))
    both[0].set_ylabel("turns a second, all together")
    _legend(both[1], "upper left")
    return figure


__all__ = ["draw"]
