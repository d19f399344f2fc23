"""The shape of every JSON document and record that commands print, and the JSON Schemas made of it.

Job: one row per document (``evmaot.<verb>/<major>``); `evmaot.cli.generate` writes `evmaot/schemas/`.  Invariants:
every command has a row; what a row names is always there, so a program may rely on it; readers ignore names that they
do not know, so a name may be added within a major version, and none is changed or taken away.  May import:
`cli.schema_shapes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from evmaot.cli.schema_shapes import Shape, schema_of

__all__ = ["DOCUMENTS", "PROBLEM", "RECORDS", "all_schemas", "document_schema", "record_schema", "schema_of"]

PROBLEM: Final[Shape] = {
    "code": "text",
    "severity": "text",
    "subject": "text?",
    "message": "text",
    "cause": "text?",
    "hint": "text?",
}

_USAGE: Final = {"count": "count", "size_bytes": "bytes"}
_PROFILE_ROW: Final = {
    "profile": "digest",
    "tier": "text",
    "target": "text",
    "fork": "text",
    "contracts": "count",
    "packs": "count",
    "size_bytes": "bytes",
    "not_loadable": "text?",
    "stale": "text?",
}
_CONTRACT: Final = {
    "code_hash": "hash",
    "code_sha256": "digest",
    "length_bytes": "bytes",
    "label": "text",
    "forks": ["text"],
    "built_for": ["text"],
    "tier": "text",
    "target": "text",
    "profile": "digest",
    "rules": "digest",
    "key": "digest",
    "pack": "digest",
    "slot": "count",
    "symbol": "text",
    "holes": [["count"]],
    "compile_seconds": "seconds",
    "created": "time",
}
_HELD_PROFILE: Final = {**_PROFILE_ROW, "store": "text"}
_HELD_CONTRACT: Final = {**_CONTRACT, "store": "text", "shadowed_by": "text?"}
_PREIMAGE: Final = {
    "schema": "text",
    "abi": "text",
    "compiler": "text",
    "llvm": "text",
    "llvmlite": "text",
    "options": {"linker": "text", "tier": "text"},
    "target": {"cpu": "text", "features": ["text"], "triple": "text"},
}
_UNIT_PREIMAGE: Final = {
    "key": "digest?",
    "profile": {"digest": "digest", **_PREIMAGE},
    "rules": ({"digest": "digest", "gas": ({"*": "number?"}, "any?"), "parameters": ({"*": "any"}, "any?")}, "any?"),
    "code_sha256": "digest?",
    "length_bytes": "count?",
}
_DIFFERENCE: Final = {"field": "text", "wanted": "text", "found": "text"}
_VERDICT: Final = {
    "outcome": "text",
    "reason": "text",
    "message": "text",
    "first_difference": (_DIFFERENCE, "null"),
    "pack": "digest?",
    "slot": "count?",
    "found": (_UNIT_PREIMAGE, "null"),
}
_FRAME: Final = {
    "number": "count",
    "path": ["count"],
    "kind": "text",
    "sender": "text",
    "recipient": "text",
    "code_hash": "hash?",
    "code_size_bytes": "bytes",
    "precompile": "text?",
    "gas": "count",
    "value": "text",
    "is_static": "bool",
    "input": "text",
}
_FORK: Final = {
    "name": "text",
    "title": "text",
    "parent": "text?",
    "aliases": ["text"],
    "eips": ["count"],
    "opcodes": "count",
    "new_opcodes": ["text"],
    "default": "bool",
}
_AMOUNT: Final = {"packs": "count", "artifacts": "count", "size_bytes": "bytes"}
_IMPORT: Final = {
    "source": "text",
    "signed_by": "text?",
    "comment": "text?",
    "new": [
        {
            "pack": "digest",
            "profile": "digest",
            "tier": "text",
            "target": "text",
            "artifacts": "count",
            "size_bytes": "bytes",
            "not_loadable": "text?",
        }
    ],
    "known": ["digest"],
    "refused": [{"pack": "digest", "reason": "text", "message": "text"}],
}
_PIN: Final = {"name": "text", "created": "time", "artifacts": "count"}
_PATH: Final = {"path": "text?", "exists": "bool"}
_ORIGIN: Final = {"kind": "text", "detail": "text"}

DOCUMENTS: Final[Mapping[str, Shape]] = {
    "build": {
        "store": "text",
        "profile": "text?",
        "forks": ["text"],
        "tier": "text?",
        "target": "text?",
        "profiles": [
            {"profile": "text", "tier": "text", "target": "text", "counts": {"*": "count"}, "seconds": "seconds"}
        ],
        "linker": "text",
        "dry_run": "bool",
        "interrupted": "bool",
        "sources": "count",
        "distinct_codes": "count",
        "undeployed": "count",
        "denied_unmatched": "count",
        "problems_omitted": {"*": "count"},
        "contract_forks": "count",
        "counts": {"*": "count"},
        "forks_served": {"*": "count"},
        "units": [
            {
                "key": "digest",
                "profile": "text",
                "status": "text",
                "label": "text",
                "labels": ["text"],
                "sources": "count",
                "heat": "count",
                "code_hash": "hash?",
                "code_sha256": "digest",
                "code_size_bytes": "bytes",
                "forks": ["text"],
                "rules": "digest",
                "holes": [["count"]],
                "codes": "count",
                "template_refusal": "text?",
                "reason": "text?",
                "message": "text?",
                "remembered": "bool",
                "seconds": "seconds",
                "phase_seconds": {"*": "seconds"},
                "object_size_bytes": "bytes",
                "pack": "text?",
            }
        ],
        "packs": [
            {
                "pack": "digest",
                "path": "text",
                "size_bytes": "bytes",
                "members": "count",
                "link_seconds": "seconds",
                "publish_seconds": "seconds",
            }
        ],
        "seconds": "seconds",
    },
    "ls": (
        {"profiles": [_HELD_PROFILE], "totals": {"contracts": "count", "packs": "count", "size_bytes": "bytes"}},
        {"contracts": [_HELD_CONTRACT], "totals": {"contracts": "count", "shown": "count"}},
    ),
    "show": {
        "contracts": [_HELD_CONTRACT],
        "packs": [
            {
                "store": "text",
                "pack": "digest",
                "size_bytes": "bytes",
                "soname": "text",
                "members": "count",
                "profile": "digest",
                "tier": "text",
                "target": "text",
                "created": "time",
                "origin": {"kind": "text", "builder": "text", "host": "text", "signed_by": "text?"},
                "manifest": "text",
                "library": "text",
                "not_loadable": "text?",
                "contracts": [_HELD_CONTRACT],
            }
        ],
        "profiles": [{"store": "text", "profile": "digest", "preimage": _PREIMAGE}],
        "texts": [{"kind": "text", "code_hash": "digest", "pack": "digest", "text": "text"}],
    },
    "fetch": {"output": "text", "accounts": "count", "block_number": "count?", "chain_id": "count?"},
    "explain": {
        "store": "text",
        "code_hash": "hash",
        "fork": "text",
        "lookup": _VERDICT,
        "build": _VERDICT,
        "wanted": _UNIT_PREIMAGE,
        "candidates": [{**_CONTRACT, "not_loadable": "text?", "differences": [_DIFFERENCE]}],
        "failure": (
            {
                "reason": "text",
                "message": "text",
                "label": "text",
                "created": "time",
                "timeout_seconds": "seconds",
                "memory_limit_bytes": "bytes",
            },
            "null",
        ),
        "hint": "text?",
    },
    "verify": {
        "level": "text",
        "packs": "count",
        "contracts": "count",
        "size_bytes": "bytes",
        "errors": "count",
        "unchecked": "count",
        "notes": "count",
        "execution": ("null", {"artifacts": "count", "calls": "count", "frames": "count"}),
        "repairs": [{"subject": "text", "code": "text", "action": "text", "message": "text"}],
        "seconds": "seconds",
    },
    "gc": {
        "done": "bool",
        "removed": [
            {"pack": "digest", "profile": "digest", "artifacts": "count", "size_bytes": "bytes", "reason": "text"}
        ],
        "artifacts_removed": "count",
        "failures_forgotten": "count",
        "leftovers_bytes": "bytes",
        "quarantine_bytes": "bytes",
        "size_before_bytes": "bytes",
        "size_after_bytes": "bytes",
        "freed_bytes": "bytes",
        "disk_free_bytes": "bytes",
        "packs_pinned": "count",
        "packs_young": "count",
        "limits_not_met": ["text"],
        "repacked": (
            {"packs_before": "count", "packs_after": "count", "artifacts": "count", "left": {"*": "count"}},
            "null",
        ),
    },
    "pin": _PIN,
    "unpin": {"removed": ["text"]},
    "pins": {"pins": [{**_PIN, "missing": "count", "packs": "count", "size_bytes": "bytes"}]},
    "clear": {
        "done": "bool",
        "artifacts_removed": "count",
        "artifacts_kept_for_other_forks": "count",
        "artifacts_kept_for_pins": "count",
        "artifacts_in_layers": "count",
        "packs_removed": "count",
        "failures_forgotten": "count",
        "bytes_freed": "bytes",
    },
    "export": {"output": "text", **_AMOUNT, "signature": "text?", "key": "text?"},
    "import": _IMPORT,
    "pull": _IMPORT,
    "keygen": {"secret_key_file": "text", "public_key_file": "text", "public_key": "text", "key": "text"},
    "stats": {
        "store": {"path": "text", "id": "text?", "created": "time?", "format": "count?"},
        "contracts": "count",
        "code_bytes": "bytes",
        "artifacts": "count",
        "packs": "count",
        "libraries": "count",
        "size_bytes": "bytes",
        "oldest": "time?",
        "newest": "time?",
        "profiles": [
            {
                "profile": "digest",
                "tier": "text",
                "target": "text",
                "llvm": "text",
                "not_loadable": "text?",
                "stale": "text?",
                "artifacts": "count",
                "packs": "count",
                "size_bytes": "bytes",
            }
        ],
        "tiers": [{"tier": "text", **_AMOUNT}],
        "forks": [{"fork": "text", "artifacts": "count", "built_for": "count"}],
        "stale": {"artifacts": "count", "size_bytes": "bytes"},
        "failures": {"count": "count", "reasons": {"*": "count"}},
        "quarantine": _USAGE,
        "unreferenced": _USAGE,
        "not_used": _USAGE,
        "left_over": _USAGE,
        "pins": ["text"],
        "layers": [{"store": "text", "artifacts": "count", "packs": "count", "size_bytes": "bytes"}],
        "disk": {"total_bytes": "bytes", "free_bytes": "bytes"},
        "last_gc": "time?",
    },
    "preload": {
        "store": "text",
        "layers": ["text"],
        "mapping": "text",
        "programs": "count",
        "contracts": "count",
        "libraries": "count",
        "size_bytes": "bytes",
        "resident_bytes": "bytes",
        "seconds": {"*": "seconds"},
        "skipped": [{"reason": "text", "subject": "text", "message": "text", "is_refusal": "bool"}],
    },
    "path": {"store": _PATH, "config": _PATH, "project": _PATH},
    "run": {
        "name": "text?",
        "fork": "text",
        "status": "text",
        "succeeded": "bool",
        "failure": "text?",
        "gas_used": "count",
        "gas_left": "count",
        "refund": "number",
        "output": "text",
        "logs": [{"address": "text", "topics": ["hash"], "data": "text"}],
        "state": {"*": "any"},
        "native_frames": "count",
        "programs": {"stored": "count", "compiled": "count"},
        "seconds": {"compile": "seconds", "run": "seconds"},
    },
    "bench": {
        "name": "text?",
        "fork": "text",
        "status": "text",
        "failure": "text?",
        "gas_used": "count",
        "code_size_bytes": "bytes",
        "native_frames": "count",
        "engines": [
            {
                "engine": "text",
                "code": "text?",
                "compile_seconds": "seconds?",
                "messages": "count",
                "batches": "count",
                "median_seconds": "seconds",
                "best_seconds": "seconds",
                "quartile_seconds": ["seconds"],
                "gas_used": "count",
                "gas_per_second": "count?",
                "ratio": "number?",
                "note": "text?",
            }
        ],
        "left_out": [{"engine": "text", "reason": "text"}],
        "results_differ": "bool",
    },
    "dump": {"stage": "text", "fork": "text", "tier": "text", "text": "text"},
    "forks": [_FORK],
    "forks.show": {**_FORK, "opcode_gas": {"*": "count?"}, "parameters": {"*": "any"}},
    "forks.diff": {"first": "text", "second": "text", "opcodes": {"*": ["count?"]}, "parameters": {"*": ["any"]}},
    "statetest": {
        "forks": [
            {
                "fork": "text",
                "cases": "count",
                "passed": "count",
                "failed": "count",
                "native_frames": "count",
                "seconds": "seconds",
            }
        ],
        "failures": [
            {
                "test": "text",
                "file": "text",
                "fork_name": "text",
                "index": "count",
                "passed": "bool",
                "problem": "text",
                "native_frames": "count",
                "seconds": "seconds",
                "mode": "text",
            }
        ],
        "traces": [
            {
                "test": "text",
                "fork": "text",
                "index": "count",
                "mode": "text",
                "frames": "count",
                "is_complete": "bool",
                "native_problem": "text",
                "interpreter_problem": "text",
                "difference": (
                    "null",
                    {
                        "frame": _FRAME,
                        "moment": "text",
                        "differences": [{"what": "text", "native": "text", "eels": "text"}],
                        "callers": [_FRAME],
                    },
                ),
            }
        ],
        "cases": "count",
        "seconds": "seconds",
    },
    "doctor": {
        "checks": [{"name": "text", "health": "text", "message": "text", "hint": "text?"}],
        "errors": "count",
        "warnings": "count",
    },
    "config.show": {
        "settings": [
            {"key": "text", "value": "any", "text": "text", "origin": _ORIGIN, "variable": "text", "in_project": "bool"}
        ],
        "files": [{"kind": "text", "path": "text"}],
    },
    "completion": {"shell": "text", "text": "text"},
    "man": {"page": "text", "text": "text"},
}
"""What stands in ``data``, by verb."""

RECORDS: Final[Mapping[str, Shape]] = {
    "ls.profile": _HELD_PROFILE,
    "ls.contract": _HELD_CONTRACT,
    "ls.summary": (
        {"contracts": "count", "packs": "count", "size_bytes": "bytes"},
        {"contracts": "count", "shown": "count"},
    ),
}
"""Lines of --jsonl, without their ``schema``."""


def _head(name: str, what: str) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"evmaot.{name}/1",
        "title": what,
    }


def document_schema(name: str) -> dict[str, Any]:
    """The schema of what ``evmaot NAME --json`` prints; ``data`` is null where the command failed."""
    envelope = {
        "schema": {"const": f"evmaot.{name}/1"},
        "evmaot": {"type": "string", "description": "version of the program"},
        "ok": {"type": "boolean"},
        "data": {"anyOf": [schema_of(DOCUMENTS[name]), {"type": "null"}]},
        "problems": schema_of([PROBLEM]),
    }
    title = f"What evmaot {name.replace('.', ' ')} --json prints"
    return {**_head(name, title), "type": "object", "required": list(envelope), "properties": envelope}


def record_schema(name: str) -> dict[str, Any]:
    """The schema of a line of --jsonl."""
    shapes = RECORDS[name] if isinstance(RECORDS[name], tuple) else (RECORDS[name],)
    constant = {"schema": {"const": f"evmaot.{name}/1"}}
    choices = []
    for shape in shapes:
        found = schema_of(shape)
        choices.append(
            {**found, "required": ["schema", *found["required"]], "properties": constant | found["properties"]}
        )
    body = choices[0] if len(choices) == 1 else {"anyOf": choices}
    return {**_head(name, f"A line of evmaot {name.partition('.')[0]} --jsonl"), **body}


def all_schemas() -> dict[str, dict[str, Any]]:
    """Every schema by its file's name without ``.json``."""
    return {name: document_schema(name) for name in DOCUMENTS} | {name: record_schema(name) for name in RECORDS}
