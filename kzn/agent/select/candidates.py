"""Which candidates this kernel and process can run, asked before anything is loaded; or why not.

In: probes, in the order in which they are wanted. Out: `Candidates`. Never: loads or attaches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kzn.errors import KznError, UnsupportedError
from kzn.probes import support
from kzn.probes.declaration import Probe


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates that can be tried, in order, and what is against the others."""

    probes: tuple[Probe, ...]
    refused: Mapping[str, KznError]

    @staticmethod
    def of(candidates: Sequence[Probe]) -> "Candidates":
        """UnsupportedError when there is none."""
        if len(candidates) == 1:
            support.require(candidates[0])
        able = Candidates(tuple(candidates), {})
        for probe in candidates:
            try:
                support.require(probe)
            except KznError as error:
                able = able.without(probe, error)
        if not able.probes:
            raise able.none()
        return able

    def without(self, probe: Probe, error: KznError) -> "Candidates":
        """The rest, and why not this one."""
        left = tuple(other for other in self.probes if other is not probe)
        return Candidates(left, {**self.refused, probe.name: error})

    def reasons(self) -> dict[str, str]:
        """Why not, by name; one sentence each, without the verifier's log."""
        return {
            name: error.message.partition("\n")[0].removeprefix(f"probe {name}: ")
            for name, error in self.refused.items()
        }

    def none(self) -> UnsupportedError:
        """The error when every candidate was refused: all reasons, and the hint of the first."""
        if not self.refused:
            return UnsupportedError("no probe is installed that auto may choose", hint="name one")
        reasons = self.reasons()
        text = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        if len(set(reasons.values())) == 1:
            text = next(iter(reasons.values()))
        hint = next(iter(self.refused.values())).hint
        return UnsupportedError(f"no probe can run here: {text}", hint=hint)

    def alternatives(self, chosen: Probe) -> tuple[str, ...]:
        """Those that would be tried in place of the chosen one: the first of each other place."""
        places = {hook_point(chosen): ""}
        for probe in self.probes:
            places.setdefault(hook_point(probe), probe.name)
        return tuple(filter(None, places.values()))


def hook_point(probe: Probe) -> str:
    """Where its hooks are; probes of one place see the same."""
    return "egress" if probe.device_hooks() else probe.name
