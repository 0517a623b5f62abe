"""The plots of docs/performance.md. Needs matplotlib (`pip install -e ".[bench]"`)."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.peers import ORDER

OURS: Final = "#0b6e4f"
DURABLE: Final = "#6aa9d8"
OTHERS: Final = "#c4c4c4"
KEYS: Final = ((OURS, "power-loop"), (DURABLE, "equally durable"), (OTHERS, "less durable, or nothing stored"))
OFF_THE_CHART: Final = 5_000
"""Turns a second beyond which a bar is told of in words: it would flatten all others."""
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


def _legend(figure: Any) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=label) for colour, label in KEYS]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(KEYS), frameon=False)


def _shown(found: Data) -> list[str]:
    return [name for name in ORDER if name in found and name not in LEFT_OUT]


def _bars(plt: Any, data: Data) -> Any:
    """Turns a second of one session."""
    figure, both = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    for axes, where in zip(both, ("in process", "over HTTP"), strict=True):
        found = data["turns"][where]
        speed = {name: found[name]["turns_a_second"] for name in _shown(found)}
        off = [name for name in speed if speed[name] > OFF_THE_CHART]
        names = sorted((name for name in speed if name not in off), key=lambda name: speed[name])
        titles = [found[name]["title"] for name in names]
        bars = axes.barh(titles, [speed[name] for name in names], color=[_colour(name, found[name]) for name in names])
        labels = [f"{speed[name]:,.0f}" if speed[name] >= 10 else f"{speed[name]:.1f}" for name in names]
        axes.bar_label(bars, labels, padding=3)
        axes.set_title(f"model {where}", loc="left")
        beyond = "".join(f"; off the chart: {found[name]['title']}, {speed[name]:,.0f}" for name in off)
        axes.set_xlabel(f"turns a second{beyond}")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.margins(x=0.14)
    _legend(figure)
    figure.suptitle(f"One session of {data['turns']['turns']} turns", x=0.01, ha="left", weight="bold")
    return figure


def _lines(plt: Any, data: Data) -> Any:
    """Time of a turn against the number of messages before it, over HTTP."""
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    found = data["turns"]["over HTTP"]
    ends = []
    for name in _shown(found):
        middle = [1000 * median(turn) for turn in zip(*found[name]["each"], strict=True)]
        smooth = [median(middle[max(0, n - 7) : n + 8]) for n in range(len(middle))]
        _line(axes, name, found[name], [5 * (n + 1) for n in range(len(smooth))], smooth)
        ends.append((smooth[-1], found[name]["title"], _colour(name, found[name])))
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("messages in the session")
    axes.set_ylabel("milliseconds a turn")
    _labels(axes, ends, 5 * data["turns"]["turns"])
    axes.set_title("A turn over HTTP as the session grows", loc="left", weight="bold")
    _legend(figure)
    return figure


def _line(axes: Any, name: str, figures: Data, x: Sequence[float], y: Sequence[float], **more: Any) -> None:
    ours = name == "ours"
    axes.plot(x, y, color=_colour(name, figures), linewidth=2.4 if ours else 1.4, zorder=3 if ours else 2, **more)


def _labels(axes: Any, ends: Sequence[tuple[float, str, str]], at: int) -> None:
    """Name each line at its right end, far enough apart to be read."""
    low, high = map(log10, axes.get_ylim())
    gap = (high - low) / 23
    ends = sorted(ends)
    places = [log10(value) for value, _, _ in ends]
    for _ in range(500):  # who are too near push each other away
        for lower in range(len(places) - 1):
            more = (gap - (places[lower + 1] - places[lower])) / 2
            if more > 0:
                places[lower] -= more
                places[lower + 1] += more
    for place, (_, title, colour) in zip(places, ends, strict=True):
        dark = "#777777" if colour == OTHERS else colour
        offset = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
        axes.annotate(title, (at, 10**place), color=dark, **offset)
    axes.set_ylim(10 ** min(low, *places), 10 ** max(high, *places))


def _at_once(plt: Any, data: Data) -> Any:
    """Turns a second of all sessions together."""
    figure, both = plt.subplots(1, 2, figsize=(10, 4.8), layout="constrained", sharey=True)
    named = []
    for axes, where in zip(both, ("in process", "over HTTP"), strict=True):
        found = data["sessions"][where]
        counts = [count for count in found if len(found[count]) == len(found[next(iter(found))])]  # all ran these
        ends = []
        for name in _shown(found[counts[0]]):
            of = {int(count): median(found[count][name]["turns_a_second"]) for count in counts if name in found[count]}
            figures = found[counts[0]][name]
            _line(axes, name, figures, list(of), list(of.values()), marker="o", markersize=4)
            ends.append((list(of.values())[-1], figures["title"], _colour(name, figures)))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks([int(count) for count in counts], counts)
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.set_xlabel("sessions at once")
        axes.set_title(f"model {where}", loc="left")
        named.append((axes, ends, int(counts[-1])))
    for axes, ends, last in named:  # now that both have their range
        _labels(axes, ends, last)
    both[0].set_ylabel("turns a second, all together")
    _legend(figure)
    return figure
