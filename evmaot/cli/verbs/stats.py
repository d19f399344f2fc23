"""`evmaot stats`: what the store holds and takes, summed up.

Job: add up the index and what lies beside the packs.  Invariants: reads manifests and names, no library; cheap for
100,000 contracts.  May import: `evmaot.store`, `evmaot.toolchain`, `evmaot.cli`, click.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.files import existing
from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.output import Column, counted, human_size

if TYPE_CHECKING:
    from pathlib import Path

    from evmaot.cli.stores import Place
    from evmaot.store.index import StoreIndex
    from evmaot.store.usage import StoreUsage, Usage


@click.command("stats", cls=Verb)
@pass_invocation
def command(invocation: Invocation) -> None:
    """Sum up what the store holds and takes.

    Contracts are distinct code hashes; a contract has an artifact for each profile and each set of rules that it was
    compiled for. For each fork: the artifacts that serve it, and those that were BUILT for it by name. Stale artifacts
    are those that this version of evmaot would compile anew. Layers have a line each, and are in no other number.
    """
    from evmaot.cli.stores import layer_places, refusal_problems, store_or_none, warn_of_refusals
    from evmaot.store.collection import last_collection
    from evmaot.store.index import StoreIndex
    from evmaot.store.usage import NOTHING, store_usage

    store = store_or_none(invocation)
    index = StoreIndex((), ()) if store is None else store.index()
    libraries = (pack.manifest.object.sha256 for pack in index.packs)
    root = invocation.settings.store if store is None else store.paths.root
    data = {
        "store": {
            "path": str(root),
            "id": None if store is None else store.document.id,
            "created": None if store is None else store.document.created,
            "format": None if store is None else store.document.writer_min,
        },
        **_totals(index),
        **_beside(NOTHING if store is None else store_usage(store.files, libraries)),
        "layers": [_layer(place) for place in layer_places(invocation)],
        "disk": _disk(root),
        "last_gc": None if store is None else _time(last_collection(store.files)),
    }
    if invocation.output.as_json:
        invocation.output.document("stats", data, refusal_problems(index))
    else:
        _tell(invocation, data)
    warn_of_refusals(invocation, index)


def _totals(index: StoreIndex) -> dict[str, Any]:
    """Sums over packs: all, by profile, by tier, by fork."""
    libraries = {pack.manifest.object.sha256: pack.manifest.object.size for pack in index.packs}
    codes: set[str] = set()
    code_bytes = 0
    for pack in index.packs:
        for member in pack.manifest.members:
            if member.code_hash not in codes:
                codes.add(member.code_hash)
                code_bytes += member.length
    created = sorted(pack.manifest.created for pack in index.packs)
    profiles = _by_profile(index)
    return {
        "contracts": len(codes),
        "code_bytes": code_bytes,
        "artifacts": len(index),
        "packs": len(index.packs),
        "libraries": len(libraries),
        "size_bytes": sum(libraries.values()),
        "oldest": created[0] if created else None,
        "newest": created[-1] if created else None,
        "profiles": profiles,
        "tiers": _by_tier(profiles),
        "forks": _by_fork(index),
        "stale": {
            "artifacts": sum(row["artifacts"] for row in profiles if row["stale"]),
            "size_bytes": sum(row["size_bytes"] for row in profiles if row["stale"]),
        },
    }


def _by_profile(index: StoreIndex) -> list[dict[str, Any]]:
    from evmaot.cli.listing import target_of, why_not_here
    from evmaot.toolchain import stale_in

    rows: dict[str, dict[str, Any]] = {}
    for pack in index.packs:
        profile = pack.profile.profile
        row = rows.get(pack.profile.short)
        if row is None:
            row = rows[pack.profile.short] = {
                "profile": pack.profile.digest,
                "tier": profile.tier,
                "target": target_of(profile),
                "llvm": profile.llvm,
                "not_loadable": why_not_here(profile),
                "stale": stale_in(profile),
                "artifacts": 0,
                "packs": 0,
                "size_bytes": 0,
            }
        row["artifacts"] += len(pack.manifest.members)
        row["packs"] += 1
        row["size_bytes"] += pack.manifest.object.size
    return [rows[short] for short in sorted(rows)]


def _by_tier(profiles: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in profiles:
        tier = found.setdefault(row["tier"], {"tier": row["tier"], "artifacts": 0, "packs": 0, "size_bytes": 0})
        for name in ("artifacts", "packs", "size_bytes"):
            tier[name] += row[name]
    return [found[name] for name in sorted(found)]


def _by_fork(index: StoreIndex) -> list[dict[str, Any]]:
    from evmaot.evm.forks import FORKS
    from evmaot.store.serving import ServedForks

    kinds: Counter[tuple[str, str, tuple[str, ...]]] = Counter()
    built: Counter[str] = Counter()
    for pack in index.packs:
        members = pack.manifest.members
        kinds.update((member.opcodes, member.rules, member.forks) for member in members)
        for forks, number in Counter(member.forks for member in members).items():
            built.update(dict.fromkeys(forks, number))
    served = ServedForks()
    serving: Counter[str] = Counter()
    for (opcodes, rules, likely), number in kinds.items():
        for fork in served.of(opcodes, rules, likely):
            serving[fork] += number
    names = [*FORKS, *sorted(set(built) - set(FORKS))]
    return [
        {"fork": name, "artifacts": serving[name], "built_for": built[name]}
        for name in names
        if serving[name] or built[name]
    ]


def _beside(usage: StoreUsage) -> dict[str, Any]:
    def data(one: Usage) -> dict[str, int]:
        return {"count": one.count, "size_bytes": one.size_bytes}

    return {
        "failures": {"count": usage.failures, "reasons": dict(usage.failure_reasons)},
        "quarantine": data(usage.quarantined),
        "unreferenced": data(usage.unreferenced),
        "not_used": data(usage.not_used),
        "left_over": data(usage.left_over),
        "pins": list(usage.pins),
    }


def _layer(place: Place) -> dict[str, Any]:
    packs = [pack for held in place.summary().packs.values() for pack in held.values()]
    return {
        "store": str(place.path),
        "artifacts": sum(pack.members for pack in packs),
        "packs": len(packs),
        "size_bytes": sum(pack.size_bytes for pack in packs),
    }


def _time(seconds: float | None) -> str | None:
    from evmaot.store.files import timestamp

    return None if seconds is None else timestamp(seconds)


def _disk(path: Path) -> dict[str, int]:
    disk = shutil.disk_usage(existing(path))
    return {"total_bytes": disk.total, "free_bytes": disk.free}


def _tell(invocation: Invocation, data: dict[str, Any]) -> None:
    output = invocation.output
    output.fields(_rows(data))
    if not data["profiles"]:
        output.say("hint: evmaot build --fork osaka INPUT...")
        return
    output.data("")
    columns = (
        Column("PROFILE"),
        Column("TIER", drop_rank=2),
        Column("TARGET", shrinks=True, drop_rank=3),
        Column("LOADS", shrinks=True, least=13),
        Column("STALE", shrinks=True, drop_rank=1),
        Column("ARTIFACTS", right=True),
        Column("PACKS", right=True, drop_rank=4),
        Column("SIZE", right=True),
    )
    output.table(
        columns,
        [
            (
                row["profile"][:8],
                row["tier"],
                row["target"],
                (row["not_loadable"] or "yes").partition(":")[0],
                row["stale"] or "no",
                f"{row['artifacts']:,}",
                f"{row['packs']:,}",
                human_size(row["size_bytes"]),
            )
            for row in data["profiles"]
        ],
    )
    output.data("")
    fork_columns = (
        Column("FORK", shrinks=True, least=17),
        Column("ARTIFACTS", right=True),
        Column("BUILT", right=True),
    )
    output.table(fork_columns, _fork_cells(data["forks"]))


def _fork_cells(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """A row for each run of neighbouring forks with the same numbers."""
    cells: list[tuple[str, str, str, str]] = []
    for row in rows:
        numbers = (f"{row['artifacts']:,}", f"{row['built_for']:,}")
        if cells and cells[-1][2:] == numbers:
            cells[-1] = (cells[-1][0], row["fork"], *numbers)
        else:
            cells.append((row["fork"], row["fork"], *numbers))
    return [(one if one == last else f"{one}..{last}", serving, built) for one, last, serving, built in cells]


def _rows(data: dict[str, Any]) -> list[tuple[str, str]]:
    packs = counted(data["packs"], "pack")
    holds = f"{counted(data['contracts'], 'contract')} as {counted(data['artifacts'], 'artifact')} in {packs}"
    disk, reasons = data["disk"], data["failures"]["reasons"]
    why = " (" + ", ".join(f"{name} {number:,}" for name, number in reasons.items()) + ")" if reasons else ""
    rows = [
        ("store", data["store"]["path"] + ("" if data["store"]["id"] else " (not there yet)")),
        ("holds", holds),
        ("size", f"{human_size(data['size_bytes'])} of machine code for {human_size(data['code_bytes'])} of bytecode"),
        ("disk", f"{human_size(disk['free_bytes'])} free of {human_size(disk['total_bytes'])}"),
        ("built", _built(data["oldest"], data["newest"])),
        ("stale", _amount(data["stale"]["artifacts"], "artifact", data["stale"]["size_bytes"])),
        ("pins", f"{len(data['pins'])} ({', '.join(data['pins'])})" if data["pins"] else "none"),
        ("failures", f"{data['failures']['count']:,} remembered{why}" if data["failures"]["count"] else "none"),
        ("last gc", data["last_gc"] or "never"),
        ("quarantine", _amount(data["quarantine"]["count"], "pack", data["quarantine"]["size_bytes"])),
    ]
    for name, noun in (("not_used", "library"), ("unreferenced", "library"), ("left_over", "file")):
        if data[name]["count"]:
            plural = "libraries" if noun == "library" else ""
            rows.append((name.replace("_", " "), _amount(data[name]["count"], noun, data[name]["size_bytes"], plural)))
    for number, row in enumerate(data["layers"], 1):
        rows.append((f"layer {number}", f"{row['store']}: {_amount(row['artifacts'], 'artifact', row['size_bytes'])}"))
    return rows


def _built(oldest: str | None, newest: str | None) -> str:
    if oldest is None:
        return "-"
    return oldest if oldest == newest else f"{oldest} to {newest}"


def _amount(count: int, noun: str, size_bytes: int, plural: str = "") -> str:
    return f"{counted(count, noun, plural)}, {human_size(size_bytes)}" if count else "none"
