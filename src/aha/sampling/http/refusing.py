"""What is said to a request that is not served."""

from __future__ import annotations

from aha.types import AhaError

TOO_LONG = "context_length_exceeded"
"""The code of a request that does not fit the model's context, as OpenAI has it."""


class RequestRefusedError(AhaError):
    """A request that is not served: HTTP status, and the field that is the reason, if one is."""

    def __init__(
        self, message: str, field: str | None = None, status: int = 400, code: str = "invalid_request_error"
    ):
        super().__init__(message)
        self.field, self.status, self.code = field, status, code
