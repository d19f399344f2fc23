"""What a build compiles of its inputs: distinct codes, chosen and counted.

Job: a stream of contracts to distinct codes with their labels and their heat, less what is denied or over the limit.
Invariants: the memory in use is that of the distinct codes and of a bounded number of problems; whatever is left out
has a problem that says why, or is counted; the same inputs in the same order give the same answer.  May import:
`evmaot.build_report`, `evmaot.inputs`, `evmaot.evm`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from evmaot.build_report import MAX_LABELS, BuildRequest
from evmaot.evm.keccak import keccak256
from evmaot.evm.template import Holes, code_digest, masked_code
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
    """Of a template: the distinct codes that the inputs have, by SHA-256; compiled where it can't be one."""
    is_undeployed: bool = False
    """It can't be a template, and deployment will write something into it: what is deployed is other code."""


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
    first: dict[str, str] = {}
    for item in request.sources:
        problem = item if isinstance(item, Problem) else _judged(item) or _denied(request, item)
        if problem is not None:
            found.note(problem)
            if request.fail_fast and problem.severity == "error":
                break
            continue
        assert isinstance(item, ContractSource)
        found.sources += 1
        holes = _holes(request, item)
        sha256 = code_digest(item.code, holes)
        code = codes.setdefault(sha256, Code(item.code, sha256, [], holes=holes))
        first.setdefault(sha256, item.origin)
        _count(code, item)
        if holes:
            own = code_digest(item.code)
            first.setdefault(own, item.origin)
            _count(code.deployments.setdefault(own, _deployment(item, own, holes)), item)
    found.codes = list(codes.values())
    _choose(found, request, first)
    return found


def _holes(request: BuildRequest, source: ContractSource) -> tuple[tuple[int, int], ...]:
    """The holes of a source; with `strip_metadata` also its metadata, where that lies behind all others."""
    holes = [(hole.offset, hole.length) for hole in source.holes]
    metadata = metadata_hole(source.code) if request.strip_metadata else None
    if metadata is not None and all(offset + length <= metadata[0] for offset, length in holes):
        holes.append(metadata)
    return tuple(holes)


def _count(code: Code, source: ContractSource) -> None:
    code.sources += 1
    code.heat += source.count
    if len(code.labels) < MAX_LABELS and source.label not in code.labels:
        code.labels.append(source.label)


def _deployment(source: ContractSource, sha256: str, holes: Holes) -> Code:
    return Code(source.code, sha256, [], is_undeployed=masked_code(source.code, holes) == source.code)


def _choose(found: Gathered, request: BuildRequest, origins: dict[str, str]) -> None:
    """Leave out the codes on the deny list, then those over the limit."""
    if request.deny is not None and request.deny.code_hashes:
        found.codes = list(_allowed(found, request.deny, origins))
    if request.rank or request.limit is not None:
        # Stable: where two are as frequent, the first of the inputs.
        ranked = sorted(found.codes, key=lambda code: -code.heat)
        limit = len(ranked) if request.limit is None else request.limit
        for code in ranked[limit:]:
            message = f"{code.labels[0]} is not among the {limit} most frequent codes (it occurs {code.heat} times)"
            found.note(make_problem("over_limit", origins[code.sha256], message))
        chosen = {code.sha256 for code in ranked[:limit]}
        found.codes = ranked[:limit] if request.rank else [code for code in found.codes if code.sha256 in chosen]


def _allowed(found: Gathered, deny: DenyList, origins: dict[str, str]) -> Iterator[Code]:
    """Codes that are not denied.  A template would serve a deployment that is: the others are compiled."""
    plain = {code.sha256 for code in found.codes}
    for code in found.codes:
        own = list(code.deployments.values()) or [code]
        denied = [one for one in own if deny.has_hash(keccak256(one.data).hex())]
        for one in denied:
            found.note(make_problem("denied", origins[one.sha256], _denied_text(one.labels[0])))
        if not denied:
            yield code
            continue
        yield from (one for one in own if one not in denied and one.sha256 not in plain)


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
