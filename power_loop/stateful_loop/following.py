"""What happened in a session, and what happens."""

from __future__ import annotations

from power_loop.errors import InputInvalidError
from power_loop.events import Hub, SessionEvents
from power_loop.stateful_loop import inputs
from power_loop.stateful_loop.conductor import Conductor
from power_loop.store.contract import SessionStore
from power_loop.values import session_id as checked_id


class Following:
    """The part of `StatefulAgentLoop` that listens."""

    def events(self, session_id: str, *, after: int = 0, follow: bool = True, deltas: bool = False) -> SessionEvents:
        """Every fact of a session behind the cursor `after`, in order, each once; then, with `follow`, those to come.

        `async for event in loop.events(session_id, after=cursor)`. A fact comes once it is on disk, whichever process
        committed it; `event.number` is the cursor to go on from, in any process at any time. With `deltas` what a model
        is about to say and how far tools are comes as well, of turns that run in this loop, in its place between the
        facts; it is live only, and has no number. The iterator ends when the session is deleted or the loop closes;
        without `follow` after the last fact there was when it began.

        Nothing waits for a reader. One who does not read holds 10,000 live events at most, then it is dropped, and its
        iterator raises `EventsLaggedError`; without `deltas` it holds none, and reads as slowly as it likes.

        Raises (from the iterator):
            SessionNotFoundError: there is no such session.
            EventsLaggedError: too many live events were left unread; begin again `after=error.cursor`.
            StoreDamagedError: an event is not what was written, or a row it needs is gone; asked once more, the
                iterator goes on behind it.
            InputInvalidError: `after` is beyond the session's last event.
        """
        session = checked_id(session_id)
        cursor = inputs.whole_number("after", after)
        if cursor >= 2**62:
            raise InputInvalidError("after", f"is {cursor}", "give the number of an event")
        for name, given in (("follow", follow), ("deltas", deltas)):
            if not isinstance(given, bool):
                raise InputInvalidError(name, f"is {given!r}", "give True or False")
        if deltas and not follow:
            raise InputInvalidError("deltas", "are live, and follow is False", "leave one of the two out")

        async def opened() -> tuple[SessionStore, Hub]:
            conductor = await self._open()
            return conductor.store, conductor.runner.gear.hub

        return SessionEvents(opened, session, after=cursor, follow=follow, deltas=deltas)

    async def _open(self, *, for_turns: bool = False) -> Conductor:
        """The open store with all that runs over it."""
        raise NotImplementedError
