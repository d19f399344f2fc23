"""Sources and forks to units: what has to be compiled, and what is there already.

Job: read the inputs once, merge equal codes, merge forks whose rules a code can't tell apart, and look every unit up.
Invariants: a unit is planned once however many sources and forks ask for it; the plan depends on the inputs' content
and the store, never on their order in time.  A code that is in the store is neither decoded nor hashed with keccak:
its manifest knows both.  May import: `evmaot.build_inputs`, `evmaot.build_report`, `evmaot.toolchain`, `evmaot.store`,
`evmaot.inputs`, `evmaot.evm`.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from evmaot.build_inputs import Code, Gathered, gather
from evmaot.build_report import BuildRequest, UnitReport, UnitStatus
from evmaot.codegen.options import CompileOptions
from evmaot.errors import UsageError
from evmaot.evm.forks import FORKS, Fork
from evmaot.evm.instruction_set import CompileRules, opcode_bitmap, opcodes_of_bitmap, restrict
from evmaot.evm.keccak import keccak256
from evmaot.evm.template import TemplateTable, code_digest, covers, hole_bytes, masked_code
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.index import Entry, Pack, StoreIndex, rules_digest, serves
from evmaot.store.keys import entry_symbol, unit_key
from evmaot.store.manifest import MAX_HOLES, MAX_MEMBERS, Member
from evmaot.toolchain import Toolchain, UnitJob

MAX_PACK_CODE_BYTES: Final = 32 << 20
"""Code in one pack; machine code is about 20 times as long, and a library may have 1 GiB."""


@dataclass(slots=True)
class Unit:
    """One code under one set of rules."""

    key: str
    code: Code
    opcodes: str
    """Bitmap, hex."""
    rules: str
    """Digest, hex."""
    forks: tuple[str, ...]
    report: UnitReport

    @property
    def symbol(self) -> str:
        """Entry symbol."""
        return entry_symbol(self.key)

    @property
    def compile_rules(self) -> CompileRules:
        """The rules as the compiler takes them."""
        return restrict(FORKS[self.forks[0]], opcodes_of_bitmap(self.opcodes))

    def job(self, options: CompileOptions) -> UnitJob:
        """What a worker gets."""
        return UnitJob(self.code.data, self.compile_rules, options, self.symbol, self.code.holes)


@dataclass(slots=True)
class Plan:
    """Everything that was asked for."""

    inputs: Gathered
    units: list[Unit]
    """By key; with rank, the most frequent code first."""
    misses: list[Unit]
    """Of these, what has to be compiled; in the same order."""
    distinct_codes: int
    """Codes and templates that the inputs come to: what may be a template for one fork is perhaps none for another."""


def check_request(request: BuildRequest) -> None:
    """Raise UsageError ``bad_build_option`` for a value out of range."""
    wrong = None
    if not 1 <= request.pack_size <= MAX_MEMBERS:
        wrong = f"a pack holds 1 to {MAX_MEMBERS} contracts, not {request.pack_size}"
    elif not 1 <= request.jobs <= 1024:
        wrong = f"1 to 1024 jobs at a time, not {request.jobs}"
    elif request.timeout_seconds <= 0 or request.memory_limit_bytes <= 0 or request.flush_seconds <= 0:
        wrong = "the limits of time and memory (--timeout, --memory-limit) are more than 0"
    elif not request.forks:
        wrong = "at least one fork"
    elif request.limit is not None and request.limit < 1:
        wrong = f"the limit is at least one contract, not {request.limit}"
    if wrong is not None:
        raise UsageError("bad_build_option", wrong)


def make_plan(
    request: BuildRequest,
    tools: Toolchain,
    store: ArtifactDirectory | None,
    index: StoreIndex,
    layers: Sequence[ArtifactDirectory] = (),
) -> Plan:
    """Units of the request, looked up in the store and in the layers below it."""
    inputs = gather(request)
    lookups = [Lookup(tools, store, index)]
    lookups += [Lookup(tools, layer, layer.index([tools.profile.short])) for layer in layers]
    tasks = _Planner(request, tools, lookups, inputs).tasks()
    units = sorted(_units(tools, index, tasks), key=lambda unit: unit.key)
    if request.rank:
        units.sort(key=lambda unit: -unit.code.heat)
    misses = []
    for unit in units:
        found = None if request.force else next(filter(None, (lookup.find(unit) for lookup in lookups)), None)
        if found is not None:
            mark_cached(unit, found)
        elif not (request.force or store is None) and _known_to_fail(request, tools, store, unit):
            pass
        else:
            misses.append(unit)
    return Plan(inputs, units, misses, len({unit.code.sha256 for unit in units}))


@dataclass(slots=True)
class _Task:
    """A code or template, and the forks that it is planned for."""

    code: Code
    forks: dict[str, Fork]
    refusal: str | None = None
    """Why it stands for itself: the template that it would be made of can't be one."""


