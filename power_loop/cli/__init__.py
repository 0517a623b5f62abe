"""`power-loop` on the command line: parses what comes in, shows what goes out, decides nothing.

`app` is the list of commands and the one place where errors become a line and an exit code; `exits` are those codes and
words; `told` what every command was told (`--db`, `--json`); `opening` how it gets at the store; `output` and `shapes`
how things look as text and as JSON; `loading` brings in tools and a model. A file a command or a family of them:
`sessions`, `show`, `pending`, `decide`, `resume`, `chat`, `checkup`, `backup`; `demo` is a folder of its own.
"""

from power_loop.cli.app import main

__all__ = ["main"]
