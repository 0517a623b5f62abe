"""From the JSON object a model wrote to the keyword arguments a function gets: three ways, one for each kind of tool.

Types are taken as written: `5` for an int, text for a date. What is written differently is taken only where it can mean
one thing: `5.0` and `"5"` for an int, `"1.5"` for a float, `"true"` for a bool, ISO text for dates and times. Refused
although pydantic alone would take them: `true` for a number, `1` or `"yes"` for a bool, a number for a date or a
duration, and NaN. For that, a validator of the app may be asked twice about one call; no tool runs twice. A `Decimal`
is exact when written as text; as a number it has the digits of a float. Objects inside arguments follow their own
model's config: pydantic drops names it does not know, unless that says `extra="forbid"`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import pydantic_core
from pydantic import AliasChoices, AliasPath, BaseModel, ValidationError
from pydantic_core import ErrorDetails

from power_loop.tools.arguments import Arguments, ArgumentsInvalid, kind, shown
from power_loop.tools.schema import Schema

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class Accepts(Protocol):
    """Checks one JSON object against a tool's schema.

    Raises `ArgumentsInvalid` with all that is wrong, and nothing else.
    """

    def __call__(self, tool: str, schema: Schema, given: dict[str, Any]) -> Arguments: ...


@dataclass(frozen=True, slots=True)
class ByParameters:
    """For a typed function: a model whose fields stand for its parameters, by their names."""

    model: type[BaseModel]
    parameters: Mapping[str, str]

    def __call__(self, tool: str, schema: Schema, given: dict[str, Any]) -> Arguments:
        made = _modelled(tool, schema, given, self.model)
        values = {parameter: getattr(made, field) for field, parameter in self.parameters.items()}
        return Arguments(values, values)


@dataclass(frozen=True, slots=True)
class ByModel:
    """For a function that takes all arguments as one instance of the app's own model."""

    model: type[BaseModel]
    parameter: str

    def __call__(self, tool: str, schema: Schema, given: dict[str, Any]) -> Arguments:
        made = _modelled(tool, schema, given, self.model)
        return Arguments(dict(made), {self.parameter: made})


@dataclass(frozen=True, slots=True)
class BySchema:
    """For a schema somebody else wrote: what is required, what is unknown, each top-level argument's type, enum, const.

    What lies deeper is for the function to refuse. Nothing is converted and no default filled in.
    """

    def __call__(self, tool: str, schema: Schema, given: dict[str, Any]) -> Arguments:
        problems = [*_unknown(schema, given, ()), *_missing(schema, given)]
        for name, value in given.items():
            problems += _mismatch(name, value, schema["properties"].get(name))
        if problems:
            raise ArgumentsInvalid(tool, problems, expected(schema))
        return Arguments(given, given)


def expected(schema: Schema) -> str:
    """The arguments of a tool in one line for the model."""
    required = schema["required"]
    names = [
        f"{name} ({_type(one, schema)}{', required' if name in required else ''})"
        for name, one in schema["properties"].items()
    ]
    return f"The arguments are: {', '.join(names)}." if names else "It takes no arguments."


def _modelled(tool: str, schema: Schema, given: dict[str, Any], model: type[BaseModel]) -> BaseModel:
    problems = list(_unknown(schema, given, tuple(_further_names(model))))
    made: BaseModel | None = None
    try:
        made, errors = _validated(model, pydantic_core.to_json(given))
        problems += map(_told, errors)
    except Exception as error:  # noqa: BLE001 - a validator of the app's may raise anything
        problems.append(f"checking them raised {type(error).__name__}: {error}")
    if made is None or problems:
        raise ArgumentsInvalid(tool, problems, expected(schema))
    return made


def _validated(model: type[BaseModel], text: bytes) -> tuple[BaseModel | None, list[ErrorDetails]]:
    try:
        return model.model_validate_json(text, strict=True), []
    except ValidationError as error:
        guesses = [one for one in error.errors(include_url=False) if _ambiguous(one["type"], one["input"])]
    try:
        return model.model_validate_json(text), guesses
    except ValidationError as error:
        errors = error.errors(include_url=False)
        known = {one["loc"] for one in errors}
        return None, [*errors, *(one for one in guesses if one["loc"] not in known)]


def _ambiguous(error: str, value: object) -> bool:
    """Whether pydantic's reading of a value that is not of the type is a guess."""
    match error:
        case "int_type" | "float_type" if isinstance(value, bool):
            return True
        case "int_type" if isinstance(value, str):
            return _INTEGER.fullmatch(value) is None
        case "float_type" if isinstance(value, str):
            return _NUMBER.fullmatch(value) is None or not math.isfinite(float(value))
        case "bool_type":
            return not isinstance(value, str) or value.lower() not in ("true", "false")
        case "datetime_type" | "date_type" | "time_type" | "time_delta_type":
            return not isinstance(value, str)
    return False


def _told(error: ErrorDetails) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).removeprefix(".")
    if error["type"] == "missing":
        return f"{where}: required, but missing"
    value = error["input"]
    got = kind(value) if value is None or isinstance(value, dict | list) else f"{kind(value)} {shown(value)}"
    return f"{where or 'all together'}: {error['msg']}; got {got}"


def _further_names(model: type[BaseModel]) -> Iterator[str]:
    """Names by which the model takes a field, beyond the one in its schema."""
    by_name = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
    for name, field in model.model_fields.items():
        if by_name:
            yield name
        alias = field.validation_alias
        for one in alias.choices if isinstance(alias, AliasChoices) else [alias]:
            yield str(one.path[0] if isinstance(one, AliasPath) else one)


def _unknown(schema: Schema, given: Mapping[str, Any], further: tuple[str, ...]) -> Iterator[str]:
    if schema["additionalProperties"] is False and "patternProperties" not in schema:
        for name in given:
            if name not in schema["properties"] and name not in further:
                yield f"{shown(name)}: there is no such argument"


def _missing(schema: Schema, given: Mapping[str, Any]) -> Iterator[str]:
    return (f"{name}: required, but missing" for name in schema["required"] if name not in given)


_IS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def _mismatch(name: str, value: object, schema: object) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    stated = schema.get("type")
    types = [stated] if isinstance(stated, str) else stated if isinstance(stated, list) else []
    if types and not any(_IS.get(one, lambda _: True)(value) for one in types):
        yield f"{name}: expected {' or '.join(types)}; got {kind(value)} {shown(value)}"
    elif "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        yield f"{name}: expected one of {shown(schema['enum'])}; got {shown(value)}"
    elif "const" in schema and not _same(value, schema["const"]):
        yield f"{name}: expected {shown(schema['const'])}; got {shown(value)}"


def _same(one: object, other: object) -> bool:
    """Equal as JSON: True is not 1."""
    return one == other and kind(one) == kind(other)


def _type(schema: object, top: Schema) -> str:
    if not isinstance(schema, dict):
        return "any"
    meant: Schema = schema
    if isinstance(schema.get("$ref"), str):
        meant = top.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {"type": "object"})
    if "enum" in meant:
        return f"one of {shown(meant['enum'])}"
    if "const" in meant:
        return shown(meant["const"])
    if isinstance(meant.get("anyOf"), list):
        return " or ".join(dict.fromkeys(_type(one, top) for one in meant["anyOf"]))
    stated = meant.get("type", "any")
    return " or ".join(map(str, stated)) if isinstance(stated, list) else str(stated)
