"""An input before it is stored: hooks may refuse it, or put it in other words."""

from __future__ import annotations

from dataclasses import replace

import power_loop.hooks as h
from llm_client.messages import parse, text_of, wire
from power_loop.errors import InputInvalidError
from power_loop.loop.hooking import retold
from power_loop.store.contract import Input


async def admitted(hooks: h.Hooks, wanted: Input) -> Input:
    """The input as guards of `MESSAGE_APPEND` let it in. Asked by its sender, once a `send`.

    Raises:
        InputInvalidError: one refuses it; nothing is written.
    """
    if not hooks.at(h.MESSAGE_APPEND):
        return wanted
    message = parse(wanted.body)
    text = text_of(message.content)
    view = h.MessageAppend(session_id=wanted.session, turn=0, round=0, role="user", text=text)
    ruling = await hooks.run(h.MESSAGE_APPEND, view)
    if isinstance(ruling.verdict, h.Stop):
        reason = f"was refused by a hook: {ruling.verdict.reason}"
        raise InputInvalidError("user_input", reason, "send something else, or change the hook")
    if ruling.view.text == text:
        return wanted
    retold_message = message.model_copy(update={"content": retold(message.content, ruling.view.text)})
    return replace(wanted, body=wire(retold_message))
