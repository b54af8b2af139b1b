"""A cluster with an address of every side, and the verdict of every cell of the decision table."""

from cluster import Clock, cluster, flows_between, index_of

from kzn.model.ip import pack
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.resolve import resolve
from kzn.server.resolve.verdict import NAMES
from kzn.topology.facts import PodFacts, ServiceFacts, Workload

CLUSTER = cluster(
    nodes="""
        n1 a r
        n2 b r
        n3 a r
        far a s
        bare
        placed a
        vague - r
    """,
    pods="""
        d/p1 n1 10.1.1.1
        d/q1 n1 10.1.1.2
        d/p2 n2 10.1.2.1
        d/p3 n3 10.1.3.1
        d/pf far 10.1.4.1
        d/pb bare 10.1.5.1
        d/pp placed 10.1.6.1
        d/pv vague 10.1.7.1
    """,
    networks="""
        db-a Database 10.9.1.0/24 a r
        db-b Database 10.9.2.0/24 b r
        any Subnet 10.9.3.0/24
        abroad Subnet 10.9.4.0/24 - s
    """,
)
OUTSIDE = "8.8.8.8"
UNOWNED = "10.200.0.1"
TWO_OWNERS = "10.1.8.1"
SERVICE = "10.96.0.10"
HERE, ELSEWHERE, STATIC = "10.1.1.1", "10.1.2.1", "10.9.2.1"
CELLS = {
    (HERE, "10.1.1.2"): "same_zone",
    (HERE, ELSEWHERE): "cross_zone",
    (HERE, STATIC): "cross_zone",
    (HERE, OUTSIDE): "external",
    (HERE, UNOWNED): "unknown_destination",
    (HERE, TWO_OWNERS): "ambiguous",
    (ELSEWHERE, HERE): "transit",
    (ELSEWHERE, "10.1.3.1"): "transit",
    (ELSEWHERE, STATIC): "transit",
    (ELSEWHERE, OUTSIDE): "transit",
    (ELSEWHERE, UNOWNED): "transit",
    (ELSEWHERE, TWO_OWNERS): "transit",
    (STATIC, HERE): "cross_zone",
    (STATIC, ELSEWHERE): "cross_zone",
    (STATIC, "10.9.1.1"): "same_zone",
    (STATIC, OUTSIDE): "external",
    (STATIC, UNOWNED): "unknown_destination",
    (STATIC, TWO_OWNERS): "ambiguous",
    (OUTSIDE, HERE): "external",
    (OUTSIDE, ELSEWHERE): "cross_zone",
    (OUTSIDE, STATIC): "cross_zone",
    (OUTSIDE, "1.1.1.1"): "external",
    (OUTSIDE, UNOWNED): "unknown_destination",
    (OUTSIDE, TWO_OWNERS): "ambiguous",
    (UNOWNED, HERE): "unknown_source",
    (UNOWNED, ELSEWHERE): "unknown_source",
    (UNOWNED, STATIC): "unknown_source",
    (UNOWNED, OUTSIDE): "unknown_source",
    (UNOWNED, "10.200.0.2"): "unknown_source",
    (UNOWNED, TWO_OWNERS): "unknown_source",
    (TWO_OWNERS, HERE): "ambiguous",
    (TWO_OWNERS, ELSEWHERE): "ambiguous",
    (TWO_OWNERS, STATIC): "ambiguous",
    (TWO_OWNERS, OUTSIDE): "ambiguous",
    (TWO_OWNERS, UNOWNED): "ambiguous",
    (TWO_OWNERS, TWO_OWNERS): "ambiguous",
    (HERE, SERVICE): "service_address",
    (STATIC, SERVICE): "service_address",
    (OUTSIDE, SERVICE): "service_address",
    (ELSEWHERE, SERVICE): "transit",
    (UNOWNED, SERVICE): "unknown_source",
    (TWO_OWNERS, SERVICE): "ambiguous",
    (SERVICE, HERE): "transit",
    (SERVICE, ELSEWHERE): "cross_zone",
    (SERVICE, STATIC): "cross_zone",
    (SERVICE, OUTSIDE): "external",
    (SERVICE, UNOWNED): "service_address",
    (SERVICE, SERVICE): "service_address",
}
"""The verdict on a flow that n1 sees, by its ends."""
ZONES = {
    ("n1", HERE, "10.1.3.1"): "same_zone",
    ("n1", HERE, "10.1.4.1"): "cross_region",
    ("n1", HERE, "10.1.5.1"): "destination_zone_unknown",
    ("bare", "10.1.5.1", HERE): "source_zone_unknown",
    ("bare", "10.1.5.1", "10.1.5.1"): "source_zone_unknown",
    ("bare", "10.1.5.1", OUTSIDE): "external",
    ("n1", HERE, "10.1.6.1"): "region_unknown",
    ("placed", "10.1.6.1", "10.1.6.1"): "same_zone",
    ("n1", HERE, "10.1.7.1"): "destination_zone_unknown",
    ("far", "10.1.4.1", "10.1.7.1"): "cross_region",
    ("n1", HERE, "10.9.1.1"): "same_zone",
    ("n1", HERE, "10.9.3.1"): "external",
    ("n1", "10.9.3.1", HERE): "external",
    ("n1", HERE, "10.9.4.1"): "cross_region",
    ("bare", OUTSIDE, HERE): "source_zone_unknown",
    ("n2", OUTSIDE, "10.1.3.1"): "cross_zone",
}
"""The verdict by reporting node, source and destination: the rules of zones."""


class World:
    """The cluster above, with an address that changed its owner a moment ago."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.index = index_of(CLUSTER, self.clock)
        self.index.networks.put_service(ServiceFacts("s", "d", "web", (pack(SERVICE),)))
        for uid in ("first", "second"):
            self.clock.seconds += 100.0
            pod = PodFacts(uid, "d", uid, node="n1", addresses=(pack(TWO_OWNERS),))
            self.index.put_pod(pod, Workload("Pod", uid))

    def resolve(self, *ends: tuple[str, str], node: str = "n1") -> Resolution:
        """Flows between ``ends``, in an interval around now."""
        now = self.clock.now()
        return resolve(flows_between(*ends), node, self.index, now - 50, now + 50)

    def verdict(self, src: str, dst: str, node: str = "n1") -> str:
        """The verdict on one flow."""
        return NAMES[int(self.resolve((src, dst), node=node).verdict[0])]

    def charged(self, src: str, dst: str, node: str = "n1") -> tuple[str, str]:
        """The names of the endpoints that one flow is charged to; empty for none."""
        found = self.resolve((src, dst), node=node)
        ids = found.endpoints[[found.src[0], found.dst[0]]].tolist()
        src_name, dst_name = (self.index.endpoint(i).name if i >= 0 else "" for i in ids)
        return src_name, dst_name
