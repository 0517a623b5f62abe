"""The rules of the Chat Completions API, enforced as OpenAI does: with HTTP 400 and its words.

Written from the API's documentation and answers, and from nothing else: it imports no other code of this project, so
that an error in our understanding of the protocol cannot hide in both places.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

_ROLES: Final = ("system", "assistant", "user", "function", "tool", "developer")
_PARTS: Final = {
    "system": ("text",),
    "developer": ("text",),
    "tool": ("text",),
    "function": ("text",),
    "assistant": ("text", "refusal"),
    "user": ("text", "image_url", "input_audio", "file"),
}
_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_MESSAGE_NAME: Final = re.compile(r"[^\s<|\\/>]{1,64}\Z")
_LONGEST_ID: Final = 40
_TYPE_NAMES: Final = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


class ApiError(Exception):
    """A refusal as the API words it."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400,
        kind: str = "invalid_request_error",
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.param, self.code, self.status, self.kind = param, code, status, kind

    def body(self) -> dict[str, Any]:
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}


def check_request(body: object) -> None:
    """Raises:
    ApiError: the request breaks a rule of the API.
    """
    if not isinstance(body, dict):
        raise ApiError("We could not parse the JSON body of your request: it is expected to be an object.")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise ApiError("you must provide a model parameter")
    _check_options(body)
    tools = body.get("tools")
    if tools is not None:
        _check_tools(tools)
    _check_tool_choice(body.get("tool_choice"), tools)
    messages = _array(body, "messages", "messages")
    for number, message in enumerate(messages):
        _check_message(_object(message, f"messages[{number}]"), f"messages[{number}]")
    _check_pairs(messages)


def check_context(tokens: int, window: int) -> None:
    """Raises:
    ApiError: the messages are longer than the window.
    """
    if tokens > window:
        raise ApiError(
            f"This model's maximum context length is {window} tokens. However, your messages resulted in {tokens} "
            "tokens. Please reduce the length of the messages.",
            param="messages",
            code="context_length_exceeded",
        )


def _check_options(body: Mapping[str, Any]) -> None:
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        _bad_type("stream", "a boolean", stream)
    if body.get("stream_options") is not None:
        _object(body["stream_options"], "stream_options")
        if not stream:
            raise ApiError(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
            )
    for name in ("max_tokens", "max_completion_tokens"):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            _bad_type(name, "an integer", value)
        if value < 1:
            raise ApiError(
                f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {value} instead.",
                param=name,
                code="integer_below_min_value",
            )
    temperature = body.get("temperature")
    if temperature is not None:
        if isinstance(temperature, bool) or not isinstance(temperature, int | float):
            _bad_type("temperature", "a decimal", temperature)
        if not 0 <= temperature <= 2:
            raise ApiError(
                f"Invalid 'temperature': decimal out of range. Expected a value from 0 to 2, but got {temperature}.",
                param="temperature",
            )
    wanted = body.get("response_format")
    if wanted is not None:
        kind = _object(wanted, "response_format").get("type")
        if kind not in ("text", "json_object", "json_schema"):
            _bad_value("response_format.type", kind, ("json_object", "json_schema", "text"))
        if kind == "json_schema":
            schema = _object(wanted.get("json_schema"), "response_format.json_schema")
            _text(schema, "name", "response_format.json_schema.name")


def _check_tools(tools: object) -> None:
    if not isinstance(tools, list):
        _bad_type("tools", "an array of objects", tools)
    if not tools:
        _empty("tools")
    for number, tool in enumerate(tools):
        path = f"tools[{number}]"
        if _text(_object(tool, path), "type", f"{path}.type") != "function":
            _bad_value(f"{path}.type", tool["type"], ("function",))
        function = _object(tool.get("function"), f"{path}.function")
        _tool_name(function, f"{path}.function.name")
        if function.get("description") is not None:
            _text(function, "description", f"{path}.function.description")
        parameters = function.get("parameters")
        if parameters is not None and _object(parameters, f"{path}.function.parameters").get("type") != "object":
            raise ApiError(
                f"Invalid schema for function '{function['name']}': schema must be a JSON Schema of "
                f"'type: \"object\"', got 'type: \"{parameters.get('type')}\"'.",
                param=f"{path}.function.parameters",
                code="invalid_function_parameters",
            )


def _check_tool_choice(choice: object, tools: Sequence[Any] | None) -> None:
    if choice is None:
        return
    if tools is None:
        raise ApiError(
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            param="tool_choice",
        )
    if isinstance(choice, dict):
        name = _object(choice.get("function"), "tool_choice.function").get("name")
        if name not in [tool["function"]["name"] for tool in tools]:
            raise ApiError(
                f"Invalid value for 'tool_choice': the function '{name}' is not among 'tools'.", param="tool_choice"
            )
    elif choice not in ("none", "auto", "required"):
        _bad_value("tool_choice", choice, ("none", "auto", "required"))


def _check_message(message: Mapping[str, Any], path: str) -> None:
    role = _text(message, "role", f"{path}.role")
    if role not in _ROLES:
        _bad_value(f"{path}.role", role, _ROLES)
    if message.get("name") is not None and not _MESSAGE_NAME.match(_text(message, "name", f"{path}.name")):
        raise ApiError(
            f"Invalid '{path}.name': string does not match pattern. Expected a string that matches the pattern "
            r"'^[^\s<|\\/>]+$'.",
            param=f"{path}.name",
            code="invalid_value",
        )
    calls = message.get("tool_calls")
    if calls is not None:
        if role != "assistant":
            at = f"{path}.tool_calls"
            raise ApiError(f"Unknown parameter: '{at}'.", param=at, code="unknown_parameter")
        _check_calls(calls, f"{path}.tool_calls")
    if role == "tool":
        _text(message, "tool_call_id", f"{path}.tool_call_id")
    may_lack_content = role == "assistant" and (calls or message.get("refusal") or message.get("audio"))
    if not (may_lack_content and message.get("content") is None):
        _check_content(message, role, f"{path}.content")


