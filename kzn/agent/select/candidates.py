"""Which probes this kernel and process can run, checked before anything is loaded.

In: probes, in the order in which they are preferred. Out: `Candidates`.
Never: loads or attaches a program.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kzn.errors import KznError, UnsupportedError
from kzn.probes import support
from kzn.probes.declaration import Probe


@dataclass(frozen=True, slots=True)
class Candidates:
    """Probes that may be tried, in order, and by name the errors of those that cannot run."""

    probes: tuple[Probe, ...]
    errors: Mapping[str, KznError]

    @staticmethod
    def of(probes: Sequence[Probe]) -> "Candidates":
        """UnsupportedError when none can run."""
        if len(probes) == 1:
            support.require(probes[0])
        left = Candidates(tuple(probes), {})
        for probe in probes:
            try:
                support.require(probe)
            except KznError as error:
                left = left.without(probe, error)
        if not left.probes:
            raise left.none_left()
        return left

    def without(self, probe: Probe, error: KznError) -> "Candidates":
        """The other candidates, with the error of this one."""
        left = tuple(other for other in self.probes if other is not probe)
        return Candidates(left, {**self.errors, probe.name: error})

    def reasons(self) -> dict[str, str]:
        """One sentence for each probe that cannot run, without the verifier's log."""
        return {
            name: error.message.partition("\n")[0].removeprefix(f"probe {name}: ")
            for name, error in self.errors.items()
        }

    def none_left(self) -> UnsupportedError:
        """The error when no probe can run: every reason, and the hint of the first."""
        if not self.errors:
            return UnsupportedError(
                "no probe that auto may select is installed", hint="name a probe: --probe NAME"
            )
        reasons = self.reasons()
        text = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        if len(set(reasons.values())) == 1:
            text = next(iter(reasons.values()))
        hint = next(iter(self.errors.values())).hint
        return UnsupportedError(f"no probe can run here: {text}", hint=hint)

    def alternatives(self, selected: Probe) -> tuple[str, ...]:
        """Names of the probes to try in place of this one: the first at each other hook point."""
        by_point = {hook_point(selected): ""}
        for probe in self.probes:
            by_point.setdefault(hook_point(probe), probe.name)
        return tuple(filter(None, by_point.values()))


def hook_point(probe: Probe) -> str:
    """Where its hooks are; probes of one hook point see the same packets."""
    return "egress" if probe.kind.is_on_devices else probe.name
