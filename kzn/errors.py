"""All errors of kzn: a message, a hint for the operator, and the exit code.

A foreign error (OSError from a syscall, a negative return of libbpf, a parser's message) is
translated once, at the border of the room where it occurs; callers handle only these errors.
"""

EXIT_OK = 0
EXIT_FAULT = 1
EXIT_USAGE = 2
EXIT_UNSUPPORTED = 3


class KznError(Exception):
    """Something kzn could not do: ``message`` names the thing and the number."""

    exit_code = EXIT_FAULT

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(KznError):
    """The command line, an environment variable or a file that the operator wrote is wrong."""

    exit_code = EXIT_USAGE


class UnsupportedError(KznError):
    """This kernel or machine cannot do what was asked (feature, capability, privilege)."""

    exit_code = EXIT_UNSUPPORTED


class KernelError(KznError):
    """A call into the kernel or libbpf failed; ``errno`` is the positive error number."""

    def __init__(self, message: str, *, errno: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.errno = errno


class ProbeSwitchError(KznError):
    """The agent's probe misses traffic: a start of the agent would select one anew."""


class WireError(KznError):
    """A peer sent something that is not a kzn frame or message; ``reason`` is a metric label."""

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class RefusedError(KznError):
    """The server refused this agent; ``reason`` is the server's word for it, a metric label."""

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class ApiError(KznError):
    """The Kubernetes API server answered an error or nothing; ``status`` is HTTP's, 0 for none."""

    def __init__(self, message: str, *, status: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class StateError(KznError):
    """The state file could not be written; ``reason`` is a metric label."""

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


def json_fault(error: Exception) -> str:
    """What is wrong with a JSON document whose reading by keys ended with ``error``."""
    if isinstance(error, KeyError):
        return f"key {error} is missing"
    if isinstance(error, TypeError | AttributeError):
        return f"a value of another type: {error}"
    return str(error)
