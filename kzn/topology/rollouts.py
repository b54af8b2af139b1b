"""What was rolled out: changes of workloads and Services that the watches show, with their times.

In: objects before and after a change, ReplicaSets with their creation, samples of where pods are.
Out: `Rollout` values of a span. Never: more than ``most`` of them, or any beyond `KEEP_SECONDS`;
what the API server no longer has and this server did not see is not known.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from kzn.topology.facts import OwnerFacts, ServiceFacts, Workload
from kzn.topology.routing_facts import ControllerFacts

CREATED, DELETED, REPLICASET, IMAGES, REPLICAS, PLACEMENT, ZONES, SERVICE = WHATS = (
    "created",
    "deleted",
    "replicaset",
    "images",
    "replicas",
    "placement",
    "zones",
    "service",
)
"""Values of `Rollout.what`."""
KEEP_SECONDS = 32 * 86_400
"""How long a change is kept: a month, and the same weekdays before it in part."""
MOST = 20_000
"""Changes that are kept, the newest: about 450 bytes each, 9 MB in all."""
JOIN_SECONDS = 3600.0
"""Changes of a number within so long are one: an autoscaler makes hundreds in a day."""
FIRST_SECONDS = 10.0
"""A ReplicaSet that is created so soon after its workload does not count as a rollout."""
MAX_PLACED = 100_000
"""Workloads whose zones are followed, about 250 bytes each."""
ABSENT_SAMPLES = 30
"""After so many samples without a pod the zones of a workload are forgotten."""
PASSING_KINDS = ("Job", "CronJob", "Pod")
"""Their pods come and go: other zones are no change."""
MAX_TEXT = 300
MAX_GAPS = 100
"""Times between two servers that are remembered, the newest."""

Name = tuple[str, str, str]
"""Namespace, kind and name."""
PlacedIn = Mapping[str, Set[tuple[str, Workload]]]
"""By zone the workloads that have a pod there, each with its namespace."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """A change of a workload, or of a Service (``kind`` is then that).

    ``time`` to ``until`` are seconds since the epoch, ``times`` how many changes it stands for:
    ``before`` is what was before the first, ``after`` what was after the last. Where both are the
    same, ``via`` is what was between.
    """

    time: float
    until: float
    namespace: str
    kind: str
    name: str
    what: str
    before: str = ""
    after: str = ""
    times: int = 1
    via: str = ""

    @property
    def of(self) -> Name:
        """What has changed."""
        return self.namespace, self.kind, self.name


class Watched(NamedTuple):
    """Since when changes are seen, until when, and when no server saw any, in seconds since the
    epoch. Some of before ``forgotten`` were dropped because there were too many.
    """

    begin: float
    end: float
    gaps: tuple[tuple[float, float], ...] = ()
    forgotten: float = 0.0


@dataclass(frozen=True, slots=True)
class LogChanges:
    """What differs in a log since it was last saved: by key. ``removed`` come first."""

    removed: Sequence[str]
    rollouts: Mapping[str, Rollout]
    watched: Watched


class Rollouts:
    """Receives changes; ``wall`` is seconds since the epoch.

    Creations have the API server's time, so that those of before the server's start are known, too;
    all other changes have that at which they were seen, since ``watched_from``.
    """

    def __init__(self, wall: Callable[[], float], *, most: int = MOST) -> None:
        self._wall = wall
        self._most = most
        self.watched_from = wall()
        self._gaps: tuple[tuple[float, float], ...] = ()
        self._found: dict[str, Rollout] = {}
        self._numbers = 0
        self._newest: dict[tuple[Name, str], str] = {}
        self._forgotten = 0.0
        self._zones = _Placement()
        self._unsaved: set[str] | None = None

    def __len__(self) -> int:
        return len(self._found)

    @property
    def complete_from(self) -> float:
        """Before this time changes have been forgotten because there were too many; 0: none."""
        return self._forgotten

    @property
    def gaps(self) -> Sequence[tuple[float, float]]:
        """Begin and end of the times since `watched_from` in which no server saw changes."""
        return self._gaps

    def restore(self, rollouts: Mapping[str, Rollout], watched: Watched | None) -> None:
        """Go on with what a server before this one saw, and note from now on what is to be saved.

        To be called before the first change.
        """
        now = self._wall()
        self._unsaved = set()
        if watched is not None:
            horizon = now - KEEP_SECONDS
            gaps = [one for one in (*watched.gaps, (watched.end, now)) if horizon < one[1] <= now]
            gaps = [one for one in gaps if one[0] < one[1]]
            self.watched_from = min(self.watched_from, watched.begin)
            if len(gaps) > MAX_GAPS:
                self.watched_from = gaps[-MAX_GAPS - 1][1]
            self._gaps = tuple(gaps[-MAX_GAPS:])
            self._forgotten = watched.forgotten
        for key, one in sorted(rollouts.items(), key=lambda item: item[1].until):
            self._add(key, one)
            if key.isdigit():
                self._numbers = max(self._numbers, int(key))
                self._newest[one.of, one.what] = key
        self._newest = {of: key for of, key in self._newest.items() if key in self._found}
        self._unsaved = rollouts.keys() - self._found.keys()

    def changed(self) -> LogChanges | None:
        """What differs since the last call or `restore`; None without one: nothing is saved."""
        if self._unsaved is None:
            return None
        keys, self._unsaved = self._unsaved, set()
        return LogChanges(
            [key for key in keys if key not in self._found],
            {key: self._found[key] for key in keys if key in self._found},
            Watched(self.watched_from, self._wall(), self._gaps, self._forgotten),
        )

    @property
    def unplaced(self) -> int:
        """Workloads whose zones are not followed because there are too many."""
        return self._zones.left_out

    def put_replicaset(self, owner: OwnerFacts) -> None:
        """A ReplicaSet was listed, added or changed: a change of its owner, at its creation."""
        above = owner.controller
        key = f"{REPLICASET} {owner.uid}"
        if above is None or owner.created is None or key in self._found:
            return
        kind = above.kind.partition(".")[0]
        self._add(
            key,
            Rollout(
                owner.created, owner.created, owner.namespace, kind, above.name, REPLICASET,
                after=owner.name,
            ),
        )  # fmt: skip

    def put_controller(self, before: ControllerFacts | None, after: ControllerFacts) -> None:
        """A controller was listed, added (``before`` is None) or changed."""
        of = after.namespace, after.kind, after.name
        if before is None:
            key = f"{CREATED} {after.uid}"
            if after.created is not None and key not in self._found:
                self._add(key, Rollout(after.created, after.created, *of, CREATED))
            return
        if before.images != after.images:
            self._changed(of, IMAGES, *_images(before.images, after.images))
        if before.replicas != after.replicas:
            self._changed(of, REPLICAS, _number(before.replicas), _number(after.replicas))
        placement = _placement(before), _placement(after)
        if placement[0] != placement[1]:
            self._changed(of, PLACEMENT, *placement)

    def drop_controller(self, known: ControllerFacts) -> None:
        """A controller was deleted."""
        self._changed((known.namespace, known.kind, known.name), DELETED, "", "")

    def put_service(self, before: ServiceFacts | None, after: ServiceFacts) -> None:
        """A Service was listed, added or changed: only how its endpoints are chosen counts."""
        if before is None:
            return
        old, new = _routing(before), _routing(after)
        names = [name for name in new if old[name] != new[name]]
        if names:
            texts = (
                ", ".join(f"{name} {of[name] or 'unset'}" for name in names) for of in (old, new)
            )
            self._changed((after.namespace, "Service", after.name), SERVICE, *texts)

    def compare(self, found: PlacedIn) -> Sequence["Moved"]:
        """Workloads with pods by zone, as sampled: which of them have others than in both samples
        before. May run in a thread beside the other methods, but not beside itself.
        """
        return self._zones.put(found, self._wall())

    def take(self, moved: Iterable["Moved"]) -> None:
        """What `compare` has found."""
        for of, before, after, since in moved:
            texts = (", ".join(sorted(zones)) for zones in (before, after))
            self._changed(of, ZONES, *texts, at=since)

    def all(self) -> list[Rollout]:
        """All that is kept, for `between`."""
        return list(self._found.values())

    def _changed(
        self, of: Name, what: str, before: str, after: str, *, at: float | None = None
    ) -> None:
        now = self._wall() if at is None else at
        before, after = before[:MAX_TEXT], after[:MAX_TEXT]
        key = of, what
        known = self._found.get(self._newest.get(key, ""))
        if (
            known is not None
            and what in (REPLICAS, ZONES)
            and known.after == before
            and now - known.time <= JOIN_SECONDS
        ):
            joined = replace(
                known,
                until=max(known.until, now),
                after=after,
                times=known.times + 1,
                via=before if after == known.before else "",
            )
            self._add(self._newest[key], joined)
            return
        self._numbers += 1
        self._newest[key] = str(self._numbers)
        self._add(self._newest[key], Rollout(now, now, *of, what, before, after))

    def _add(self, key: str, one: Rollout) -> None:
        horizon = max(self._wall() - KEEP_SECONDS, self._forgotten)
        if one.until < horizon:
            return
        self._found[key] = one
        if self._unsaved is not None:
            self._unsaved.add(key)
        if len(self._found) > self._most:
            self._forget(horizon)

    def _forget(self, horizon: float) -> None:
        """Drop what is too old, and of the rest the oldest tenth if there is still no room."""
        kept = sorted(self._found.items(), key=lambda item: item[1].until)
        kept = [item for item in kept if item[1].until >= horizon]
        if len(kept) > self._most:
            first = len(kept) - self._most * 9 // 10
            self._forgotten = kept[first - 1][1].until
            kept = kept[first:]
        if self._unsaved is not None:
            self._unsaved |= self._found.keys() - dict(kept).keys()
        self._found = dict(kept)
        self._newest = {
            key: number for key, number in self._newest.items() if number in self._found
        }


def between(kept: Iterable[Rollout], begin: float, end: float) -> list[Rollout]:
    """Those that began or went on in [begin, end), the newest first. Pure."""
    found = [one for one in kept if one.time < end and one.until >= begin]
    born = {one.of: one.time for one in found if one.what == CREATED}
    found = [
        one
        for one in found
        if one.what != REPLICASET or not 0 <= one.time - born.get(one.of, end) <= FIRST_SECONDS
    ]
    return sorted(found, key=lambda one: (-one.until, one.of, one.what))


class Moved(NamedTuple):
    """A workload with pods in other zones, ``since`` the first sample that showed it."""

    of: Name
    before: frozenset[str]
    after: frozenset[str]
    since: float


@dataclass(slots=True)
class _Placement:
    """The zones of each workload as two samples in a row had them."""

    left_out: int = 0
    _known: dict[Name, frozenset[str]] = field(default_factory=dict)
    _changing: dict[Name, tuple[frozenset[str], float]] = field(default_factory=dict)
    _absent: dict[Name, int] = field(default_factory=dict)
    _same: dict[frozenset[str], frozenset[str]] = field(default_factory=dict)

    def put(self, placed: PlacedIn, now: float) -> Sequence[Moved]:
        changes = []
        found = _by_workload(placed)
        changing: dict[Name, tuple[frozenset[str], float]] = {}
        self.left_out = 0
        for of, zones in found.items():
            known = self._known.get(of)
            if known == zones:
                continue
            if known is None:
                if len(self._known) >= MAX_PLACED:
                    self.left_out += 1
                else:
                    self._known[of] = self._same.setdefault(zones, zones)
                continue
            seen, since = self._changing.get(of, (None, now))
            if seen != zones:
                changing[of] = zones, now
                continue
            self._known[of] = self._same.setdefault(zones, zones)
            changes.append(Moved(of, known, zones, since))
        self._changing = changing
        self._forget(found)
        return changes

    def _forget(self, found: Mapping[Name, frozenset[str]]) -> None:
        # The only pod of a workload that is replaced has no zone for a while.
        absent = {of: self._absent.get(of, 0) + 1 for of in self._known if of not in found}
        for of in [of for of, samples in absent.items() if samples > ABSENT_SAMPLES]:
            del self._known[of], absent[of]
        self._absent = absent
        if len(self._same) > len(self._known):
            self._same = {zones: zones for zones in self._known.values()}


def _by_workload(placed: PlacedIn) -> dict[Name, frozenset[str]]:
    found: dict[Name, frozenset[str]] = {}
    for zone, workloads in placed.items():
        own = frozenset((zone,))
        for namespace, workload in workloads:
            if workload.kind not in PASSING_KINDS:
                of = namespace, workload.kind, workload.name
                known = found.get(of)
                found[of] = own if known is None else known | own
    return found


def _images(before: tuple[str, ...], after: tuple[str, ...]) -> tuple[str, str]:
    """The containers that differ; with their names where there are several."""
    old, new = (dict(zip(of[::2], of[1::2], strict=True)) for of in (before, after))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if len(old) == len(new) == 1:
        return next(iter(old.values())), next(iter(new.values()))
    texts = (", ".join(f"{name}={of[name]}" for name in names if name in of) for of in (old, new))
    return next(texts), next(texts)


def _number(replicas: int | None) -> str:
    return "" if replicas is None else str(replicas)


def _placement(of: ControllerFacts) -> str:
    parts = [f"zone {', '.join(of.zones)}"] if of.zones else []
    parts += [f"not zone {', '.join(of.not_zones)}"] if of.not_zones else []
    parts += ["certain nodes"] if of.is_pinned else []
    parts += [f"spread by zone ({of.spread})"] if of.spread else []
    return "; ".join(parts) or "any zone"


def _routing(of: ServiceFacts) -> dict[str, str]:
    one = of.routing
    return {
        "type": "headless" if one.is_headless else one.type,
        "trafficDistribution": one.distribution,
        "internalTrafficPolicy": one.internal_policy,
        "externalTrafficPolicy": one.external_policy,
        "topology-mode": one.topology_mode,
    }
