"""What `kzn diff` asks a server besides traffic: one proposal, and what was rolled out."""

from collections.abc import Callable

from kzn.client.advice import Proposed
from kzn.client.http import ApiClient
from kzn.client.rollouts import MAX_LIMIT, RolloutsAnswer
from kzn.errors import KznError
from kzn.reports.comparison.window import Window, windows


def fetch_proposal(client: ApiClient, identity: str) -> Proposed:
    """The proposal of this id; KznError if the server knows none."""
    found = client.fetch("advice", Proposed.from_json, [("id", identity)])
    if found is None:
        raise KznError(
            f"the server knows no proposal {identity[:200]!r}",
            hint="kzn advise --json lists them by id; one that is not made any more is remembered"
            ' until the server ends: use the command that it had under "afterwards"',
        )
    return found


def windows_of(
    proposal: Proposed, before: str | None, after: str | None, now: float
) -> tuple[Window, Window]:
    """The windows of options; without them those in which it was measured, and since then.

    One that is still made has nothing after it: then as without a proposal.
    """
    if before is None and not (after is None and proposal.is_made):
        before = f"{proposal.begin}..{proposal.end}"
    return windows(before, after, now)


def ask_rollouts(client: ApiClient) -> Callable[[int, int], RolloutsAnswer]:
    """A function of begin and end; a server that does not know is a note, and no error."""

    def ask(begin: int, end: int) -> RolloutsAnswer:
        query = [("from", str(begin)), ("to", str(end)), ("limit", str(MAX_LIMIT))]
        try:
            return client.fetch("rollouts", RolloutsAnswer.from_json, query)
        except KznError as error:
            return RolloutsAnswer((), 0, 0.0, [f"not known ({error})"])

    return ask
