"""F4 in a session: what the endpoint cannot take is refused before it is stored, where it would stand in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from power_loop import OpenAIChatService, StatefulAgentLoop
from power_loop.errors import ModelCapabilityError
from power_loop.testing import Reply, ScriptedServer

IMAGE = [{"type": "image_url", "image_url": {"url": "https://example.test/a.png"}}]


@pytest.mark.acceptance("F4")
async def test_an_image_for_an_endpoint_without_images_changes_nothing(tmp_path: Path) -> None:
    async with ScriptedServer([Reply.says("only words")]) as server:
        llm = OpenAIChatService(model="m", base_url=server.url, api_key="k", images=False)
        async with StatefulAgentLoop(llm=llm, db_path=tmp_path / "a.db") as loop:
            await loop.create_session("s")
            with pytest.raises(ModelCapabilityError) as refused:
                await loop.send(IMAGE, "s")
            assert refused.value.code == "model.capability"
            assert await loop.get_messages("s") == []
            assert await loop.get_turns("s") == []
            assert (await loop.send("in words, then", "s")).final_text == "only words"
        assert len(server.requests) == 1
