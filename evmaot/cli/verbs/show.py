"""`evmaot show`: one artifact, pack, profile or contract of the store.

Job: find what a name means and render it.  Invariant: reads documents only.  May import:
`evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.options import StoredName
from evmaot.cli.output import Column, counted, human_size
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.cli.listing import Found
    from evmaot.cli.stores import Place
    from evmaot.store.index import Entry, MemberKey, Pack, StoreIndex
    from evmaot.store.keys import StoredProfile

_MOST_MEMBERS = 50
"""Contracts that are shown in full; more are a table."""


@click.command("show", cls=Verb)
@click.argument("name", type=StoredName("packs", "profiles"))
@click.option("--disasm", is_flag=True, help="The machine code of the contract, as objdump reads it.")
@click.option(
    "--ir", is_flag=True, help="The LLVM IR of the contract, made anew from the bytecode that the pack keeps."
)
@pass_invocation
def command(invocation: Invocation, name: str, disasm: bool, ir: bool) -> None:
    """Show what the store holds under a name: manifest, members, sizes, forks served.

    NAME is the first digits of a code hash (with 0x), of a pack, of a profile, of the SHA-256 of a code or of a unit
    key; or a glob of labels.
    """
    from evmaot.cli.listing import find, shadowing
    from evmaot.cli.stores import Place, layer_places, open_store, refusal_problems, store_or_none, warn_of_refusals

    layers = layer_places(invocation)
    own = store_or_none(invocation) if layers else open_store(invocation)
    stores = [Place(invocation.settings.store, "store", own), *layers]
    indexes = [place.index() for place in stores]
    held = [Held(place, index, find(index, name)) for place, index in zip(stores, indexes, strict=True)]
    held = [one for one in held if one.found]
    if not held:
        raise UsageError(
            "not_in_store",
            f"nothing in the store is called {name!r}",
            context={"store": str(invocation.settings.store)},
            hint=_hint(indexes[0], name),
        )
    texts = _texts(invocation, held[0], disasm=disasm, ir=ir)
    if invocation.output.as_json:
        data = _as_data(held, shadowing(stores, indexes))
        problems = [problem for index in indexes for problem in refusal_problems(index)]
        invocation.output.document("show", {**data, "texts": texts}, problems)
    elif texts:
        for text in texts:
            invocation.output.data(f"; 0x{text['code_hash']}, {text['kind']}, pack {text['pack'][:16]}".rstrip())
            invocation.output.data(text["text"])
    else:
        for number, one in enumerate(held):
            if len(stores) > 1:
                invocation.output.data(("\n" if number else "") + f"in {one.place.path} ({one.place.name}):")
            _show(invocation, one)
    for index in indexes:
        warn_of_refusals(invocation, index)


@dataclass(frozen=True, slots=True)
class Held:
    """What one store has under a name."""

    place: Place
    index: StoreIndex
    found: Found


def _show(invocation: Invocation, held: Held) -> None:
    found = held.found
    if found.packs:
        for pack in found.packs:
            _show_pack(invocation, pack)
    elif found.profiles:
        packs = [pack for pack in held.index.packs if pack.profile in found.profiles]
        for profile in found.profiles:
            _show_profile(invocation, profile, [pack for pack in packs if pack.profile == profile])
    else:
        _show_members(invocation, found.members)


def _hint(index: StoreIndex, name: str) -> str:
    if re.fullmatch(r"0[xX][0-9a-fA-F]{64}", name) and any(entry.member.holes for entry in index):
        return "see: evmaot ls --contracts; whether a template serves the code with that hash: evmaot explain FILE"
    return "see: evmaot ls --contracts"


def _texts(invocation: Invocation, held: Held, *, disasm: bool, ir: bool) -> list[dict[str, str]]:
    """Machine code and IR of the one code that is meant, for each of its artifacts."""
    from evmaot.cli.machine_code import disassembly, intermediate_code
    from evmaot.toolchain import stale_in

    store, found = held.place.store, held.found
    if store is None or not (disasm or ir):
        return []
    if len({entry.member.code_sha256 for entry in found.members}) != 1:
        hint = "give the code hash of one contract; see: evmaot ls --contracts"
        raise UsageError("not_one_contract", "--disasm and --ir are about one contract", hint=hint)
    rows = []
    for entry in found.members:
        wanted = [("machine code", disassembly)] * disasm + [("LLVM IR", intermediate_code)] * ir
        if ir and stale_in(entry.pack.profile.profile):
            invocation.output.warn("warning: the IR is this compiler's, another one made the artifact", style="yellow")
        for kind, make in wanted:
            text = make(store, entry)
            sha256 = entry.pack.manifest.object.sha256
            rows.append({"kind": kind, "code_hash": entry.member.code_hash, "pack": sha256, "text": text})
    return rows


def _as_data(held: Sequence[Held], first: Mapping[MemberKey, str]) -> dict[str, Any]:
    from evmaot.cli.listing import held_data, pack_data
    from evmaot.store.index import Entry
    from evmaot.store.serving import ServedForks

    served = ServedForks()
    data: dict[str, list[dict[str, Any]]] = {"contracts": [], "packs": [], "profiles": []}
    for one in held:
        store = str(one.place.path)
        data["contracts"] += [held_data(entry, served, one.place, first) for entry in one.found.members]
        for pack in one.found.packs:
            entries = [Entry(pack, member) for member in pack.manifest.members]
            members = [held_data(entry, served, one.place, first) for entry in entries]
            data["packs"].append({"store": store, **pack_data(pack), "contracts": members})
        data["profiles"] += [
            {"store": store, "profile": item.digest, "preimage": item.profile.preimage()} for item in one.found.profiles
        ]
    return data


def _show_members(invocation: Invocation, entries: Sequence[Entry]) -> None:
    from evmaot.cli.listing import fork_ranges, member_data, why_not_here
    from evmaot.store.serving import ServedForks

    if len(entries) > _MOST_MEMBERS:
        _member_table(invocation, entries)
        return
    served = ServedForks()
    for number, entry in enumerate(entries):
        if number:
            invocation.output.data("")
        row = member_data(entry, served)
        holes = ", ".join(f"{length} at {offset}" for offset, length in row["holes"])
        invocation.output.fields(
            (
                ("contract", row["code_hash"]),
                ("label", row["label"] or "-"),
                ("code", f"{row['length_bytes']:,} bytes, {'digest' if holes else 'SHA-256'} {row['code_sha256']}"),
                ("serves", fork_ranges(row["forks"])),
                ("built for", fork_ranges(row["built_for"])),
                ("rules", row["rules"]),
                ("key", row["key"]),
                *((("template", f"any code like it, whatever it holds in these bytes: {holes}"),) if holes else ()),
                ("tier", row["tier"]),
                ("target", row["target"]),
                ("loads here", why_not_here(entry.pack.profile.profile) or "yes"),
                ("profile", row["profile"]),
                ("pack", f"{row['pack']} slot {row['slot']}"),
                ("symbol", row["symbol"]),
                ("compiled", f"{row['created']} in {row['compile_seconds']:.2f} s"),
                ("library", str(entry.pack.object_path)),
            ),
        )


def _member_table(invocation: Invocation, entries: Sequence[Entry]) -> None:
    from evmaot.cli.listing import fork_ranges
    from evmaot.store.serving import ServedForks

    served = ServedForks()
    columns = (
        Column("CODE HASH"),
        Column("BYTES", right=True),
        Column("SERVES", shrinks=True),
        Column("LABEL", shrinks=True),
    )
    rows = [
        (
            f"0x{member.code_hash[:12]}",
            str(member.length),
            fork_ranges(served(member)),
            (member.label or "-") + (" (template)" if member.holes else ""),
        )
        for _, member in entries
    ]
    invocation.output.table(columns, rows)


def _show_pack(invocation: Invocation, pack: Pack) -> None:
    from evmaot.cli.listing import pack_data
    from evmaot.store.index import Entry

    row = pack_data(pack)
    invocation.output.fields(
        (
            ("pack", row["pack"]),
            ("size", human_size(row["size_bytes"])),
            ("contracts", f"{row['members']:,}"),
            ("tier", row["tier"]),
            ("target", row["target"]),
            ("loads here", row["not_loadable"] or "yes"),
            ("profile", row["profile"]),
            ("created", row["created"]),
            ("origin", " ".join(text for name, text in row["origin"].items() if text and name != "signed_by")),
            ("signed by", row["origin"]["signed_by"] or ("nobody" if pack.manifest.origin.is_unsigned else "-")),
            ("soname", row["soname"]),
            ("manifest", row["manifest"]),
            ("library", row["library"]),
        ),
    )
    invocation.output.data("")
    _member_table(invocation, [Entry(pack, member) for member in pack.manifest.members])


def _show_profile(invocation: Invocation, stored: StoredProfile, packs: Sequence[Pack]) -> None:
    from evmaot.cli.listing import target_of, why_not_here

    profile = stored.profile
    size_bytes = sum(pack.manifest.object.size for pack in packs)
    contracts = sum(len(pack.manifest.members) for pack in packs)
    invocation.output.fields(
        (
            ("profile", stored.digest),
            ("tier", profile.tier),
            ("target", target_of(profile)),
            ("features", " ".join(profile.features) or "-"),
            ("loads here", why_not_here(profile) or "yes"),
            ("compiler", profile.compiler),
            ("llvm", f"{profile.llvm} (llvmlite {profile.llvmlite})"),
            ("linker", profile.linker),
            ("abi", profile.abi),
            ("holds", f"{counted(contracts, 'artifact')} in {counted(len(packs), 'pack')}, {human_size(size_bytes)}"),
        ),
    )
