"""LangGraph as its documentation builds an agent: a model node, `ToolNode`, `MessagesState`, AsyncSqliteSaver."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench import conversation as c
from bench.peers import Peer


class Langgraph(Peer):
    title = "LangGraph, AsyncSqliteSaver"
    packages = (
        "langgraph==1.2.24",
        "langgraph-checkpoint-sqlite==3.1.2",
        "langchain-openai==1.7.4",
        "openai==3.57.0",
    )
    setting = 'WAL, synchronous=FULL, durability="async" (its defaults)'
    durability: ClassVar[Literal["async", "sync"]] = "async"

    async def open(self, folder: Path, url: str | None, histories: Sequence[int]) -> None:
        from langchain_core.messages import AIMessage, HumanMessage
        from langchain_core.tools import tool
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
        from langgraph.graph import START, MessagesState, StateGraph
        from langgraph.prebuilt import ToolNode, tools_condition

        forecast = tool(c.forecast)
        self._human = HumanMessage

        if url is None:

            async def model(state: MessagesState) -> dict[str, Any]:
                last = str(state["messages"][-1].content)
                if c.after_results(last):
                    return {"messages": [AIMessage(content=c.ANSWER)]}
                calls = [
                    {"id": c.call_id(c.number_in(last), place), "name": "forecast", "args": arguments}
                    for place, arguments in enumerate(c.arguments(c.number_in(last)))
                ]
                return {"messages": [AIMessage(content="", tool_calls=calls)]}
        else:
            from langchain_openai import ChatOpenAI

            chat = ChatOpenAI(model=c.MODEL, base_url=url, api_key="bench", max_retries=0).bind_tools([forecast])

            async def model(state: MessagesState) -> dict[str, Any]:
                return {"messages": [await chat.ainvoke(state["messages"])]}

        builder = StateGraph(MessagesState)
        builder.add_node("model", model)
        builder.add_node("tools", ToolNode([forecast]))
        builder.add_edge(START, "model")
        builder.add_conditional_edges("model", tools_condition)
        builder.add_edge("tools", "model")
        self._entered = AsyncSqliteSaver.from_conn_string(str(folder / "graph.db"))
        saver = await self._entered.__aenter__()
        self._graph = builder.compile(checkpointer=saver)

    async def turn(self, session: int) -> None:
        await self._graph.ainvoke(
            {"messages": [self._human(c.question(self.next_number()))]},
            {"configurable": {"thread_id": f"s{session}"}},
            durability=self.durability,
        )

    async def close(self) -> None:
        await self._entered.__aexit__(None, None, None)


PEER = Langgraph
