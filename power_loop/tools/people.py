"""`ask_human`: a question to a person, who answers whenever and from wherever."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from power_loop.tools.define import tool


def _answer(asked: dict[str, Any], answer: object) -> object:
    """What the model is shown of an answer; raises `ValueError` for one that is none of the choices."""
    choices, several = asked.get("choices") or [], bool(asked.get("several"))
    said = list(answer) if isinstance(answer, list | tuple) else [answer]
    if not said or not all(isinstance(one, str) and one.strip() for one in said):
        raise ValueError(f"it is {answer!r}; answer in words{', or with some of the choices' if several else ''}")
    if len(said) > 1 and not several:
        raise ValueError(f"it has {len(said)} answers where one is asked for")
    if choices and not asked.get("free_text", True):
        strange = [one for one in said if one not in choices]
        if strange:
            raise ValueError(f"{strange[0]!r} is none of the choices; there are {', '.join(map(repr, choices))}")
    return said if several else said[0]


@tool(effect="read", external=True, check_result=_answer)
def ask_human(
    question: Annotated[str, Field(min_length=1, description="One question, with what a person needs to answer it.")],
    choices: Annotated[list[str] | None, Field(description="Answers to choose from, if there are such.")] = None,
    several: Annotated[bool, Field(description="Whether more than one of the choices may be taken.")] = False,
    free_text: Annotated[bool, Field(description="Whether an answer in other words is welcome too.")] = True,
) -> str:
    """Ask the person you work for, and wait for the answer. Use it when only they can know or decide."""
    raise NotImplementedError("the host answers: it shows the question to a person")
