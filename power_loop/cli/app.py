"""The commands, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NoReturn

import click

import power_loop
from power_loop.cli.backup import backup, restore
from power_loop.cli.chat import chat
from power_loop.cli.checkup import doctor
from power_loop.cli.compact import compact
from power_loop.cli.decide import abort, free, resolve, withdraw
from power_loop.cli.demo.command import demo
from power_loop.cli.exits import CommandEnded, Exit, exit_code, said
from power_loop.cli.happened import events
from power_loop.cli.output import line, prepare_streams, show_json
from power_loop.cli.pending import pending
from power_loop.cli.people import answer, approvals, approve, deny
from power_loop.cli.recall import recall
from power_loop.cli.resume import resume
from power_loop.cli.sessions import sessions
from power_loop.cli.show import show
from power_loop.cli.told import Told, told
from power_loop.errors import PowerLoopError

TRACEBACK_VARIABLE: Final = "POWER_LOOP_TRACEBACK"
PIPE_CLOSED: Final = 141
"""As if SIGPIPE had ended us: whoever read our output went away."""


class InOrder(click.Group):
    """Lists its commands as they were added: the one to begin with first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(power_loop.__version__, prog_name="power-loop")
@told
def commands(_: Told) -> None:
    """Agent sessions that survive anything: look at them, go on with them, decide about them.

    Begin with `power-loop demo`: it needs no key and no network. A SESSION is named by its id or any beginning of it
    that is unique.
    """


for command in (
    demo, chat, sessions, show, events, recall, pending, approvals, approve, deny, answer, resume, abort, resolve, free,
    withdraw, compact, doctor, backup, restore,
):  # fmt: skip
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit; the codes are those of `exits.Exit`."""
    prepare_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = PIPE_CLOSED
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    # Where parsing fails, nobody was told anything; and what stands behind `--` is no option.
    told = Told(json="--json" in (arguments[: arguments.index("--")] if "--" in arguments else arguments))
    try:
        with commands.make_context("power-loop", arguments, color=_colour()) as context:
            try:
                code: int | None = commands.invoke(context)
                return code or Exit.OK
            finally:
                if isinstance(context.obj, Told):
                    told = replace(context.obj, json=told.json or context.obj.json)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return Exit.USAGE
    except click.UsageError as error:
        hint = f"; see `{error.ctx.command_path} --help`" if error.ctx is not None else ""
        return _fail("usage", f"{error.format_message().rstrip('.')}{hint}", told)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", f"stopped by Ctrl-C; `{told.line('sessions')}` shows how things stand", told)
    except CommandEnded as ended:
        return _fail(ended.code, str(ended), told)
    except PowerLoopError as error:
        return _fail(error.code, said(error, told), told)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - a fault of ours is one line too
        if os.environ.get(TRACEBACK_VARIABLE):
            traceback.print_exc()
        what = f"{type(error).__name__}: {error}"
        way_out = f"this is a fault of power-loop: report it ({TRACEBACK_VARIABLE}=1 shows where it is)"
        return _fail("internal", f"{what}; {way_out}", told)


def _colour() -> bool | None:
    return False if os.environ.get("NO_COLOR") else None


def _fail(code: str, message: str, told: Told) -> int:
    """Say what went wrong: a line on standard error; with --json an object on standard output, and nothing else."""
    if told.json:
        show_json({"error": {"code": code, "message": message}})
    else:
        click.echo(f"{click.style('error:', fg='red')} [{code}] {line(message)}", err=True, color=_colour())
    return exit_code(code)
