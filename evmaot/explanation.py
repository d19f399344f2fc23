"""Why a look-up hits or misses here: what is wanted, what there is, and the first field that differs.

Job: two verdicts on one code and fork: what the runtime finds, and what a build would do.  Invariants: the runtime's
verdict comes from the runtime's own checks, library included; both preimages are complete, so that whoever doubts a
verdict can compare them; nothing is written.  May import: `evmaot.runtime`, `evmaot.store`, `evmaot.evm`, errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import islice
from typing import Any, Final

from evmaot.errors import EvmaotError
from evmaot.evm.forks import FORKS, Fork
from evmaot.evm.instruction_set import CompileRules, opcodes_of_bitmap, restrict
from evmaot.evm.opcodes import OPCODES
from evmaot.evm.template import code_digest
from evmaot.runtime.catalog import profile_rank
from evmaot.runtime.loading import load_pack, profile_refusal
from evmaot.runtime.preloading import LibraryMapping
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.index import UNSIGNED, Entry, StoreIndex
from evmaot.store.keys import Profile, unit_key
from evmaot.store.manifest import Member
from evmaot.store.negative import NegativeRecord, record_paths
from evmaot.store.usage import failure_records

MAX_RECORDS_READ: Final = 10_000
"""Failure records that are searched for a code of which only the hash is known."""

PROFILE_FIELDS: Final = (
    ("abi", "native ABI"),
    ("triple", "target triple"),
    ("features", "CPU features"),
    ("cpu", "CPU"),
    ("llvm", "llvm version"),
    ("llvmlite", "llvmlite version"),
    ("compiler", "compiler sources"),
    ("tier", "tier"),
    ("linker", "linker"),
)
"""Fields of a profile in the order in which they are compared, and how messages name them."""


class Outcome(str, Enum):
    """What a look-up comes to."""

    HIT = "hit"
    MISS = "miss"
    REFUSED = "refused"
    """The artifact is there and right, and its library is not loaded."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field whose value is not the wanted one."""

    field: str
    wanted: str
    found: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome and its reason."""

    outcome: Outcome
    reason: str
    """Stable snake_case, such as ``not_in_store`` or ``hash_mismatch``."""
    message: str
    difference: Difference | None = None
    """The first field that differs, of the nearest artifact."""
    entry: Entry | None = None
    """The artifact that the verdict is about."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked up, and what a build here would make."""

    code_hash: str
    """Keccak-256, hex."""
    fork: Fork
    profile: Profile
    """That a build would compile under now."""
    code_sha256: str | None = None
    """Known where the code itself is."""
    length: int | None = None
    opcodes: str | None = None
    """Bitmap of the reachable opcodes, where the code is known."""
    code: bytes | None = None
    """To be matched against templates."""
    require_signed: bool = False
    """Whether imports without a trusted signature are left out."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An artifact of the same code hash, and how it differs from what is wanted."""

    entry: Entry
    rules: tuple[Difference, ...]
    profile: tuple[Difference, ...]
    not_loadable: str | None
    """Why the runtime passes over its profile on this machine."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Both verdicts, and everything they rest on."""

    question: Question
    lookup: Verdict
    build: Verdict
    wanted: Mapping[str, Any]
    """The preimage of the wanted unit: profile, rules, code."""
    candidates: Sequence[Candidate]
    failure: NegativeRecord | None
    templates: int = 0
    """Templates that are stored and may be what the code is made of: where only its hash is known."""


def explain_without_store(question: Question, error: EvmaotError) -> Explanation:
    """The answer where the store cannot be opened, which is the first of all reasons (``store_missing``, ...)."""
    message = f"{error.message}: {error.cause}" if error.cause else error.message
    verdict = Verdict(Outcome.MISS, error.reference, message)
    return Explanation(question, verdict, verdict, wanted_preimage(question), (), None)


def explain(store: ArtifactDirectory, index: StoreIndex, question: Question) -> Explanation:
    """Answer a question.  Raises TrustError and StoreError for directories of the store."""
    entries = [entry for entry in index if _is_of(entry.member, question)]
    question = _completed(question, entries)
    candidates = sorted(
        (_compared(entry, question) for entry in entries), key=lambda one: profile_rank(one.entry.pack.profile.profile)
    )
    failure = _failure(store, question)
    # Of a code that is not here, templates can tell nothing.
    templates = 0 if question.code is not None else sum(bool(entry.member.holes) for entry in index)
    lookup = _lookup_verdict(store, question, candidates, failure, templates)
    build = _build_verdict(store, question, candidates, failure, templates)
    return Explanation(question, lookup, build, wanted_preimage(question), candidates, failure, templates)


def _is_of(member: Member, question: Question) -> bool:
    """Whether the runtime would find the member: by its hash, or as a template that the code is made of."""
    if member.holes and question.code is not None:
        return _is_template_of(member, question.code)
    return member.code_hash == question.code_hash


def _is_template_of(member: Member, code: bytes) -> bool:
    return member.length == len(code) and code_digest(code, member.holes) == member.code_sha256


