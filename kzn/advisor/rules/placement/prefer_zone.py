"""The change "pods prefer a zone", which several rules propose. Pure."""

import json

from kzn.advisor.facts import Party
from kzn.advisor.proposal import Change

_TERM = """\
# pod template, spec: add the term to the preferences that are there
affinity:
  nodeAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        preference:
          matchExpressions:
            - key: topology.kubernetes.io/zone
              operator: In
              values: [{zone}]
"""


def prefer_zone(party: Party, zone: str) -> Change:
    """Node affinity for a zone as YAML to merge by hand.

    No patch can add to the preferences: their list is atomic, so one would replace the user's. The
    zone is quoted: "1" and "no" are names of zones, too.
    """
    summary = f"{party.workload_kind} {party}: prefer nodes of {zone} (merge the YAML by hand)"
    return Change(summary, (), _TERM.format(zone=json.dumps(zone)))
