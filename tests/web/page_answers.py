"""Made-up answers of the API that no flow of a world changes."""

from typing import Any

STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "instance": 1,
    "ready": True,
    "why_not_ready": "",
    "agents": 42,
    "nodes": 42,
    "batches": 99,
    "flows": 1,
    "duplicates": 0,
    "refused": {},
    "nodes_known": 42,
    "nodes_reporting": 42,
    "nodes_without_agent": 0,
    "topology": [],
    "bytes": dict.fromkeys(
        ("seen", "attributed", "transit", "ignored", "unresolved", "missed", "held"), 1
    ),
}
EXPLAINED = {
    "time": "2026-11-26T08:16:40Z",
    "node": "n1",
    "src": {
        "address": "10.1.1.1",
        "owner": "pod",
        "namespace": "shop",
        "name": "web-1",
        "workload_kind": "Deployment",
        "workload": "web",
        "node": "n1",
        "zone": "a",
        "side": "here",
    },
    "dst": {"address": "10.200.0.1", "owner": "unknown", "side": "unknown"},
    "verdict": "unknown_destination",
    "charged_to": "",
    "why": [
        "10.1.1.1 is Pod shop/web-1 on node n1, which saw the packet",
        "10.200.0.1 is private and nothing in the topology has it",
    ],
    "advice": ["add its network to the file of --static"],
}


def proposal(
    identity: str, title: str, verdict: str, dollars: float, workload: str
) -> dict[str, Any]:
    """A proposal of /api/v1/advice."""
    namespace, _, name = workload.partition("/")
    size = round(dollars / 0.02) * 2**30
    return {
        "id": identity,
        "rule": identity.partition(":")[0],
        "title": title,
        "verdict": verdict,
        "service": workload,
        "workloads": [{"namespace": namespace, "workload_kind": "Deployment", "workload": name}],
        "effort": 1,
        "effort_text": "one field of one object",
        "measured": {
            "bytes": 3 * size,
            "crossing_bytes": 2 * size,
            "cost": {"USD": dollars},
            "unpriced_bytes": 0,
        },
        "saved_bytes": size // 4,
        "saved_bytes_per_month": size,
        "saving_per_month": {"USD": dollars} if dollars else {},
        "unpriced_saved_bytes": 0,
        "counted_per_month": {"USD": dollars} if dollars else {},
        "counted_bytes_per_month": size,
        "overlaps": [],
        "prices": [
            {
                "src_zone": "eu-west-1a",
                "dst_zone": "eu-west-1b",
                "both_per_gib": 0.02,
                "currency": "USD",
                "list": "aws",
                "date": "2026-07-01",
            }
        ],
        "change": {
            "summary": f"Prefer endpoints of the client's zone for {workload}.",
            "commands": [
                f"kubectl -n {namespace} patch service {name} --type merge"
                """ -p '{"spec":{"trafficDistribution":"PreferSameZone"}}'"""
            ],
            "yaml": "spec:\n  trafficDistribution: PreferSameZone\n",
        },
        "zones": [
            {
                "zone": f"eu-west-1{zone}",
                "client_share": share,
                "endpoints_before": here,
                "endpoints_after": 2,
                "load_before": 1.0 if here else None,
                "load_after": 3 * share,
                "crossing_before": size // 3,
                "crossing_after": 0,
            }
            for zone, share, here in (("a", 0.5, 2), ("b", 0.3, 2), ("c", 0.2, 0))
        ],
        "risks": ["an endpoint in a gets 1.5 times its load"],
        "why": ["it has no trafficDistribution, and all zones with clients have endpoints"],
        "unknown": ["whether a mesh chooses the endpoints"],
        "confidence": "high",
        "verify": "kzn diff --from 2026-11-19 --to 2026-11-26",
    }


_PROPOSALS = [
    proposal(
        "same-zone:crm/mailer", "Keep crm/mailer in its zone", "proposed", 8760.0, "crm/mailer"
    ),
    proposal("same-zone:shop/cart", "Keep shop/cart in its zone", "warning", 40.0, "shop/cart"),
    proposal("replication:data/kafka", "Leave the copies of data/kafka", "leave", 0, "data/kafka"),
]
ADVICE: dict[str, Any] = {
    "window": {"from": 1_794_395_200, "to": 1_795_000_000, "seconds": 360_000},
    "saving_per_month": {"USD": 8800.0},
    "saved_bytes_per_month": 440_000 * 2**30,
    "proposals": _PROPOSALS,
    "of": 3,
    "rules": [
        {"rule": name, "signature": "…", "found": True, "error": ""}
        for name in ("same-zone", "replication")
    ],
    "missing": [{"fact": "volumes", "why": "no right to list persistentvolumes"}],
    "unseen_bytes": 0,
    "notes": [],
}


ROLLOUTS: dict[str, Any] = {
    "from": 1_794_913_600,
    "to": 1_795_000_000,
    "watched_from": 1_794_000_000.0,
    "rollouts": [],
    "of": 0,
    "notes": [],
}


def rollout(workload: str, kind: str, what: str, text: str, time: float) -> dict[str, Any]:
    """A row of /api/v1/rollouts."""
    namespace, _, name = workload.rpartition("/")
    return {
        "time": time,
        "until": time,
        "namespace": namespace,
        "workload_kind": kind,
        "workload": name,
        "what": what,
        "before": "",
        "after": "",
        "times": 1,
        "text": text,
    }


def advice_of(proposals: list[dict[str, Any]]) -> dict[str, Any]:
    """An answer with these proposals."""
    return ADVICE | {"proposals": proposals, "of": len(proposals)}


def node_row(i: int) -> dict[str, Any]:
    """A row of /api/v1/nodes."""
    terms = {
        "seen": 10**12,
        "attributed": 8 * 10**11,
        "transit": 10**11,
        "ignored": 9 * 10**10,
        "unresolved": 9 * 10**9,
        "missed": 10**9,
        "held": 0,
    }
    return {
        "node": f"ip-10-0-17-{i}",
        "seconds_since_batch": 4.0 if i else 900.0,
        "unresolved_by_reason": {"unknown_destination": 9 * 10**9},
        "missed_by_reason": {"map_full": 10**9},
        "ignored_by_reason": {"local": 9 * 10**10},
    } | {f"{term}_bytes": size for term, size in terms.items()}


def price_row(src: str, dst: str) -> dict[str, Any]:
    """A row of /api/v1/prices."""
    price = 0.0 if src == dst else 0.01 / 2**30
    empty = dict.fromkeys(("src_name", "dst_name", "rule", "unpriced", "detail"), "")
    return empty | {
        "src_zone": src,
        "dst_zone": dst,
        "class": "same_zone" if src == dst else "cross_zone",
        "sender": price,
        "receiver": price,
        "currency": "USD",
        "list": "aws",
        "date": "2026-07-01",
        "source": "EC2 on-demand price list",
    }
