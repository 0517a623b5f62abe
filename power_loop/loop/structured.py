"""Answers of a shape that the app gives: asked for, checked by pydantic, asked for once more with what is wrong."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final, cast, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from power_loop.errors import InputInvalidError
from power_loop.values import compact_json, shown

_FENCED: Final = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL | re.IGNORECASE)
_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_-]")
MAX_PROBLEMS: Final = 8


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """What an answer is to be: a type that pydantic can check, an object in JSON."""

    adapter: TypeAdapter[Any]
    response_format: str = field(repr=False)
    """JSON text of the API's `response_format`."""

    @classmethod
    def of(cls, output: object) -> OutputSpec:
        """Raises `InputInvalidError` for what pydantic cannot check, or is no object in JSON."""
        way_out = "give a pydantic model, a dataclass or a TypedDict"
        if not isinstance(output, type) and get_origin(output) is None:
            raise InputInvalidError("output", f"is {shown(output)}", way_out)
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(cast("type[Any]", output))
            schema = adapter.json_schema()
        except (PydanticUserError, ValueError, TypeError, AttributeError) as error:
            raise InputInvalidError("output", f"is {shown(output)}, which has no schema ({error})", way_out) from None
        if schema.get("type") != "object" and "$ref" not in schema:
            raise InputInvalidError("output", f"is {shown(output)}, which is no object in JSON", way_out)
        name = _NOT_IN_A_NAME.sub("_", getattr(output, "__name__", "output"))[:64]
        wanted = {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
        return cls(adapter, compact_json(wanted))

    def read(self, text: str) -> Any:
        """The object that an answer says, alone or in a fence of Markdown.

        Raises:
            ValueError: it says none; the message tells the model all that is wrong.
        """
        fenced = _FENCED.fullmatch(text)
        try:
            return self.adapter.validate_json(fenced[1] if fenced else text)
        except ValidationError as error:
            problems = [
                f"- {'.'.join(map(str, one['loc'])) or 'the whole'}: {one['msg']}"
                for one in error.errors(include_url=False, include_context=False, include_input=False)
            ]
            raise ValueError("\n".join(problems[:MAX_PROBLEMS])) from None

    @property
    def schema(self) -> str:
        """JSON text of what the object must be."""
        return compact_json(json.loads(self.response_format)["json_schema"]["schema"])