class _Planner:
    """Decides which code or template is planned in the place of each code of the inputs.

    In the order of a look-up: an artifact of the code itself, a stored template, a template of the same inputs; then a
    stored template that lacks the fork is planned for it, rather than each code that is made of it.  With `force`
    nothing is taken from the store, and so no template.
    """

    def __init__(self, request: BuildRequest, tools: Toolchain, lookups: Sequence[Lookup], inputs: Gathered) -> None:
        self._forks = {fork.name: fork for fork in request.forks}
        self._force = request.force
        self._tools = tools
        self._lookups = lookups
        self._denied = inputs.denied
        self._tasks: dict[str, _Task] = {}
        self._templates: TemplateTable[_Task] = TemplateTable()
        """Of the tasks."""
        self._numbers = itertools.count()
        # The most holes first: what is refused is planned with fewer, and may be made of another template.
        self._waiting: list[tuple[int, int, Code, dict[str, Fork], str | None]] = []
        for code in inputs.codes:
            self._add(code, self._forks, None)

    def _add(self, code: Code, forks: dict[str, Fork], refusal: str | None) -> None:
        heapq.heappush(self._waiting, (-hole_bytes(code.holes), next(self._numbers), code, forks, refusal))

    def tasks(self) -> list[_Task]:
        """All that is to be planned."""
        while self._waiting:
            _, _, code, forks, refusal = heapq.heappop(self._waiting)
            left = self._without_templates(code, forks, may_make=refusal is None and not code.holes)
            if code.holes:
                refused = self._refused(code, left)
                for reason in dict.fromkeys(refused.values()):
                    those = {name: fork for name, fork in left.items() if refused.get(name) == reason}
                    for one in code.deployments.values():
                        self._add(one, those, refusal or reason)
                left = {name: fork for name, fork in left.items() if name not in refused}
            if left:
                task = self._task(code)
                task.forks.update(left)
                task.refusal = task.refusal or refusal
        return list(self._tasks.values())

    def _task(self, code: Code) -> _Task:
        task = self._tasks.get(code.sha256)
        if task is None:
            # What the inputs hold is shared by builds of several profiles.
            task = self._tasks[code.sha256] = _Task(code.copy(), {})
            if code.holes:
                self._templates.add(len(code.data), code.holes, code.sha256, task)
        return task

    def _without_templates(self, code: Code, forks: dict[str, Fork], *, may_make: bool) -> dict[str, Fork]:
        """The forks for which no template stands for the code; for the others it goes to the template's task."""
        known = [] if self._force else [lookup.templates_of(code) for lookup in self._lookups]
        planned = [one for one in self._templates.matching(code.data) if covers(one.code.holes, code.holes)]
        if not any(known) and not planned:
            return forks
        own = self._own(code, forks)
        pairs = [(lookup, entry) for lookup, entries in zip(self._lookups, known, strict=False) for entry in entries]
        stored = [entry.member for lookup, entry in pairs if lookup.is_there(entry.pack)]
        makeable = [entry.member for _, entry in pairs] if may_make else []
        left = {}
        for name, fork in forks.items():
            task = None
            if name not in own:
                serving = next((member for member in stored if serves(member, fork)), None)
                if serving is not None:
                    task = self._task(_template(code, serving))
                else:
                    task = next((one for one in planned if name in one.forks), None) or self._made(code, makeable, fork)
            if task is None:
                left[name] = fork
                continue
            task.forks[name] = fork
            if code.sha256 not in task.code.deployments:
                task.code.absorb(code)
        return left

    def _own(self, code: Code, forks: dict[str, Fork]) -> set[str]:
        """The forks for which the code has a stored artifact of its own."""
        # There may be very many deployments, and which opcodes one has takes longer than all else.
        if self._force or not any(lookup.index.by_code_sha256(code.sha256) for lookup in self._lookups):
            return set()
        units = _code_units(tuple(forks.values()), self._tools, self._lookups[0].index, code)
        return {name for unit in units if any(one.find(unit) for one in self._lookups) for name in unit.forks}

    def _made(self, code: Code, makeable: Sequence[Member], fork: Fork) -> _Task | None:
        """A stored template that can be compiled for one more fork, and would serve no code that is denied."""
        for member in makeable:
            template = _template(code, member)
            if any(code_digest(denied, member.holes) == member.code_sha256 for denied in self._denied):
                continue
            there = self._tasks.get(template.sha256)
            if (there is not None and fork.name in there.forks) or not self._refused(template, {fork.name: fork}):
                return self._task(template)
        return None

    def _refused(self, code: Code, forks: dict[str, Fork]) -> dict[str, str]:
        """Why a code can't be a template, by the names of forks; what is stored can be."""
        template = replace(code, data=masked_code(code.data, code.holes))
        index, refused = self._lookups[0].index, {}
        for unit in _code_units(tuple(forks.values()), self._tools, index, template):
            if index.find(self._tools.profile.digest, template.sha256, unit.rules, template.holes) is None:
                reason = _refusal(self._tools, unit)
                refused.update(dict.fromkeys(unit.forks, reason) if reason is not None else {})
        return refused


