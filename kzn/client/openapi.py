"""The OpenAPI 3.1 document of /api/v1: /api/v1/openapi.json and docs/openapi.json.

In: the rows and dimensions that server and clients share. Out: a JSON object. Pure. Answers may get
more fields (docs/compatibility.md), so no schema refuses further ones.
"""

import json
import sys
from typing import Any, NamedTuple

from kzn import __version__
from kzn.client import api, rollouts
from kzn.history.export_query import DEFAULT_ROWS, FORMATS, MAX_ROWS
from kzn.history.query import DIMENSIONS, FILTERS, MAX_LIMIT, MAX_POINTS
from kzn.topology.rollouts import WHATS

Schema = dict[str, Any]

PREFIX = "/api/v1/"
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_OPTIONAL_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "number"}
_OPTIONAL_NUMBER: Schema = {"type": ["number", "null"]}
_MONEY: Schema = {"type": "object", "additionalProperties": _NUMBER}
_COUNTS: Schema = {"type": "object", "additionalProperties": _COUNT}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_TERMS = ("seen", "attributed", "transit", "ignored", "unresolved", "missed", "held")
_CLASS: Schema = {"enum": ["same_zone", "cross_zone", "cross_region", "external"]}
_OF_ROWS: dict[str, Schema] = {
    "class": _CLASS,
    "direction": {"enum": ["egress", "ingress"]},
    "initiator": {"enum": ["source", "destination", "unknown"]},
    "bytes": _COUNT,
    "cost": _OPTIONAL_NUMBER,
    "unpriced_bytes": _OPTIONAL_COUNT,
}
_ERRORS = {
    "400": "an unknown parameter, one that is given twice, or a value that is not valid",
    "401": "with --http-auth kubernetes: no valid token",
    "403": "with --http-auth kubernetes: no right to get this path",
    "405": "neither GET nor HEAD",
    "421": "the Host is not a name of this server",
    "429": "with --http-auth kubernetes: too many refused tokens",
    "431": "a request head of more than 8 KiB",
    "503": "the server is busy, or the answer took too long",
}


_TAG: Schema = {
    "description": "Of the content, for If-None-Match.",
    "schema": _TEXT,
}
_IF_NONE_MATCH: Schema = {
    "name": "If-None-Match",
    "in": "header",
    "description": "ETags of earlier answers, with or without W/, or *.",
    "required": False,
    "schema": _TEXT,
}


class Parameter(NamedTuple):
    """A parameter of a query."""

    name: str
    text: str
    schema: Schema = _TEXT
    is_required: bool = False
    is_list: bool = False

    def to_json(self) -> Schema:
        """The parameter object."""
        schema = {"type": "array", "items": self.schema} if self.is_list else self.schema
        found = {
            "name": self.name,
            "in": "query",
            "description": self.text,
            "required": self.is_required,
            "schema": schema,
        }
        return found | ({"style": "form", "explode": True} if self.is_list else {})


class Page(NamedTuple):
    """A path below `PREFIX`: what it answers, its parameters, and the schema of its JSON."""

    text: str
    parameters: tuple[Parameter, ...]
    schema: Schema
    has_tag: bool = False
    """Whether its answers have an `ETag`."""


def _count(most: int) -> Schema:
    return {"type": "integer", "minimum": 0, "maximum": most}


def _object(properties: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": properties | (optional or {}),
        "required": sorted(properties),
    }


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _list(topic: str, row: Schema) -> Schema:
    return _object({topic: _array(row), "of": _COUNT})


def _series_page(topic: str) -> Page:
    names = api.keys(api.ROWS[topic])
    row = _object({name: _OF_ROWS.get(name, _TEXT) for name in names})
    text = f"Series of {topic}, the largest first."
    return Page(text, (_LIMIT,), _list(topic, row), has_tag=True)


