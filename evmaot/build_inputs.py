"""What a build compiles of its inputs: distinct codes, chosen and counted.

Job: a stream of contracts to distinct codes with their labels and their heat, less what is denied or over the limit.
Invariants: the memory in use is that of the distinct codes and of a bounded number of problems; whatever is left out
has a problem that says why, or is counted; the same inputs in the same order give the same answer; a deployment of a
template that the inputs have as well is no code of its own, in whichever order they come.  May import:
`evmaot.build_report`, `evmaot.inputs`, `evmaot.evm`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from evmaot.build_report import MAX_LABELS, BuildRequest
from evmaot.evm.keccak import keccak256
from evmaot.evm.template import Holes, TemplateTable, code_digest, covers, hole_bytes, masked_code
from evmaot.inputs.deny import DenyList
from evmaot.inputs.metadata import metadata_hole
from evmaot.inputs.problems import make_problem
from evmaot.inputs.source import ContractSource, InputLimits, Problem

MAX_PROBLEMS = 1000
"""Problems of one name that are kept; what is beyond is counted."""
_LEGACY_CODE_LIMIT = InputLimits().code_size_bytes


@dataclass(slots=True)
class Code:
    """One distinct code and who has it."""

    data: bytes
    sha256: str
    """Digest of the code, or of the template (`evmaot.evm.template.code_digest`)."""
    labels: list[str]
    sources: int = 0
    heat: int = 0
    """How often it occurred: of a trace, in how many transactions."""
    holes: tuple[tuple[int, int], ...] = ()
    """(offset, length) of what deployments of it fill differently."""
    deployments: dict[str, Code] = field(default_factory=dict)
    """Of a template: the distinct codes, or templates with fewer holes, that the inputs have, by digest; compiled where
    it can't be one."""
    is_undeployed: bool = False
    """It can't be a template, and deployment will write something into it: what is deployed is other code."""

    def leaves(self) -> Iterator[Code]:
        """The codes of the inputs that it is, or stands for; the same may come twice."""
        if not self.deployments:
            yield self
        for deployment in self.deployments.values():
            yield from deployment.leaves()

    def absorb(self, other: Code) -> None:
        """Stand for another code too, which is made of this template."""
        self._count(other)
        there = self.deployments.setdefault(other.sha256, other)
        if there is not other:
            there._count(other)

    def copy(self) -> Code:
        """One that can absorb others and leaves this as it is."""
        return replace(self, labels=list(self.labels), deployments=dict(self.deployments))

    def _count(self, other: Code) -> None:
        self.sources += other.sources
        self.heat += other.heat
        self.labels += [label for label in other.labels if label not in self.labels][: MAX_LABELS - len(self.labels)]


@dataclass(slots=True)
class Gathered:
    """What the inputs hold."""

    codes: list[Code] = field(default_factory=list)
    """In the order of their first source; the most frequent first where that was asked for."""
    sources: int = 0
    problems: list[Problem] = field(default_factory=list)
    """Of each name at most `MAX_PROBLEMS`: a chain has millions of accounts that are not compiled."""
    omitted: Counter[str] = field(default_factory=Counter)
    """Problems beyond these, by name."""
    denied: list[bytes] = field(default_factory=list)
    """Codes that the deny list has by their hash."""
    denied_unmatched: int = 0
    """Hashes of the deny list that no code of the inputs has."""
    _seen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def note(self, problem: Problem) -> None:
        """Keep a problem, or count it."""
        name = (problem.code, problem.severity)
        self._seen[name] += 1
        if self._seen[name] <= MAX_PROBLEMS:
            self.problems.append(problem)
        else:
            self.omitted[problem.code] += 1


def gather(request: BuildRequest) -> Gathered:
    """Read the inputs of a request to their end."""
    if isinstance(request.sources, Gathered):
        return request.sources
    found = Gathered()
    codes: dict[str, Code] = {}
    # Only what may be left out has to be named later.
    first: dict[str, str] | None = {} if request.deny is not None or request.limit is not None else None
    for item in request.sources:
        problem = item if isinstance(item, Problem) else _judged(item) or _denied(request, item)
        if problem is not None:
            found.note(problem)
            if request.fail_fast and problem.severity == "error":
                break
            continue
        assert isinstance(item, ContractSource)
        found.sources += 1
        _file(codes, first, item, _hole_sets(request, item))
    found.codes = _joined(codes)
    _choose(found, request, first or {})
    return found


def _hole_sets(request: BuildRequest, source: ContractSource) -> list[Holes]:
    """The holes of a source, most first: with `strip_metadata` also its metadata, where that lies behind all others.

    Where the first can't be left open, the next may still be; the last are none.
    """
    holes = tuple((hole.offset, hole.length) for hole in source.holes)
    metadata = metadata_hole(source.code) if request.strip_metadata else None
    sets: list[Holes] = [holes, ()] if holes else [()]
    if metadata is not None and all(offset + length <= metadata[0] for offset, length in holes):
        sets.insert(0, (*holes, metadata))
    return sets


