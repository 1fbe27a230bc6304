"""refusal: why a request is not answered."""

from __future__ import annotations


class RefusedError(Exception):
    """An answer of 4xx or 503.

    Attributes:
        status: HTTP status.
        reason: one word, by which Prometheus counts refusals.
        error, expected: what was found, and what was expected.
    """

    def __init__(self, status: int, reason: str, error: str, expected: str) -> None:
        super().__init__(f"{error}; expected {expected}")
        self.status = status
        self.reason = reason
        self.error = error
        self.expected = expected
