"""Which calls a person must approve before they run: the session's word, then the configuration's, then the tool's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from power_loop.tools import Tool


@dataclass(frozen=True, slots=True)
class Policy:
    """Words (`always`, `never`) by patterns of tool names, the ones that count more first."""

    words: Sequence[Mapping[str, str]] = ()

    def word(self, name: str) -> str | None:
        """What is said of a tool: by its own name, or else by the longest pattern that fits; None: nothing."""
        for words in self.words:
            fitting = [pattern for pattern in words if fnmatchcase(name, pattern)]
            if fitting:
                return words[max(fitting, key=lambda pattern: (pattern == name, len(pattern)))]
        return None

    def may_ask(self, tool: Tool | None) -> bool:
        """Whether a call of this tool may need an approval."""
        if tool is None:
            return False
        if not any(self.words):
            return tool.approval is not False
        word = self.word(tool.name)
        return tool.approval is not False if word is None else word == "always"
