"""The JSON of `--json`: the fields of the library's values, by their names, so that both are learned once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from power_loop.stateful_loop import SessionUsage, StatefulResult
from power_loop.store.records import SessionInfo, StoredMessage
from power_loop.values import CallKey


def shape(value: object) -> Any:
    """The value as JSON values: times as ISO 8601 in UTC, a message as the API writes it."""
    match value:
        case Enum():
            return value.value
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case CallKey():
            return {"seq": value.seq, "ordinal": value.ordinal}
        case StoredMessage():
            return _fields(value, but=("body", "provider")) | {
                "message": None if value.state == "damaged" else value.as_dict()
            }
        case SessionInfo():
            return _fields(value) | {"needs_attention": value.needs_attention, "context_left": value.context_left}
        case SessionUsage():
            return {
                "calls": shape(value.calls),
                "prompt_tokens": value.prompt_tokens,
                "completion_tokens": value.completion_tokens,
                "cost": value.cost,
            }
        case StatefulResult():
            return _fields(value)
        case Mapping():
            return {str(key): shape(entry) for key, entry in value.items()}
        case list() | tuple():
            return [shape(entry) for entry in value]
    if is_dataclass(value):
        return _fields(value)
    return value


def _fields(value: Any, but: tuple[str, ...] = ()) -> dict[str, Any]:
    return {field.name: shape(getattr(value, field.name)) for field in fields(value) if field.name not in but}
