"""What can go wrong with a model, and the root of every error of this project.

Who must act decides the class: the caller of the model (`ModelRequestError`, `ModelSettingsError`,
`ModelAuthError`), time (`ModelRateLimitedError`, `ModelServerError`, `ModelConnectionError`), or the conversation
(`ContextOverflowError`, `OutputInvalidError`).
"""

from __future__ import annotations


class PowerLoopError(Exception):
    """The root of every error that leaves this project.

    `code` is stable: scripts may rely on it. The message names the thing, the rule and the way out. It stands in the
    lowest package so that one `except PowerLoopError` also catches what a model service raises.
    """

    code: str = "error"

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process borders whole, facts and all, whatever their constructors take."""
        return _remade, (type(self), self.args, self.__dict__)


def _remade(kind: type[PowerLoopError], args: tuple[object, ...], facts: dict[str, object]) -> PowerLoopError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class ModelError(PowerLoopError):
    """The model gave no usable answer. The history is as it was before the request."""

    code = "model.error"
    retryable: bool = False

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status, when the endpoint answered with one."""
        self.retry_after = retry_after
        """Seconds the endpoint asked us to wait, when it did."""


class ModelSettingsError(ModelError):
    """A setting is missing or cannot work. Raised when the service is built, before any request."""

    code = "model.settings"


class ModelAuthError(ModelError):
    """The endpoint refused our key or our permission (401, 402, 403)."""

    code = "model.auth"


class ModelRequestError(ModelError):
    """The endpoint refused the request itself (400, 404, 422 and the like); the same request will fail again."""

    code = "model.request"


class ModelCapabilityError(ModelError):
    """The request needs something this endpoint lacks (images, say). Raised before anything is sent."""

    code = "model.capability"


class ContextOverflowError(ModelError):
    """The history does not fit the model's context window."""

    code = "model.context_overflow"

    def __init__(
        self, message: str, *, status: int | None = None, limit: int | None = None, requested: int | None = None
    ) -> None:
        super().__init__(message, status=status)
        self.limit = limit
        """The window in tokens, where the endpoint said it."""
        self.requested = requested
        """The tokens we asked for, where the endpoint said it."""


class ModelRateLimitedError(ModelError):
    """Too many requests (429), still so after every retry."""

    code = "model.rate_limited"
    retryable = True


class ModelServerError(ModelError):
    """The endpoint failed (408, 409, 5xx), still so after every retry."""

    code = "model.server"
    retryable = True


class ModelConnectionError(ModelError):
    """No connection, or it broke, still so after every retry."""

    code = "model.connection"
    retryable = True


class ModelTimeoutError(ModelError):
    """No answer within the time allowed for one request and all its retries."""

    code = "model.timeout"
    retryable = True


class StreamCutError(ModelError):
    """A stream stopped without its end, or a chunk of it was damaged: what came is not an answer."""

    code = "model.stream_cut"
    retryable = True


class OutputInvalidError(ModelError):
    """The model answered, twice, with nothing that can be used. Nothing of it is stored."""

    code = "model.output_invalid"
