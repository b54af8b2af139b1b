"""The error of requests to the API server, with a reason that is a metric label."""

from kzn.errors import ApiError


class KubeError(ApiError):
    """A request failed or its response is unusable; the list-watch retries it.

    ``reason`` is one of REASONS; ``retry_after`` is the Retry-After header in seconds, else 0.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        status: int = 0,
        retry_after: float = 0.0,
        hint: str = "",
    ) -> None:
        super().__init__(message, status=status, hint=hint)
        self.reason = reason
        self.retry_after = retry_after

    @property
    def is_absence(self) -> bool:
        """Whether the API server did not answer, or was not able to and did not say for how long.

        An overloaded one says so: 429, or Retry-After.
        """
        is_unable = self.status >= 500 and not self.retry_after
        return self.reason in {"connection", "timeout"} or is_unable


REASONS = (
    "connection",  # refused, reset, unknown host, TLS
    "timeout",  # no response, or a watch without data
    "credentials",  # kubeconfig, token or exec plugin failed
    "unauthorized",
    "forbidden",
    "expired",  # 410: the version or the continue token is too old
    "throttled",  # 429
    "refused",  # any other 4xx
    "server_error",  # 5xx, and errors inside a stream
    "bad_page",
    "bad_line",
    "undecodable",  # one object; the others of the page or stream count
    "unknown_event",
    "too_many",  # objects of a kind of owners
)


def reason_of(status: int) -> str:
    """The reason for an HTTP status or the code of a Status object."""
    named = {401: "unauthorized", 403: "forbidden", 410: "expired", 429: "throttled"}
    return named.get(status) or ("refused" if 300 <= status < 500 else "server_error")