def _completed(question: Question, entries: Sequence[Entry]) -> Question:
    """What is not known of the code, from an artifact of it."""
    if question.code_sha256 is not None or not entries:
        return question
    # The present compiler's own, where there is one: compilers may disagree about what is reachable.
    digest = question.profile.digest
    member = min(entries, key=lambda entry: entry.pack.manifest.profile != digest).member
    return replace(question, code_sha256=member.code_sha256, length=member.length, opcodes=member.opcodes)


def _rules_of(question: Question) -> CompileRules | None:
    return None if question.opcodes is None else restrict(question.fork, opcodes_of_bitmap(question.opcodes))


def rules_data(rules: CompileRules) -> dict[str, Any]:
    """The preimage of a rules digest with names, for people and JSON."""
    return {
        "digest": rules.digest,
        "gas": {_mnemonic(value): price for value, price in rules.static_gas.items()},
        "parameters": dict(rules.parameters),
    }


def wanted_preimage(question: Question) -> dict[str, Any]:
    """What the wanted unit's key is made of; None for what is not known."""
    rules = _rules_of(question)
    key = None
    if rules is not None and question.code_sha256 is not None and question.length is not None:
        key = unit_key(question.profile.digest, rules.digest, question.code_sha256, question.length)
    return {
        "key": key,
        "profile": {"digest": question.profile.digest, **question.profile.preimage()},
        "rules": None if rules is None else rules_data(rules),
        "code_sha256": question.code_sha256,
        "length_bytes": question.length,
    }


def found_preimage(entry: Entry) -> dict[str, Any]:
    """What the key of a stored artifact is made of; rules are None where no known fork has them."""
    pack, member = entry
    rules = stored_rules(member)
    return {
        "key": unit_key(pack.manifest.profile, member.rules, member.code_sha256, member.length, member.holes),
        "profile": {"digest": pack.profile.digest, **pack.profile.profile.preimage()},
        "rules": {"digest": member.rules, "gas": None, "parameters": None} if rules is None else rules_data(rules),
        "code_sha256": member.code_sha256,
        "length_bytes": member.length,
    }


def stored_rules(member: Member) -> CompileRules | None:
    """The rules that a member was compiled for, None where no fork of this version has them."""
    opcodes = opcodes_of_bitmap(member.opcodes)
    names = [name for name in member.forks if name in FORKS]
    for name in [*names, *(name for name in FORKS if name not in names)]:
        rules = restrict(FORKS[name], opcodes)
        if rules.digest == member.rules:
            return rules
    return None


def _compared(entry: Entry, question: Question) -> Candidate:
    member = entry.member
    # As the runtime does it: the artifact's own opcodes under the rules of the fork.
    wanted = restrict(question.fork, opcodes_of_bitmap(member.opcodes))
    rules = () if wanted.digest == member.rules else tuple(_rule_differences(wanted, member))
    profile = tuple(profile_differences(question.profile, entry.pack.profile.profile))
    reason = profile_refusal(entry.pack.profile)
    if reason is None and question.require_signed and entry.pack.manifest.origin.is_unsigned:
        reason = "unsigned"
    return Candidate(entry, rules, profile, reason)


def profile_differences(wanted: Profile, found: Profile) -> Iterator[Difference]:
    """Fields of two profiles that differ, in the order in which they are compared."""
    for name, words in PROFILE_FIELDS:
        one, other = getattr(wanted, name), getattr(found, name)
        if one != other:
            yield Difference(words, _spelled(one), _spelled(other))


def _rule_differences(wanted: CompileRules, member: Member) -> Iterator[Difference]:
    found = stored_rules(member)
    if found is None:
        yield Difference("rules of the fork", wanted.digest[:16], f"{member.rules[:16]}, of no fork that is known here")
        return
    for value, price in wanted.static_gas.items():
        if price != found.static_gas[value]:
            yield Difference(f"gas of {_mnemonic(value)}", _spelled(price), _spelled(found.static_gas[value]))
    for name in sorted(wanted.parameters.keys() | found.parameters.keys()):
        one, other = wanted.parameters.get(name), found.parameters.get(name)
        if one != other:
            yield Difference(name, _spelled(one), _spelled(other))


def _mnemonic(value: int) -> str:
    row = OPCODES[value]
    return f"0x{value:02x}" if row is None else row.mnemonic


def _spelled(value: object) -> str:
    if value is None:
        return "undefined"
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _failure(store: ArtifactDirectory, question: Question) -> NegativeRecord | None:
    """Why the wanted unit could not be compiled when it was tried last."""
    key = wanted_preimage(question)["key"]
    if key is not None:
        return store.failure(question.profile, key)
    paths = islice(record_paths(store.files, [question.profile.short]), MAX_RECORDS_READ)
    found = [record for _, record in failure_records(store.files, paths) if record.code_hash == question.code_hash]
    return max(found, key=lambda record: record.created, default=None)