_LIMIT = Parameter("limit", "Most rows; 1,000 without it.", _count(api.MAX_LIMIT))
_TIME = "Unix seconds, RFC 3339, or how long ago (10m)."
_SPAN = (
    Parameter("since", "Length of the span until to: 15m, 24h, 7d, 2w; 1h without it."),
    Parameter("from", f"Begin of the span, instead of since: {_TIME}"),
    Parameter("to", f"End of the span; now without it: {_TIME}"),
    Parameter("by", f"Dimensions, with commas between them: {', '.join(DIMENSIONS)}."),
    Parameter(
        "where",
        f"DIMENSION:VALUE, may be repeated: {', '.join(FILTERS)}.",
        is_list=True,
    ),
    Parameter("points", "About how many steps of time; none without it.", _count(MAX_POINTS)),
)
_SUMS = _object(
    {"bytes": _COUNT, "packets": _COUNT},
    {
        "before": _COUNT,
        "series": _array(_COUNT),
        "cost": _MONEY,
        "unpriced_bytes": _COUNT,
    },
)
_TRAFFIC = _object(
    {
        "from": _COUNT,
        "to": _COUNT,
        "step": _COUNT,
        "by": _array({"enum": list(DIMENSIONS)}),
        "rows": _array(_SUMS),
        "other": _SUMS,
        "total": _SUMS,
        "of": _COUNT,
        "complete_from": _OPTIONAL_COUNT,
        "complete_to": _OPTIONAL_COUNT,
        "gaps": _array(_object({"from": _COUNT, "to": _COUNT, "reason": _TEXT})),
        "source": {"enum": ["memory", "minutes", "hours", "days"]},
    },
    {"prices": _array(_object({"list": _TEXT, "currency": _TEXT, "date": _TEXT}))},
)
_OWNER = _object(
    {"address": _TEXT, "owner": _TEXT},
    dict.fromkeys(
        (
            *("namespace", "name", "workload_kind", "workload"),
            *("node", "zone", "region", "known_by"),
        ),
        _TEXT,
    ),
)
_END = _object(
    {**_OWNER["properties"], "side": _TEXT, "history": _array(_OWNER)},
)
_END["required"] = ["address", "history", "owner", "side"]
_NODE = _object(
    {"node": _TEXT, "seconds_since_batch": _OPTIONAL_NUMBER}
    | {f"{term}_{unit}": _COUNT for term in _TERMS for unit in ("bytes", "packets")},
    {f"{term}_by_reason": _COUNTS for term in ("ignored", "unresolved", "missed")},
)
_STATUS = _object(
    {
        "version": _TEXT,
        "instance": _TEXT,
        "ready": _FLAG,
        "why_not_ready": _TEXT,
        "agents": _COUNT,
        "nodes": _COUNT,
        "nodes_known": _COUNT,
        "nodes_reporting": _COUNT,
        "nodes_without_agent": _COUNT,
        "batches": _COUNT,
        "flows": _COUNT,
        "duplicates": _COUNT,
        "refused": _COUNTS,
        "connected_seconds": _OPTIONAL_NUMBER,
        "first_batch_seconds": _OPTIONAL_NUMBER,
        "bytes": _object(dict.fromkeys(_TERMS, _COUNT)),
        "prices": _array(
            _object(dict.fromkeys(("provider", "list", "currency", "valid_from", "date"), _TEXT))
        ),
        "topology": _array(
            _object(
                {
                    "source": _TEXT,
                    "ready": _FLAG,
                    "nodes": _COUNT,
                    "pods": _COUNT,
                    "networks": _COUNT,
                    "staleness_seconds": _MONEY,
                }
            )
        ),
    }
)
_PRICES = _object(
    {
        "time": _TEXT,
        "off": _FLAG,
        "places": _COUNT,
        "lists": _array(_object({"name": _TEXT, "provider": _TEXT, "currency": _TEXT})),
        "prices": _array(
            _object(
                {
                    "class": _CLASS,
                    "src_zone": _TEXT,
                    "dst_zone": _TEXT,
                    "sender": _OPTIONAL_NUMBER,
                    "receiver": _OPTIONAL_NUMBER,
                    "currency": _TEXT,
                    "unpriced": _TEXT,
                }
            )
        ),
    }
)
_PARTY = _object(dict.fromkeys(("kind", "namespace", "workload_kind", "workload"), _TEXT))
_PROPOSAL = _object(
    {
        "id": _TEXT,
        "rule": _TEXT,
        "title": _TEXT,
        "verdict": {"enum": ["proposed", "warning", "refused", "leave"]},
        "saving_per_month": _MONEY,
        "risks": _TEXTS,
        "confidence": {"enum": ["high", "medium", "low"]},
        "pairs": _array(
            _object(
                {
                    **dict.fromkeys(("client", "server"), _PARTY),
                    "port": _COUNT,
                    "protocol": _TEXT,
                }
            )
        ),
        "all_pairs": _COUNT,
        "window": {"type": ["object", "null"]},
    }
)
_ADVICE = _object(
    {
        "window": _object({"from": _COUNT, "to": _COUNT, "seconds": _NUMBER}),
        "saving_per_month": _MONEY,
        "saved_bytes_per_month": _NUMBER,
        "proposals": _array(_PROPOSAL),
        "of": _COUNT,
        "rules": _array(
            _object({"rule": _TEXT, "signature": _TEXT, "found": _FLAG, "error": _TEXT})
        ),
        "missing": _array(_object({"fact": _TEXT, "why": _TEXT})),
        "unseen_bytes": _COUNT,
        "notes": _TEXTS,
    }
)
_BUDGET = _object(
    {
        "name": _TEXT,
        "amount": _NUMBER,
        "currency": _TEXT,
        "where": {},
        **dict.fromkeys(("used", "used_ratio", "forecast", "forecast_ratio"), _OPTIONAL_NUMBER),
        "unpriced_bytes": _OPTIONAL_COUNT,
        "complete": _FLAG,
        "at": _OPTIONAL_NUMBER,
        "reason": _TEXT,
    }
)
_META = _object(
    {
        "version": _TEXT,
        "cluster": _TEXT,
        "zones": _TEXTS,
        "ranges": _TEXTS,
        "resolution": _COUNT,
        "kept": _COUNTS,
        "prices": {"type": ["array", "null"]},
        "prometheus": {"type": ["string", "null"]},
    }
)
_NOTICES = _object(
    {"notices": _array(_object({"kind": _TEXT, "text": _TEXT, "names": _TEXTS, "hint": _TEXT}))}
)
_EXPLANATION = _object(
    {
        **dict.fromkeys(("time", "node", "node_chosen_by", "verdict", "class"), _TEXT),
        **dict.fromkeys(("reason", "charged_to"), _TEXT),
        "src": _END,
        "dst": _END,
        "retried": _FLAG,
        "why": _TEXTS,
        "advice": _TEXTS,
    }
)
_ROLLOUTS = _object(
    {
        "from": _COUNT,
        "to": _COUNT,
        "watched_from": _NUMBER,
        "rollouts": _array(
            _object(
                {
                    "time": _NUMBER,
                    "until": _NUMBER,
                    **dict.fromkeys(("namespace", "workload_kind", "workload"), _TEXT),
                    "what": {"enum": list(WHATS)},
                    **dict.fromkeys(("before", "after", "via", "text"), _TEXT),
                    "times": _COUNT,
                }
            )
        ),
        "of": _COUNT,
        "notes": _TEXTS,
    }
)
EXPORT = "export"
PAGES: dict[str, Page] = {
    **{topic: _series_page(topic) for topic in api.ROWS},
    "nodes": Page("The totals of each node.", (_LIMIT,), _list("nodes", _NODE), has_tag=True),
    "status": Page("The server as a whole.", (), _STATUS, has_tag=True),
    "addresses": Page(
        "The owner of each address now.",
        (Parameter("address", "An IP address; may be repeated.", is_required=True, is_list=True),),
        _object({"addresses": _array(_OWNER)}),
    ),
    "explain": Page(
        "What kzn makes of a packet from one address to another, and why.",
        (
            Parameter("src", "Sender.", is_required=True),
            Parameter("dst", "Receiver.", is_required=True),
            Parameter("node", "The node that saw it."),
            Parameter("at", "When: how long ago, or RFC 3339."),
            Parameter("via", "The outer destination, if it was sent in a tunnel."),
        ),
        _EXPLANATION,
    ),
    "prices": Page("What a byte costs between the zones of this cluster.", (), _PRICES),
    "traffic": Page(
        "What was sent in a span of the past; rows and other add up to total.",
        (
            *_SPAN,
            Parameter("limit", "Most rows; 50 without it.", _count(MAX_LIMIT)),
            Parameter(
                "compare", "Also the span of the same length before.", {"enum": ["previous"]}
            ),
        ),
        _TRAFFIC,
        has_tag=True,
    ),
    EXPORT: Page(
        "All groups of a span, or without dimensions all flows, as a file.",
        (
            *_SPAN,
            Parameter(
                "limit",
                f"Most rows, {DEFAULT_ROWS} without it; more are an error.",
                {"type": "integer", "minimum": 1, "maximum": MAX_ROWS},
            ),
            Parameter("format", "csv without it.", {"enum": list(FORMATS)}),
        ),
        {},
    ),
    "advice": Page(
        "What would end traffic between zones, and what that saves.",
        (
            Parameter("since", "Length of the window until now; 7d without it."),
            Parameter("service", "NAME or NAMESPACE/NAME."),
            Parameter("workload", "NAME or NAMESPACE/NAME."),
            Parameter("rule", "Name of a rule."),
            Parameter("min_saving", "Money a month.", {"type": "number", "minimum": 0}),
            Parameter("limit", "Most proposals.", _count(1_000)),
            Parameter("id", "Only this one, also if it is not made any more."),
        ),
        _ADVICE,
        has_tag=True,
    ),
    "rollouts": Page(
        "What was rolled out: changes of workloads and Services in a span of the past.",
        (
            Parameter("since", "Length of the span until now; 24h without it."),
            Parameter("from", "Begin of the span: how long ago, Unix seconds, or RFC 3339."),
            Parameter("to", "End of the span; now without it."),
            Parameter("namespace", "Only changes in this one."),
            Parameter("workload", "NAME or NAMESPACE/NAME, of a Service too."),
            Parameter("limit", "Most changes; 200 without it.", _count(rollouts.MAX_LIMIT)),
        ),
        _ROLLOUTS,
        has_tag=True,
    ),
    "budgets": Page(
        "What of each budget is used this month.",
        (),
        _object({"budgets": _array(_BUDGET)}),
        has_tag=True,
    ),
    "meta": Page("What can be asked.", (), _META, has_tag=True),
    "notices": Page("What a reader of the numbers has to know now.", (), _NOTICES, has_tag=True),
    "openapi.json": Page("This document.", (), {"type": "object"}),
}
EXPORT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
"""Content types by format."""


