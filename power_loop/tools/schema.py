"""JSON schemas as the API takes them for a tool's parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from power_loop.errors import ToolDefinitionError
from power_loop.values import compact_json

Schema = dict[str, Any]

_BY_NAME: Final = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_LISTED: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE: Final = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_NOT_AT_THE_TOP: Final = ("oneOf", "anyOf", "allOf", "enum", "not")


class _Quiet(GenerateJsonSchema):
    """A default that has no JSON form stands in no schema; that is no reason to warn."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as the base class has it


def of_model(model: type[BaseModel]) -> Schema:
    """The schema of a model's input. Raises what pydantic raises for a type that has none."""
    schema = _walked(model.model_json_schema(by_alias=True, schema_generator=_Quiet), _tidied)
    # A recursive model's schema is a bare reference, and the API wants the object itself at the top.
    if "$ref" in schema:
        schema = {**schema["$defs"][schema["$ref"].rpartition("/")[2]], "$defs": schema["$defs"]}
    schema.pop("description", None)
    return schema


def of_text(tool: str, schema: Mapping[str, Any]) -> Schema:
    """A copy of a schema somebody else wrote. Raises `ToolDefinitionError` if it has no JSON form."""
    try:
        copy = json.loads(json.dumps(dict(schema), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolDefinitionError(tool, f"its schema is no JSON object ({error})", "give a JSON schema") from None
    return _walked(copy, _with_items)


def at_top(tool: str, schema: Schema) -> Schema:
    """The schema in the form every endpoint takes: an object with properties, required, additionalProperties.

    Raises:
        ToolDefinitionError: it is not an object's schema, or has at its top what the API refuses there.
    """
    way_out = "describe the arguments as one object with properties"
    if schema.get("type", "object") != "object":
        raise ToolDefinitionError(tool, f"its schema is of type {schema['type']!r}, not 'object'", way_out)
    refused = [word for word in _NOT_AT_THE_TOP if word in schema]
    if refused:
        raise ToolDefinitionError(tool, f"its schema has {refused[0]!r} at the top, which the API refuses", way_out)
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        raise ToolDefinitionError(tool, "'properties' is no object or 'required' no list", way_out)
    top = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": schema.get("additionalProperties", "patternProperties" in schema),
    }
    return {**top, **{word: value for word, value in schema.items() if word not in top}}


def shape(schema: Schema) -> Schema:
    """The schema without the words that only explain it."""
    return _walked(schema, _unexplained)


def _walked(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """Every schema in it changed, and nothing that only looks like one: a parameter named title, a default."""

    def inside(value: Any) -> Any:
        return _walked(value, change) if isinstance(value, dict) else value

    walked: Schema = {}
    for word, value in schema.items():
        if word in _BY_NAME and isinstance(value, dict):
            walked[word] = {name: inside(one) for name, one in value.items()}
        elif word in _LISTED and isinstance(value, list):
            walked[word] = [inside(one) for one in value]
        else:
            walked[word] = inside(value) if word in _SINGLE else value
    return change(walked)


def _tidied(schema: Schema) -> Schema:
    tidy = {word: value for word, value in schema.items() if word not in ("title", "discriminator")}
    if "properties" in tidy:
        tidy.setdefault("additionalProperties", False)
    if tidy.get("uniqueItems") and isinstance(tidy.get("default"), list):
        tidy["default"] = sorted(tidy["default"], key=compact_json)  # a set has another order in every process
    return _with_items(tidy)


def _with_items(schema: Schema) -> Schema:
    """OpenAI refuses an array without `items`, which is how pydantic writes a tuple."""
    if schema.get("type") != "array" or "items" in schema:
        return schema
    kinds: list[Any] = []
    for one in schema.get("prefixItems", []):
        if one not in kinds:
            kinds.append(one)
    return {**schema, "items": {"anyOf": kinds} if len(kinds) > 1 else kinds[0] if kinds else {}}


def _unexplained(schema: Schema) -> Schema:
    return {
        word: value for word, value in schema.items() if word not in ("title", "description", "examples", "$comment")
    }
