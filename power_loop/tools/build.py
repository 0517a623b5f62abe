"""The three origins of a tool's schema: a typed function, a pydantic model, a JSON schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticErrorMixin
from pydantic.fields import FieldInfo

from power_loop.errors import ToolDefinitionError
from power_loop.tools import schema as schemas
from power_loop.tools.signature import REQUIRED, Parameter, Signature, signature_of
from power_loop.tools.validate import Accepts, ByModel, ByParameters, BySchema
from power_loop.values import compact_json


@dataclass(frozen=True, slots=True)
class Plan:
    """How a function becomes a tool."""

    schema: str
    accepts: Accepts
    signature: Signature


def by_parameters(tool: str, function: Callable[..., Any], words: Mapping[str, str]) -> Plan:
    """From the annotations; `words` describe parameters that do not describe themselves."""
    signature = signature_of(tool, function)
    for one in signature.parameters:
        if one.problem is not None:
            raise ToolDefinitionError(tool, f"parameter {one.name} {one.problem}", _hint(one))
    fields: dict[str, tuple[Any, Any]] = {}
    # Fields are numbered: a parameter may be called `json`, `copy` or `_x`, a field of a model may not.
    for number, one in enumerate(signature.parameters):
        fields[f"p{number}"] = _field(tool, one, words.get(one.name))
    model, schema = _model(tool, fields, signature)
    if len(schema["properties"]) < len(fields):
        raise ToolDefinitionError(tool, "two parameters have one alias", "give each its own")
    parameters = {f"p{number}": one.name for number, one in enumerate(signature.parameters)}
    return _plan(tool, schema, ByParameters(model, parameters), signature)


def by_model(tool: str, model: type[BaseModel], function: Callable[..., Any]) -> Plan:
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise ToolDefinitionError(
            tool, f"{model!r} is no pydantic model", "give a class derived from pydantic.BaseModel"
        )
    signature = signature_of(tool, function)
    required = [one.name for one in signature.parameters if one.default is REQUIRED]
    taken = required or [one.name for one in signature.parameters][:1]
    if len(taken) != 1:
        raise ToolDefinitionError(
            tool, f"its function has {len(required)} parameters to fill in", f"let it take one: a {model.__name__}"
        )
    try:
        schema = schemas.of_model(model)
    except Exception as error:
        raise ToolDefinitionError(
            tool,
            f"{model.__name__} has no JSON schema: {_said(error)}",
            "use types that JSON has, or that pydantic knows",
        ) from error
    if model.model_config.get("extra") is None:
        schema["additionalProperties"] = False
    return _plan(tool, schema, ByModel(model, taken[0]), signature)


def by_schema(tool: str, schema: Mapping[str, Any], function: Callable[..., Any]) -> Plan:
    if not isinstance(schema, Mapping):
        raise ToolDefinitionError(tool, f"its schema is a {type(schema).__name__}", "give a JSON schema as a dict")
    signature = signature_of(tool, function, collecting=True)
    top = schemas.at_top(tool, schemas.of_text(tool, schema))
    for problem in _unfit(top, signature):
        raise ToolDefinitionError(
            tool, problem, "let the function's parameters be the schema's properties, or take **arguments"
        )
    return _plan(tool, top, BySchema(), signature)


def _plan(tool: str, schema: schemas.Schema, accepts: Accepts, signature: Signature) -> Plan:
    return Plan(compact_json(schemas.at_top(tool, schema)), accepts, signature)


def _field(tool: str, one: Parameter, words: str | None) -> tuple[Any, Any]:
    """One field of the model, under the parameter's name or the alias that its own `Field` gives it."""
    default = ... if one.default is REQUIRED else one.default
    own = default if isinstance(default, FieldInfo) else FieldInfo.from_annotation(one.annotation)
    noted = FieldInfo.from_annotation(one.annotation)
    alias = own.validation_alias or own.alias or noted.validation_alias or noted.alias or one.name
    if not isinstance(alias, str):
        raise ToolDefinitionError(
            tool, f"parameter {one.name} has several aliases", "give it one, as Field(alias='...')"
        )
    added: dict[str, Any] = {"alias": alias, "validation_alias": alias, "serialization_alias": alias}
    spoken = [note for note in getattr(one.annotation, "__metadata__", ()) if isinstance(note, str)]
    if not (own.description or noted.description) and (spoken or words):
        added["description"] = spoken[0] if spoken else words
    try:
        return Annotated[one.annotation, Field(**added)], default
    except Exception as error:  # typing refuses some of what is no type in its own ways
        raise ToolDefinitionError(
            tool, f"parameter {one.name} has the annotation {one.annotation!r}", _hint(one)
        ) from error


def _model(
    tool: str, fields: Mapping[str, tuple[Any, Any]], signature: Signature
) -> tuple[type[BaseModel], schemas.Schema]:
    try:
        return _made(fields)
    except Exception as error:  # an annotation is any expression, its schema hooks any code
        for (field, definition), one in zip(fields.items(), signature.parameters, strict=True):
            try:
                _made({field: definition})
            except Exception as culprit:
                problem = f"parameter {one.name} is of a type that has no JSON schema: {_said(culprit)}"
                raise ToolDefinitionError(
                    tool, problem, "use a type that JSON has, or that pydantic knows"
                ) from culprit
        raise ToolDefinitionError(
            tool, f"its parameters have no JSON schema: {_said(error)}", "use simpler types"
        ) from error


def _made(fields: Mapping[str, tuple[Any, Any]]) -> tuple[type[BaseModel], schemas.Schema]:
    config = ConfigDict(allow_inf_nan=False)
    model: type[BaseModel] = create_model("Arguments", __config__=config, **dict(fields))  # type: ignore[call-overload]
    return model, schemas.of_model(model)


def _unfit(schema: schemas.Schema, signature: Signature) -> Iterator[str]:
    named = {one.name: one for one in signature.parameters}
    if signature.context is not None and not signature.context_first and signature.context in schema["properties"]:
        yield f"its ToolContext and an argument are both called {signature.context}; put a '/' after the context"
    if not signature.collects:
        for name in schema["properties"]:
            if name not in named:
                yield f"its function takes no {name!r}, which the schema has"
        if schema["additionalProperties"] is not False:
            yield "its schema allows further arguments, and its function takes none"
    for one in named.values():
        if one.default is REQUIRED and one.name not in schema["required"]:
            yield f"its function needs {one.name!r}, which the schema does not require"


def _hint(one: Parameter) -> str:
    if one.name in ("self", "cls"):
        return "make the tool from the bound method: tool(instance.method)"
    return "every parameter needs a type, from which the model is told what to write"


def _said(error: Exception) -> str:
    text = error.message if isinstance(error, PydanticErrorMixin) else str(error)
    return text.partition("\n")[0]