def _template(code: Code, member: Member) -> Code:
    """A stored template that a code is made of, as a code that stands for none yet."""
    return Code(masked_code(code.data, member.holes), member.code_sha256, list(code.labels), holes=member.holes)


def _units(tools: Toolchain, index: StoreIndex, tasks: Iterable[_Task]) -> Iterator[Unit]:
    for task in tasks:
        code = replace(task.code, data=masked_code(task.code.data, task.code.holes))
        for unit in _code_units(tuple(task.forks.values()), tools, index, code):
            unit.report.template_refusal = task.refusal
            yield unit


def _refusal(tools: Toolchain, unit: Unit) -> str | None:
    if tools.template_refusal is None:
        return "this compiler makes no templates"
    if len(unit.code.holes) > MAX_HOLES:
        return f"it has {len(unit.code.holes)} holes, at most {MAX_HOLES}"
    return tools.template_refusal(unit.code.data, unit.compile_rules, unit.code.holes)


def _code_units(forks: tuple[Fork, ...], tools: Toolchain, index: StoreIndex, code: Code) -> Iterator[Unit]:
    profile = tools.profile.digest
    opcodes = index.opcodes(profile, code.sha256)
    if opcodes is None:
        opcodes = opcode_bitmap(tools.reachable_opcodes(code.data))
    known = index.rules_by_fork(profile, code.sha256)
    by_rules: dict[str, list[str]] = {}
    for fork in forks:
        rules = known.get(fork.name) or rules_digest(fork, opcodes)
        by_rules.setdefault(rules, []).append(fork.name)
    for rules, names in by_rules.items():
        key = unit_key(profile, rules, code.sha256, len(code.data), code.holes)
        report = UnitReport(
            unit_key=key,
            code_hash=None,
            code_sha256=code.sha256,
            code_size_bytes=len(code.data),
            label=code.labels[0],
            labels=tuple(code.labels),
            sources=code.sources,
            heat=code.heat,
            forks=tuple(names),
            rules=rules,
            status=UnitStatus.PLANNED,
            holes=code.holes,
            codes=len({one.sha256 for one in code.leaves()}),
        )
        yield Unit(key, code, opcodes, rules, tuple(names), report)


class Lookup:
    """Finds units in an index, and sees once per pack whether its library is there."""

    def __init__(self, tools: Toolchain, store: ArtifactDirectory | None, index: StoreIndex) -> None:
        self._profile = tools.profile.digest
        self._store = store
        self.index = index
        self._there: dict[str, bool] = {}

    def find(self, unit: Unit) -> Entry | None:
        """The stored member for a unit; None as well where its library is gone."""
        found = self.index.find(self._profile, unit.code.sha256, unit.rules, unit.code.holes)
        return found if found is not None and self.is_there(found.pack) else None

    def templates_of(self, code: Code) -> list[Entry]:
        """Templates of the profile that a code is made of, and that leave more open than it does."""
        found = [
            entry
            for entry in self.index.templates_of(code.data)
            if entry.pack.manifest.profile == self._profile and covers(entry.member.holes, code.holes)
        ]
        return sorted(found, key=lambda entry: (hole_bytes(entry.member.holes), entry.key))

    def is_there(self, pack: Pack) -> bool:
        """Whether the pack's library is there."""
        sha256 = pack.manifest.object.sha256
        if sha256 not in self._there:
            self._there[sha256] = self._store is not None and self._store.library_is_there(pack)
        return self._there[sha256]


def mark_cached(unit: Unit, entry: Entry) -> None:
    """The unit is in the store."""
    unit.report.status = UnitStatus.CACHED
    unit.report.code_hash = entry.member.code_hash
    unit.report.pack = entry.pack.manifest.object.sha256


def _known_to_fail(request: BuildRequest, tools: Toolchain, store: ArtifactDirectory, unit: Unit) -> bool:
    record = store.failure(tools.profile, unit.key)
    if record is None or not record.holds(request.timeout_seconds, request.memory_limit_bytes):
        return False
    report = unit.report
    report.status = UnitStatus.FAILED
    report.code_hash = keccak256(unit.code.data).hex()
    report.reason, report.message, report.remembered = record.reason, record.message, True
    report.hint = "it failed in an earlier build; --force tries it again"
    return True


def chunked(units: list[Unit], pack_size: int) -> list[list[Unit]]:
    """Units of each pack: decided before anything is compiled, so that equal builds make equal packs."""
    chunks: list[list[Unit]] = []
    room = 0
    for unit in units:
        size_bytes = len(unit.code.data)
        if not chunks or len(chunks[-1]) >= pack_size or room < size_bytes:
            chunks.append([])
            room = MAX_PACK_CODE_BYTES
        chunks[-1].append(unit)
        room -= size_bytes
    return chunks