def _file(
    codes: dict[str, Code], first: dict[str, str] | None, item: ContractSource, hole_sets: Sequence[Holes]
) -> None:
    """Count a source as a template of its most holes, and below that as what it is with fewer."""
    for holes in hole_sets:
        sha256 = code_digest(item.code, holes)
        is_undeployed = not holes and bool(item.holes) and _masked(item) == item.code
        code = codes.setdefault(sha256, Code(item.code, sha256, [], holes=tuple(holes), is_undeployed=is_undeployed))
        if first is not None:
            first.setdefault(sha256, item.origin)
        _count(code, item)
        codes = code.deployments


def _masked(source: ContractSource) -> bytes:
    return masked_code(source.code, [(hole.offset, hole.length) for hole in source.holes])


def _joined(codes: dict[str, Code]) -> list[Code]:
    """The codes; what a template of them stands for is below it and not beside it, in whichever order they came."""
    templates: TemplateTable[Code] = TemplateTable()
    for code in codes.values():
        if code.holes:
            templates.add(len(code.data), code.holes, code.sha256, code)
    alone = []
    for code in codes.values():
        wider = [one for one in templates.matching(code.data) if one is not code and covers(one.holes, code.holes)]
        if wider:
            # The widest of all is made of none itself.
            max(wider, key=lambda one: (hole_bytes(one.holes), one.sha256)).absorb(code)
        else:
            alone.append(code)
    return alone


def _count(code: Code, source: ContractSource) -> None:
    code.sources += 1
    code.heat += source.count
    if len(code.labels) < MAX_LABELS and source.label not in code.labels:
        code.labels.append(source.label)


def _choose(found: Gathered, request: BuildRequest, origins: dict[str, str]) -> None:
    """Leave out the codes on the deny list, then those over the limit."""
    if request.deny is not None and request.deny.code_hashes:
        found.codes = _without_denied(found, request.deny, origins)
    if request.rank or request.limit is not None:
        # Stable: where two are as frequent, the first of the inputs.
        ranked = sorted(found.codes, key=lambda code: -code.heat)
        limit = len(ranked) if request.limit is None else request.limit
        for code in ranked[limit:]:
            message = f"{code.labels[0]} is not among the {limit} most frequent codes (it occurs {code.heat} times)"
            found.note(make_problem("over_limit", origins[code.sha256], message))
        chosen = {code.sha256 for code in ranked[:limit]}
        found.codes = ranked[:limit] if request.rank else [code for code in found.codes if code.sha256 in chosen]


def _without_denied(found: Gathered, deny: DenyList, origins: dict[str, str]) -> list[Code]:
    """Codes that are not denied.  A template would serve a deployment that is: the others are compiled."""
    denied = set()
    for leaf in {one.sha256: one for code in found.codes for one in code.leaves()}.values():
        code_hash = keccak256(leaf.data).hex()
        if deny.has_hash(code_hash):
            denied.add(code_hash)
            found.denied.append(leaf.data)
            found.note(make_problem("denied", origins[leaf.sha256], _denied_text(leaf.labels[0])))
    found.denied_unmatched = len(deny.code_hashes - denied)
    allowed: dict[str, Code] = {}
    for code in found.codes:
        for one in _allowed(code, found.denied):
            allowed.setdefault(one.sha256, one)
    return list(allowed.values())


def _allowed(code: Code, denied: Sequence[bytes]) -> Iterator[Code]:
    # A template may serve a denied code that is filed under another one.
    if not any(len(data) == len(code.data) and code_digest(data, code.holes) == code.sha256 for data in denied):
        yield code
        return
    for one in code.deployments.values():
        yield from _allowed(one, denied)


def _denied(request: BuildRequest, source: ContractSource) -> Problem | None:
    if request.deny is None or not request.deny.has_label(source.label):
        return None
    return make_problem("denied", source.origin, _denied_text(source.label))


def _denied_text(label: str) -> str:
    return f"{label} is on the deny list"


def _judged(source: ContractSource) -> Problem | None:
    """What the input layer refuses is refused whoever made the source."""
    size_bytes = len(source.code)
    if size_bytes == 0:
        return make_problem("empty_code", source.origin, "there is no code")
    if size_bytes > _LEGACY_CODE_LIMIT:
        message = f"the code has {size_bytes} bytes, at most {_LEGACY_CODE_LIMIT}"
        return make_problem("code_too_long", source.origin, message)
    if source.code[0] == 0xEF:
        return make_problem("invalid_ef_code", source.origin, "the code begins with 0xEF")
    return None