def document() -> dict[str, Any]:
    """The document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kzn server",
            "version": __version__,
            "description": "Which Kubernetes workloads send how many bytes between zones. Bytes"
            " are L3 bytes on the wire. docs/api.md describes each field.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": {
            f"{PREFIX}{name}": {"get": _operation(name, page)} for name, page in PAGES.items()
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": _object({"error": _TEXT}, {"hint": _TEXT}),
            },
        },
    }


def text() -> str:
    """The document as text with a line for each value."""
    return json.dumps(document(), indent=1) + "\n"


def _operation(name: str, page: Page) -> Schema:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    kinds = (
        {kind: {"schema": {}} for kind in EXPORT_TYPES.values()}
        if name == EXPORT
        else {"application/json": {"schema": page.schema}}
    )
    tag = {"headers": {"ETag": _TAG}} if page.has_tag else {}
    unchanged = {"304": {"description": "as in the answer whose ETag is given", **tag}}
    return {
        "operationId": name.removesuffix(".json"),
        "summary": page.text,
        "parameters": [parameter.to_json() for parameter in page.parameters]
        + ([_IF_NONE_MATCH] if page.has_tag else []),
        "responses": {"200": {"description": "The answer.", **tag, "content": kinds}}
        | (unchanged if page.has_tag else {})
        | {status: {"description": why, "content": error} for status, why in _ERRORS.items()},
    }


if __name__ == "__main__":
    sys.stdout.write(text())
