"""`evmaot show`: one artifact, pack, profile or contract of the store.

Job: find what a name means and render it.  Invariant: reads documents only.  May import:
`evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.options import StoredName
from evmaot.cli.output import Column, counted, human_size
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.cli.listing import Found
    from evmaot.store.directory import ArtifactDirectory
    from evmaot.store.index import Entry, Pack, StoreIndex
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
    from evmaot.cli.listing import find
    from evmaot.cli.stores import open_store, refusal_problems, warn_of_refusals

    store = open_store(invocation)
    index = store.index()
    found = find(index, name)
    if not (found.members or found.packs or found.profiles):
        raise UsageError(
            "not_in_store",
            f"nothing in the store is called {name!r}",
            context={"store": str(invocation.settings.store)},
            hint=_hint(index, name),
        )
    texts = _texts(invocation, store, found, disasm=disasm, ir=ir)
    if invocation.output.as_json:
        invocation.output.document("show", {**_as_data(found), "texts": texts}, refusal_problems(index))
    elif texts:
        for text in texts:
            invocation.output.data(f"; 0x{text['code_hash']}, {text['kind']}, pack {text['pack'][:16]}".rstrip())
            invocation.output.data(text["text"])
    elif found.packs:
        for pack in found.packs:
            _show_pack(invocation, pack)
    elif found.profiles:
        packs = [pack for pack in index.packs if pack.profile in found.profiles]
        for profile in found.profiles:
            _show_profile(invocation, profile, [pack for pack in packs if pack.profile == profile])
    else:
        _show_members(invocation, found.members)
    warn_of_refusals(invocation, index)


def _hint(index: StoreIndex, name: str) -> str:
    if re.fullmatch(r"0[xX][0-9a-fA-F]{64}", name) and any(entry.member.holes for entry in index):
        return "see: evmaot ls --contracts; whether a template serves the code with that hash: evmaot explain FILE"
    return "see: evmaot ls --contracts"


def _texts(
    invocation: Invocation, store: ArtifactDirectory, found: Found, *, disasm: bool, ir: bool
) -> list[dict[str, str]]:
    """Machine code and IR of the one code that is meant, for each of its artifacts."""
    from evmaot.cli.machine_code import disassembly, intermediate_code
    from evmaot.toolchain import stale_in

    if not (disasm or ir):
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


def _as_data(found: Found) -> dict[str, Any]:
    from evmaot.cli.listing import member_data, pack_data
    from evmaot.store.index import Entry
    from evmaot.store.serving import ServedForks

    served = ServedForks()
    packs = []
    for pack in found.packs:
        members = [member_data(Entry(pack, member), served) for member in pack.manifest.members]
        packs.append({**pack_data(pack), "contracts": members})
    return {
        "contracts": [member_data(entry, served) for entry in found.members],
        "packs": packs,
        "profiles": [{"profile": item.digest, "preimage": item.profile.preimage()} for item in found.profiles],
    }


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
