"""`evmaot explain`: why a look-up hits or misses here.

Job: find the code hash that is meant, ask `evmaot.explanation`, render.  Invariant: writes nothing.  May import:
`evmaot.explanation`, `evmaot.store`, `evmaot.toolchain`, `evmaot.cli`, click.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation, setting_option
from evmaot.cli.options import fork_option
from evmaot.cli.output import Column
from evmaot.errors import StoreError, UsageError

if TYPE_CHECKING:
    from evmaot.evm.forks import Fork
    from evmaot.explanation import Candidate, Explanation, Question, Verdict
    from evmaot.store.index import StoreIndex
    from evmaot.toolchain import Toolchain

EMPTY = 7
"""Exit code of --error-if-empty."""
_COLORS = {"hit": "green", "miss": "yellow", "refused": "red"}


@click.command("explain", cls=Verb)
@click.argument("code", type=click.Path(), metavar="CODE")
@fork_option("The fork of the look-up (default: the last of the configured ones).")
@click.option("--contract", metavar="GLOB", help="The contract of an input that holds several.")
@setting_option("tiers", "--opt", metavar="TIER", help="The tier that a build would compile: fast or optimised.")
@setting_option("targets", "--target", metavar="TARGET", help="The machine that a build would compile for.")
@click.option("--error-if-empty", is_flag=True, help="Exit with 7 where the look-up does not hit.")
@click.pass_context
@pass_invocation
def command(
    invocation: Invocation,
    context: click.Context,
    code: str,
    fork: Fork | None,
    contract: str | None,
    error_if_empty: bool,
) -> None:
    """Say why a look-up hits or misses on this machine.

    CODE is a code hash (0x and 64 digits, or the first digits of one in the store), the code itself (0x and more
    digits), or a file with it. Two answers are given: what the runtime finds, and what a build with these options would
    do. Behind each miss is the first field that differs; --json gives both preimages whole.

    A deployment that a template serves has a hash of its own, which is not in the store: give its code.
    """
    from evmaot.cli.stores import open_layers, open_store
    from evmaot.evm.forks import forks_selected
    from evmaot.explanation import Outcome, explain, explain_without_store
    from evmaot.store.index import StoreIndex

    chosen = fork or forks_selected(",".join(invocation.settings.forks))[-1]
    place = invocation.settings.store
    try:
        store = open_store(invocation)
    except StoreError as error:
        if re.fullmatch(r"0[xX][0-9a-fA-F]{1,63}", code):
            raise  # only what the store holds could complete these digits
        question = _question(invocation, StoreIndex((), ()), code, chosen, contract)
        question = replace(question, require_signed=invocation.settings.require_signed)
        answer, layers = explain_without_store(question, error), error.reference == "store_missing"
    else:
        index = store.index()
        question = _question(invocation, index, code, chosen, contract)
        question = replace(question, require_signed=invocation.settings.require_signed)
        answer, layers = explain(store, index, question), True
    for layer in open_layers(invocation) if layers else ():
        if answer.lookup.outcome is Outcome.HIT:
            break
        # What the store itself lacks is looked up below it, as the runtime does.
        below = explain(layer, layer.index(), question)
        if below.lookup.outcome is Outcome.HIT:
            answer, place = below, layer.paths.root
    if invocation.output.as_json:
        invocation.output.document("explain", {"store": str(place), **_data(answer)})
    else:
        _tell(invocation, answer)
        if place != invocation.settings.store:
            invocation.output.say(f"found in the layer {place}")
    if error_if_empty and answer.lookup.outcome is not Outcome.HIT:
        context.exit(EMPTY)


def _tools(invocation: Invocation) -> Toolchain:
    from evmaot.codegen.options import CompileOptions, Tier
    from evmaot.target import target_named
    from evmaot.toolchain import toolchain

    settings = invocation.settings
    return toolchain(CompileOptions(Tier(settings.tier), target_named(settings.target)), settings.linker)


def _question(invocation: Invocation, index: StoreIndex, text: str, fork: Fork, contract: str | None) -> Question:
    import hashlib

    from evmaot.cli.one_code import one_code
    from evmaot.evm.instruction_set import opcode_bitmap
    from evmaot.evm.keccak import keccak256
    from evmaot.explanation import Question

    tools = _tools(invocation)
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,64}", text):
        return Question(_whole_hash(index, text[2:].lower()), fork, tools.profile)
    code = one_code(invocation, text, contract)
    return Question(
        code_hash=keccak256(code).hex(),
        fork=fork,
        profile=tools.profile,
        code_sha256=hashlib.sha256(code).hexdigest(),
        length=len(code),
        opcodes=opcode_bitmap(tools.reachable_opcodes(code)),
        code=code,
    )


def _whole_hash(index: StoreIndex, digits: str) -> str:
    """The code hash that begins with the digits; 64 of them need not be in the store."""
    if len(digits) == 64:
        return digits
    found = sorted({entry.member.code_hash for entry in index if entry.member.code_hash.startswith(digits)})
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"0x{name[:16]}" for name in found[:4])
        raise UsageError("ambiguous_hash", f"{len(found)} code hashes begin with 0x{digits}", hint=f"such as {names}")
    hint = "give all 64 digits of a code hash, or a file with the code; see: evmaot ls --contracts"
    raise UsageError("not_in_store", f"no code hash in the store begins with 0x{digits}", hint=hint)


def _verdict_data(verdict: Verdict) -> dict[str, Any]:
    from evmaot.explanation import found_preimage

    entry, difference = verdict.entry, verdict.difference
    return {
        "outcome": verdict.outcome.value,
        "reason": verdict.reason,
        "message": verdict.message,
        "first_difference": None
        if difference is None
        else {"field": difference.field, "wanted": difference.wanted, "found": difference.found},
        "pack": None if entry is None else entry.pack.manifest.object.sha256,
        "slot": None if entry is None else entry.member.slot,
        "found": None if entry is None else found_preimage(entry),
    }


def _data(answer: Explanation) -> dict[str, Any]:
    from evmaot.cli.listing import member_data
    from evmaot.store.serving import ServedForks

    served = ServedForks()
    return {
        "code_hash": "0x" + answer.question.code_hash,
        "fork": answer.question.fork.name,
        "lookup": _verdict_data(answer.lookup),
        "build": _verdict_data(answer.build),
        "wanted": answer.wanted,
        "candidates": [
            {
                **member_data(one.entry, served),
                "not_loadable": one.not_loadable,
                "differences": [
                    {"field": item.field, "wanted": item.wanted, "found": item.found}
                    for item in (*one.rules, *one.profile)
                ],
            }
            for one in answer.candidates
        ],
        "failure": None if answer.failure is None else {
            "reason": answer.failure.reason,
            "message": answer.failure.message,
            "label": answer.failure.label,
            "created": answer.failure.created,
            "timeout_seconds": answer.failure.timeout_seconds,
            "memory_limit_bytes": answer.failure.memory_limit_bytes,
        },
        "hint": _hint(answer),
    }  # fmt: skip


def _hint(answer: Explanation) -> str | None:
    """What to do about a miss."""
    lookup, fork = answer.lookup, answer.question.fork.name
    if lookup.outcome.value == "hit":
        return None
    if lookup.outcome.value == "refused":
        from evmaot.cli.stores import not_loaded_hint

        return not_loaded_hint(lookup.reason)
    if lookup.reason == "store_untrusted":
        return "evmaot doctor"
    failure = answer.failure
    if failure is not None:
        limits = {"compile_timeout": "--timeout 20min", "compile_memory": "--memory-limit 8GiB"}
        return f"evmaot build --fork {fork} {limits.get(failure.reason, '--force')} INPUT"
    if answer.templates and lookup.reason == "not_in_store":
        return "give the code, not its hash: evmaot explain FILE"
    return f"evmaot build --fork {fork} INPUT"


def _tell(invocation: Invocation, answer: Explanation) -> None:
    output = invocation.output
    question = answer.question
    label = next((one.entry.member.label for one in answer.candidates if one.entry.member.label), None)
    rows = [
        ("contract", f"0x{question.code_hash}"),
        *((("label", label),) if label else ()),
        ("fork", fork_words(answer)),
    ]
    for name, verdict in (("look-up", answer.lookup), ("build", answer.build)):
        outcome = output.styled(verdict.outcome.value, _COLORS[verdict.outcome.value])
        rows.append((name, f"{outcome}: {verdict.message} [{verdict.reason}]"))
    entry = answer.lookup.entry
    if entry is not None:
        rows.append(("artifact", f"pack {entry.pack.manifest.object.sha256[:16]}, slot {entry.member.slot}"))
    output.fields(rows)
    if answer.candidates:
        output.data("")
        _table(invocation, answer.candidates)
    hint = _hint(answer)
    if hint is not None:
        output.say(f"hint: {hint}")


def fork_words(answer: Explanation) -> str:
    """The fork's name, and the digest of its rules for this code."""
    rules = answer.wanted["rules"]
    return answer.question.fork.name + (f", rules {rules['digest'][:16]}" if rules else "")


def _table(invocation: Invocation, candidates: Sequence[Candidate]) -> None:
    from evmaot.cli.listing import fork_ranges, target_of
    from evmaot.store.serving import ServedForks

    served = ServedForks()
    columns = (
        Column("PROFILE"),
        Column("PACK", drop_rank=4),
        Column("TIER", drop_rank=2),
        Column("TARGET", shrinks=True, drop_rank=3),
        Column("SERVES", shrinks=True, least=16),
        Column("LOADS", shrinks=True, least=13, drop_rank=1),
        Column("DIFFERS IN", shrinks=True, least=20),
    )
    rows = [
        (
            one.entry.pack.profile.short[:8],
            one.entry.pack.manifest.object.sha256[:8],
            one.entry.pack.profile.profile.tier,
            target_of(one.entry.pack.profile.profile),
            fork_ranges(served(one.entry.member)),
            (one.not_loadable or "yes").partition(":")[0],
            ", ".join(item.field for item in (*one.rules, *one.profile)) or "nothing",
        )
        for one in candidates
    ]
    invocation.output.table(columns, rows)
