"""What the package must reach, as data: each target takes its figure from the result of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from bench.compare.length import own
from bench.figures import BASE, ratio
from bench.report import Table

Data = dict[str, Any]
"""The result of a run: `data` of each workload by its name."""

DURABLE_PEERS: Final = ("langgraph_sync", "dbos_sqlite", "power_loop_020_full")
PEERS: Final = ("langgraph", "langgraph_sync", "agents_sdk", "dbos_sqlite", "pydantic_ai", "power_loop_020")


@dataclass(frozen=True, slots=True)
class Target:
    title: str
    sign: str
    """">=" or "<="."""
    wanted: float
    measured: Callable[[Data], float | None]
    """None if the run has not measured it; so does a KeyError."""

    def value(self, data: Data) -> float | None:
        try:
            return self.measured(data)
        except KeyError:
            return None

    def met(self, data: Data) -> bool | None:
        value = self.value(data)
        if value is None:
            return None
        return value >= self.wanted if self.sign == ">=" else value <= self.wanted


def _faster_session(where: str, *names: str) -> Callable[[Data], float | None]:
    """Our turns a second in one session, over those of the fastest of the named."""

    def measured(data: Data) -> float | None:
        if data["turns"]["turns"] != 300:
            return None  # a smoke test
        found = data["turns"][where]
        return _least(ratio(found[name]["seconds"], found[BASE]["seconds"]) for name in names if name in found)

    return measured


def _faster_at_once(where: str, count: int, *names: str) -> Callable[[Data], float | None]:
    def measured(data: Data) -> float | None:
        found = data["sessions"][where][str(count)]
        ours = found[BASE]["turns_a_second"]
        return _least(ratio(ours, found[name]["turns_a_second"]) for name in names if name in found)

    return measured


def _first_turn(name: str) -> Callable[[Data], float | None]:
    """How many times our first turn in a fresh process fits into that of another."""

    def measured(data: Data) -> float | None:
        if data["fresh"]["messages"] != 5_000:
            return None  # a smoke test
        found = data["fresh"]["over HTTP"]
        return ratio(found[name]["first"], found[BASE]["first"])

    return measured


def _longer(where: str) -> Callable[[Data], float | None]:
    def measured(data: Data) -> float | None:
        found = data["length"][where][BASE]["at"]
        return ratio(own(found["10000"]), own(found["10"]))

    return measured


def _inverse(measured: Callable[[Data], float | None]) -> Callable[[Data], float | None]:
    def turned(data: Data) -> float | None:
        value = measured(data)
        return None if value is None else 1 / value

    return turned


def _flushes(count: int) -> Callable[[Data], float | None]:
    return lambda data: data["flushes"][BASE][str(count)]["flushes"]


def _scale(name: str, key: str) -> Callable[[Data], float | None]:
    return lambda data: data[name]["targets"][key]


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


TARGETS: Final = (
    Target(
        "one session, in process: turns/s, of the fastest equally durable peer's",
        ">=",
        3,
        _faster_session("in process", *DURABLE_PEERS),
    ),
    Target("... of raw sqlite3's with a commit a message", ">=", 0.6, _faster_session("in process", "sqlite_message")),
    Target("one session, over HTTP: turns/s, of the fastest peer's", ">=", 20, _faster_session("over HTTP", *PEERS)),
    Target("... of the bare openai client's (typed method)", ">=", 20, _faster_session("over HTTP", "openai_typed")),
    Target(
        "... time, of plain sockets' with group commit",
        "<=",
        2,
        _inverse(_faster_session("over HTTP", "sockets_group")),
    ),
    Target(
        "5,000 messages, new process, over HTTP: times faster than the typed method",
        ">=",
        20,
        _first_turn("openai_typed"),
    ),
    Target("... time, of plain sockets' with json.dumps", "<=", 2, _inverse(_first_turn("sockets"))),
    Target(
        "100 sessions, in process: turns/s, of the fastest equally durable peer's",
        ">=",
        8,
        _faster_at_once("in process", 100, *DURABLE_PEERS),
    ),
    Target("... of raw group commit's", ">=", 0.4, _faster_at_once("in process", 100, "sqlite_group")),
    Target(
        "100 sessions, over HTTP: turns/s, of the bare openai client's (typed method)",
        ">=",
        4,
        _faster_at_once("over HTTP", 100, "openai_typed"),
    ),
    Target("store and loop at message 10,000, of those at 10: in process", "<=", 1.1, _longer("in process")),
    Target("... over HTTP", "<=", 1.1, _longer("over HTTP")),
    Target(
        "store appends, 200 writers: of raw group commit's (inputs)", ">=", 0.5, _scale("appends", "append_ratio_200")
    ),
    Target("... (results)", ">=", 0.5, _scale("appends", "record_ratio_200")),
    Target("flushes a turn, one session", "<=", 4, _flushes(1)),
    Target("flushes a turn, 100 sessions", "<=", 0.2, _flushes(100)),
    Target("1,000,000 messages: first send, of an empty database's", "<=", 2, _scale("million", "first_send_ratio")),
    Target("... a list of 50 sessions, of the query's raw time", "<=", 2, _scale("million", "list_ratio")),
    Target("disk: bytes a byte of conversation", "<=", 1.6, _scale("disk", "disk_ratio")),
    Target("import power_loop, of pydantic's and sqlite3's", "<=", 1.5, _scale("imports", "import_ratio")),
    Target("... and StatefulAgentLoop from it, of pydantic's with a model", "<=", 1.5, _scale("imports", "use_ratio")),
    Target("resident KB an idle session beyond its messages", "<=", 50, _scale("memory", "idle_kb_beyond_messages")),
)


def table(data: Data) -> Table:
    """Every target that this run can tell of, and those it cannot."""
    rows = []
    for target in TARGETS:
        met = target.met(data)
        sign = "at least" if target.sign == ">=" else "at most"
        shown = "not measured" if met is None else "yes" if met else "no"
        rows.append([target.title, f"{sign} {target.wanted:g}", target.value(data), shown])
    return Table(title="Targets", head=["target", "wanted", "measured", "met"], rows=rows)


def figures(data: Data) -> list[dict[str, Any]]:
    """The same for the JSON file."""
    return [
        {"target": t.title, "sign": t.sign, "wanted": t.wanted, "measured": t.value(data), "met": t.met(data)}
        for t in TARGETS
    ]
