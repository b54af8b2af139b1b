"""The verdicts on a flow, as uint8 codes: a class, transit, or the reason why it is unresolved.

The order is fixed: ``verdict < TRANSIT`` is a class, so the flow is attributed; ``verdict >
TRANSIT`` is a reason, so the flow is unresolved.
"""

import numpy as np

from kzn.columns.arrays import BOOL

SAME_ZONE = 0
CROSS_ZONE = 1
CROSS_REGION = 2
EXTERNAL_CLASS = 3
TRANSIT = 4
UNKNOWN_NODE = 5
UNKNOWN_SOURCE = 6
UNKNOWN_DESTINATION = 7
SOURCE_ZONE_UNKNOWN = 8
DESTINATION_ZONE_UNKNOWN = 9
REGION_UNKNOWN = 10
AMBIGUOUS_OWNER = 11
SERVICE_ADDRESS = 12

NAMES: tuple[str, ...] = (
    "same_zone",
    "cross_zone",
    "cross_region",
    "external",
    "transit",
    "unknown_node",
    "unknown_source",
    "unknown_destination",
    "source_zone_unknown",
    "destination_zone_unknown",
    "region_unknown",
    "ambiguous",
    "service_address",
)
"""The label value of each verdict: a class, "transit", or a reason."""

CLASSES = NAMES[:TRANSIT]
REASONS = NAMES[TRANSIT + 1 :]

CROSSES: BOOL = np.isin(np.arange(len(NAMES)), [CROSS_ZONE, CROSS_REGION])
"""By verdict: whether the bytes cross a zone boundary, which clouds charge for."""

MAY_RESOLVE_LATER: BOOL = np.isin(
    np.arange(len(NAMES)),
    [
        UNKNOWN_NODE,
        UNKNOWN_SOURCE,
        UNKNOWN_DESTINATION,
        SOURCE_ZONE_UNKNOWN,
        DESTINATION_ZONE_UNKNOWN,
    ],
)
"""By verdict: whether the flow is worth a retry, since the topology may learn what is missing.

Pods and node labels arrive by two watches, so an unknown zone is often just a late one. An address
with two owners stays ambiguous, and a missing region is a gap in the node's labels.
"""
