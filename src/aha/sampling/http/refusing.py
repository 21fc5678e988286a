"""What is said to a request that is not served."""

from __future__ import annotations

from aha.types import AhaError


class RequestRefusedError(AhaError):
    """A request that is not served: HTTP status, and the field that is the reason, if one is."""

    def __init__(
        self, message: str, field: str | None = None, status: int = 400, code: str = "invalid_request_error"
    ):
        super().__init__(message)
        self.field, self.status, self.code = field, status, code