def _lookup_verdict(
    store: ArtifactDirectory,
    question: Question,
    candidates: Sequence[Candidate],
    failure: NegativeRecord | None,
    templates: int,
) -> Verdict:
    """The runtime takes the first candidate that passes every check; else the one that came furthest is the reason."""
    refused: list[tuple[int, Verdict]] = []
    for candidate in candidates:
        stage, verdict = _judged(store, question, candidate)
        if verdict.outcome is Outcome.HIT:
            return verdict
        refused.append((stage, verdict))
    if refused:
        return max(refused, key=lambda one: one[0])[1]
    return _nothing(failure, templates)


def _nothing(failure: NegativeRecord | None, templates: int) -> Verdict:
    if failure is not None:
        return Verdict(Outcome.MISS, f"negative:{failure.reason}", f"it failed to compile: {failure.message}")
    message = "not in the store, under no fork and no profile"
    if templates:
        which = (
            "the template that is stored" if templates == 1 else f"one of the {templates:,} templates that are stored"
        )
        message += f"; whether it is made of {which} is seen in the code, not in its hash"
    return Verdict(Outcome.MISS, "not_in_store", message)


def _judged(store: ArtifactDirectory, question: Question, candidate: Candidate) -> tuple[int, Verdict]:
    """How far the candidate comes, from 0, and the verdict on it.  The order is that of evmaot-store(5)."""
    entry = candidate.entry
    reason = candidate.not_loadable
    if reason is not None:
        difference = candidate.profile[0] if candidate.profile else None
        return 0, Verdict(Outcome.MISS, reason, _profile_words(entry, reason, difference), difference, entry)
    if entry.member.holes and question.code is None:
        words = "a template is stored under this hash: it serves codes like it, none of which has the hash itself"
        return 2, Verdict(Outcome.MISS, "template", words, None, entry)
    is_other = not entry.member.holes and entry.member.code_sha256 != question.code_sha256
    if question.code_sha256 is not None and is_other:
        difference = Difference("SHA-256 of the code", question.code_sha256, entry.member.code_sha256)
        return 1, Verdict(Outcome.MISS, "code_mismatch", "the artifact is of other code", difference, entry)
    if candidate.rules:
        first = candidate.rules[0]
        words = f"rules differ: {first.field} is {first.wanted} in {question.fork.name}, {first.found} in the artifact"
        return 3, Verdict(Outcome.MISS, "rules_differ", words, first, entry)
    try:
        load_pack(store.files, entry.pack, LibraryMapping.FILE).close()
    except EvmaotError as error:
        return 4, Verdict(Outcome.REFUSED, error.reference, error.cause or error.message, None, entry)
    return 5, Verdict(Outcome.HIT, "loaded", "the library passes every check and was loaded", None, entry)


def _profile_words(entry: Entry, reason: str, first: Difference | None) -> str:
    profile = entry.pack.profile.profile
    if reason == "unsigned":
        return UNSIGNED
    if reason.startswith("isa_missing:"):
        return f"this CPU has no {reason.partition(':')[2]}, which {profile.cpu} code needs"
    if reason.startswith("architecture:"):
        return f"it is machine code for {reason.partition(':')[2]}, not for this machine"
    if reason == "profile_other":
        words = (
            f" in {first.field}: {_short(first.wanted)} here, {_short(first.found)} in the artifact" if first else ""
        )
        return f"made by another compiler, which the runtime passes over: profile differs{words}"
    return "its native ABI is that of another version of evmaot"


def _build_verdict(
    store: ArtifactDirectory,
    question: Question,
    candidates: Sequence[Candidate],
    failure: NegativeRecord | None,
    templates: int,
) -> Verdict:
    """What a build with these options would do: reuse, refuse to try again, or compile."""
    same = [one for one in candidates if not one.profile and not one.rules]
    if question.code is None:
        # Under its own hash a template is no artifact of a code.
        same = [one for one in same if not one.entry.member.holes]
    for candidate in sorted(same, key=lambda one: bool(one.entry.member.holes)):
        if store.library_is_there(candidate.entry.pack):
            what = "the template that it is made of" if candidate.entry.member.holes else "it as it is"
            return Verdict(Outcome.HIT, "cached", f"a build would use {what}", None, candidate.entry)
    if same:
        message = "its library is gone or has another size; a build would compile it again"
        return Verdict(Outcome.MISS, "object_missing", message, None, same[0].entry)
    if failure is not None or not candidates:
        return _nothing(failure, templates)
    nearest = min(candidates, key=lambda one: (len(one.rules) > 0, len(one.profile), len(one.rules)))
    first = (*nearest.profile, *nearest.rules)[0] if nearest.profile or nearest.rules else None
    if nearest.profile:
        assert first is not None
        words = f"profile differs in {first.field}: {_short(first.wanted)} here, {_short(first.found)} in the artifact"
        return Verdict(Outcome.MISS, "profile_differs", words, first, nearest.entry)
    if first is None:
        words = "a template is stored under this hash: it is no artifact of the code that has the hash"
        return Verdict(Outcome.MISS, "template", words, None, nearest.entry)
    words = f"rules differ: {first.field} is {first.wanted} in {question.fork.name}, {first.found} in the artifact"
    return Verdict(Outcome.MISS, "rules_differ", words, first, nearest.entry)


def _short(text: str) -> str:
    """Digests in messages by their first digits."""
    return text[:16] if len(text) == 64 else text
