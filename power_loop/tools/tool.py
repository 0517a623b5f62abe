"""A tool: what the model is told of it, how its arguments are checked, and what repeating it would do."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import WRAPPER_ASSIGNMENTS, cached_property
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, Unpack

from pydantic import BaseModel

from power_loop.errors import InputInvalidError, ToolDefinitionError
from power_loop.tools import schema as schemas
from power_loop.tools.arguments import Arguments, ArgumentsInvalid, parsed
from power_loop.tools.build import Plan, by_model, by_schema
from power_loop.tools.context import ToolContext
from power_loop.tools.describe import described
from power_loop.tools.doubt import Reconcile
from power_loop.tools.options import (
    Approval,
    RunOptions,
    ToolOptions,
    checked_approval,
    checked_effect,
    checked_external,
    checked_name,
    checked_options,
    checked_parallel,
    checked_reconcile,
    checked_result_limit,
    checked_shorten,
    checked_timeout,
)
from power_loop.tools.signature import name_of
from power_loop.tools.validate import Accepts, expected
from power_loop.transcript.shorten import Shortener
from power_loop.values import Effect, compact_json, storable

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, eq=False, kw_only=True)
class Tool:
    """A function a model may call. Made by `@tool`, `Tool.from_model` or `Tool.from_schema`; never changes.

    Raises:
        ToolDefinitionError: the name, timeout, effect, schema or reconcile function breaks a rule.
    """

    name: str
    description: str = field(repr=False)
    schema: str = field(repr=False)
    """JSON text of the parameters' schema."""
    effect: Effect
    timeout: float | None
    """Seconds."""
    parallel: bool
    reconcile: Reconcile | None
    is_async: bool
    function: Callable[..., Any] = field(repr=False)
    accepts: Accepts = field(repr=False)
    context: str | None = field(default=None, repr=False)
    """The function's parameter for the context."""
    context_first: bool = field(default=False, repr=False)
    """The context goes in by position."""
    shorten: Shortener | None = None
    """Makes what is shown of a long result; None: the configuration says."""
    result_limit: int | None = None
    """Characters of its result that are shown at once; None: the configuration says."""
    approval: Approval = False
    """Whether a person must approve a call before it runs."""
    external: bool = False
    """The host gives the result; the function is never entered."""
    check_result: Callable[[dict[str, Any], Any], object] | None = field(default=None, repr=False)
    """Refuses a result of the host's, or says what the model is shown of it."""
    ends_turn: bool = False
    """A call that succeeded ends the turn."""

    def __post_init__(self) -> None:
        checked_name(self.name)
        if not isinstance(self.description, str):
            raise ToolDefinitionError(self.name, "its description is no text", "give a str")
        try:
            storable("it", self.description + self.schema)
        except InputInvalidError as error:
            raise ToolDefinitionError(self.name, error.problem, error.way_out) from None
        checked_timeout(self.name, self.timeout)
        checked_reconcile(self.name, self.reconcile)
        checked_result_limit(self.name, self.result_limit)
        checked_approval(self.name, self.approval)
        if not isinstance(self.ends_turn, bool):
            raise ToolDefinitionError(self.name, f"ends_turn is {self.ends_turn!r}", "give True or False")

    @property
    def parameters(self) -> dict[str, Any]:
        """The schema of the arguments: a fresh copy, as JSON values."""
        copy: dict[str, Any] = json.loads(self.schema)
        return copy

    @cached_property
    def spec(self) -> str:
        """JSON text of this tool's entry in the API's `tools` list; the same text in every process."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return compact_json({"type": "function", "function": function})

    @cached_property
    def schema_hash(self) -> str:
        """16 hex digits that change when the name or the accepted arguments do, not when only a description does."""
        text = json.dumps([self.name, schemas.shape(self.parameters)], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def _checked(self) -> schemas.Schema:
        return self.parameters

    def arguments(self, text: str) -> Arguments:
        """The arguments in the text a model wrote, checked before anything runs.

        No text at all counts as `{}` for a tool that requires nothing. What is taken for what: see `validate`.

        Raises:
            ArgumentsInvalid: they cannot be used; its message tells the model all that is wrong. Nothing else.
        """
        if not text.strip():
            if self._checked["required"]:
                raise ArgumentsInvalid(self.name, ["none were written"], expected(self._checked))
            text = "{}"
        return self.accepts(self.name, self._checked, parsed(self.name, text))

    def call(self, arguments: Arguments, context: ToolContext) -> Any:
        """Enter the function, in this thread. Gives its result, or an async one's awaitable; `invoke` runs it."""
        if self.context is None:
            return self.function(**arguments.passed)
        if self.context_first:
            return self.function(context, **arguments.passed)
        return self.function(**arguments.passed, **{self.context: context})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as it was written: nothing is checked and no context added."""
        return self.function(*args, **kwargs)

    @classmethod
    def from_model(cls, model: type[BaseModel], fn: Callable[..., Any], **options: Unpack[ToolOptions]) -> Tool:
        """A tool whose arguments are one pydantic model.

        `fn` takes an instance, and a `ToolContext` if it has a parameter so annotated. The description is `fn`'s
        docstring, else the model's. Unknown top-level arguments are refused, unless the model's config sets `extra`.

        Raises:
            ToolDefinitionError: `model` is no model of an object, or `fn` does not take exactly one instance.
        """
        name, description = options.get("name"), options.get("description")
        if name is None:
            name = name_of(fn)
        plan = by_model(name, model, fn)
        words = described(fn).text or described(model).text
        return cls._planned(name, words if description is None else description, plan, fn, options)

    @classmethod
    def from_schema(
        cls,
        name: str,
        description: str,
        schema: Mapping[str, Any],
        fn: Callable[..., Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> Tool:
        """A tool whose arguments are a JSON schema of an object.

        `fn` gets them as keyword arguments, as JSON values. Checked before it runs: what is required, what is unknown
        (unless the schema's `additionalProperties` or `patternProperties` allow it; absent, they do not), and the type,
        enum and const of each top-level argument. Nothing deeper, nothing is converted, no default is filled in.

        With `external=True` there may be no `fn`: the host gives the result.

        Raises:
            ToolDefinitionError: the schema is none of an object, or the parameters of `fn` do not match it.
        """
        if fn is None:
            if not options.get("external"):
                raise ToolDefinitionError(name, "it has no function", "give one, or external=True")
            fn = not_here
        return cls._planned(name, description, by_schema(name, schema, fn), fn, options)

    @classmethod
    def _planned(cls, name: str, description: str, plan: Plan, fn: Callable[..., Any], options: RunOptions) -> Self:
        """The tool that a plan and options make, with the metadata of its function."""
        checked_options(name, options)
        effect = checked_effect(name, options.get("effect", Effect.ONCE))
        external = options.get("external", False)
        checked_external(name, external, options)
        tool = cls(
            name=name,
            description=description,
            schema=plan.schema,
            effect=effect,
            timeout=options.get("timeout"),
            parallel=checked_parallel(name, options.get("parallel"), effect, external=external),
            reconcile=options.get("reconcile"),
            is_async=inspect.iscoroutinefunction(fn),
            function=fn,
            accepts=plan.accepts,
            context=plan.signature.context,
            context_first=plan.signature.context_first,
            shorten=checked_shorten(name, options.get("shorten")),
            result_limit=options.get("result_limit"),
            approval=options.get("approval", False),
            external=external,
            check_result=options.get("check_result"),
            ends_turn=options.get("ends_turn", False),
        )
        worn: dict[str, Any] = {word: getattr(fn, word) for word in WRAPPER_ASSIGNMENTS if hasattr(fn, word)}
        vars(tool).update(worn, __wrapped__=fn)
        return tool


def not_here(**arguments: object) -> None:
    """Stands for the function of a tool that has none: the host gives the result."""
    raise NotImplementedError("the host gives the result of this tool")


class DecoratedTool(Tool, Generic[P, R]):
    """A tool made by `@tool`: called by hand, it is its function, types and all."""

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