def _check_content(message: Mapping[str, Any], role: str, path: str) -> None:
    if "content" not in message:
        _missing(path)
    content = message["content"]
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        _bad_type(path, "one of a string or array of objects", content)
    if not content:
        _empty(path)
    for number, part in enumerate(content):
        at = f"{path}[{number}]"
        kind = _text(_object(part, at), "type", f"{at}.type")
        if kind not in _PARTS[role]:
            _bad_value(f"{at}.type", kind, _PARTS[role])
        if kind in ("text", "refusal"):
            _text(part, kind, f"{at}.{kind}")
        elif kind == "image_url":
            url = _text(_object(part.get("image_url"), f"{at}.image_url"), "url", f"{at}.image_url.url")
            if not url.startswith(("https://", "http://", "data:")):
                raise ApiError(
                    f"Invalid '{at}.image_url.url'. Expected a valid URL, but got a value with an invalid format.",
                    param=f"{at}.image_url.url",
                    code="invalid_image_url",
                )
        else:
            _object(part.get(kind), f"{at}.{kind}")


def _check_calls(calls: object, path: str) -> None:
    if not isinstance(calls, list):
        _bad_type(path, "an array of objects", calls)
    if not calls:
        _empty(path)
    seen: set[str] = set()
    for number, call in enumerate(calls):
        at = f"{path}[{number}]"
        id = _text(_object(call, at), "id", f"{at}.id")
        if not 1 <= len(id) <= _LONGEST_ID:
            raise ApiError(
                f"Invalid '{at}.id': string {'too long' if id else 'too short'}. Expected a string with length 1 to "
                f"{_LONGEST_ID}, but got a string with length {len(id)} instead.",
                param=f"{at}.id",
                code="string_above_max_length" if id else "string_below_min_length",
            )
        if id in seen:
            raise ApiError(f"Invalid '{at}.id': duplicate value '{id}'. Expected unique ids.", param=f"{at}.id")
        seen.add(id)
        if _text(call, "type", f"{at}.type") != "function":
            _bad_value(f"{at}.type", call["type"], ("function",))
        function = _object(call.get("function"), f"{at}.function")
        _tool_name(function, f"{at}.function.name")
        _text(function, "arguments", f"{at}.function.arguments")


def _check_pairs(messages: Sequence[Mapping[str, Any]]) -> None:
    """Every call answered once, directly after its message; no answer without its call."""
    asked: list[str] = []
    open_ids: list[str] = []
    for number, message in enumerate(messages):
        if message["role"] == "tool":
            id = message["tool_call_id"]
            if not asked:
                raise ApiError(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                    "'tool_calls'.",
                    param=f"messages.[{number}].role",
                )
            if id not in asked:
                raise ApiError(
                    f"Invalid parameter: 'tool_call_id' of '{id}' not found in 'tool_calls' of previous message.",
                    param=f"messages.[{number}].tool_call_id",
                )
            if id not in open_ids:
                raise ApiError(
                    f"Invalid parameter: duplicate tool message for 'tool_call_id' of '{id}'.",
                    param=f"messages.[{number}].tool_call_id",
                )
            open_ids.remove(id)
        else:
            _all_answered(open_ids, number)
            asked = [call["id"] for call in message.get("tool_calls") or []]
            open_ids = list(asked)
    _all_answered(open_ids, len(messages))


def _all_answered(open_ids: Sequence[str], number: int) -> None:
    if open_ids:
        raise ApiError(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(open_ids)}",
            param=f"messages.[{number}].role",
        )


def _tool_name(function: Mapping[str, Any], path: str) -> None:
    if not _TOOL_NAME.match(_text(function, "name", path)):
        raise ApiError(
            f"Invalid '{path}': string does not match pattern. Expected a string that matches the pattern "
            "'^[a-zA-Z0-9_-]+$'.",
            param=path,
            code="invalid_value",
        )


def _array(body: Mapping[str, Any], name: str, path: str) -> list[Any]:
    value = body.get(name)
    if value is None:
        _missing(path)
    if not isinstance(value, list):
        _bad_type(path, "an array of objects", value)
    if not value:
        _empty(path)
    return value


def _object(value: object, path: str) -> dict[str, Any]:
    if value is None:
        _missing(path)
    if not isinstance(value, dict):
        _bad_type(path, "an object", value)
    return value


def _text(value: Mapping[str, Any], name: str, path: str) -> str:
    if value.get(name) is None:
        _missing(path)
    if not isinstance(value[name], str):
        _bad_type(path, "a string", value[name])
    return str(value[name])


def _missing(path: str) -> NoReturn:
    raise ApiError(f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")


def _empty(path: str) -> NoReturn:
    raise ApiError(
        f"Invalid '{path}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        param=path,
        code="empty_array",
    )


def _bad_type(path: str, expected: str, value: object) -> NoReturn:
    got = _TYPE_NAMES.get(type(value), "another type")
    raise ApiError(
        f"Invalid type for '{path}': expected {expected}, but got {got} instead.", param=path, code="invalid_type"
    )


def _bad_value(path: str, value: object, supported: Sequence[str]) -> NoReturn:
    names = ", ".join(f"'{name}'" for name in supported)
    raise ApiError(f"Invalid value: '{value}'. Supported values are: {names}.", param=path, code="invalid_value")
