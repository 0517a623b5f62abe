"""What a database refuses, and why."""

from __future__ import annotations

from llm_client.errors import PowerLoopError


class StoreError(PowerLoopError):
    """The store could not do it; the state is as before. The database's own error is the `__cause__`."""

    code = "store.error"

    def __init__(self, path: str, problem: str, way_out: str, *, code: str | None = None) -> None:
        self.path, self.problem, self.way_out = path, problem, way_out
        if code is not None:
            self.code = code
        super().__init__(f"{path}: {problem}; {way_out}")


class StoreOpenError(StoreError):
    """The path cannot be opened as a session store: missing, a directory, no permission, empty, somebody else's."""

    code = "store.open"


class StoreBusyError(StoreError):
    """Another program held the write lock for too long."""

    code = "store.busy"


class StoreFullError(StoreError):
    code = "store.full"


class StoreReadOnlyError(StoreError):
    code = "store.read_only"


class StoreSchemaError(StoreError):
    """The file's schema is newer than this code, or not what its migrations say. Nothing was written."""

    code = "store.schema"


class StoreDamagedError(StoreError):
    """What is stored is not what was written. `session_id` and `seq` say where, as far as that is known."""

    code = "store.damaged"

    def __init__(
        self, path: str, problem: str, way_out: str, *, session_id: str | None = None, seq: int | None = None
    ) -> None:
        self.session_id, self.seq = session_id, seq
        super().__init__(path, problem, way_out)
