"""Sources and forks to units: what has to be compiled, and what is there already.

Job: read the inputs once, merge equal codes, merge forks whose rules a code can't tell apart, and look every unit up.
Invariants: a unit is planned once however many sources and forks ask for it; the plan depends on the inputs' content
and the store, never on their order in time.  A code that is in the store is neither decoded nor hashed with keccak:
its manifest knows both.  May import: `evmaot.build_inputs`, `evmaot.build_report`, `evmaot.toolchain`, `evmaot.store`,
`evmaot.inputs`, `evmaot.evm`.
"""

from __future__ import annotations

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
from evmaot.evm.template import code_digest, covers, hole_bytes, masked_code
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
    tasks = _tasks(request, tools, lookups, inputs)
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


def _tasks(request: BuildRequest, tools: Toolchain, lookups: Sequence[Lookup], inputs: Gathered) -> list[_Task]:
    """What is planned: the codes of the inputs, and stored templates in the place of codes that are made of them.

    With `force` nothing is taken from the store, and so no template.
    """
    tasks: dict[str, _Task] = {}
    for code in inputs.codes:
        forks = {fork.name: fork for fork in request.forks}
        templates = {} if request.force else _templates_for(request, tools, lookups, inputs, code)
        for name, member in templates.items():
            task = tasks.get(member.code_sha256)
            if task is None:
                template = Code(masked_code(code.data, member.holes), member.code_sha256, [], holes=member.holes)
                task = tasks[template.sha256] = _Task(template, {})
            if code.sha256 not in task.code.deployments:
                task.code.absorb(code)
            task.forks[name] = forks.pop(name)
        if forks:
            tasks.setdefault(code.sha256, _Task(code, {})).forks.update(forks)
    return list(tasks.values())


def _templates_for(
    request: BuildRequest, tools: Toolchain, lookups: Sequence[Lookup], inputs: Gathered, code: Code
) -> dict[str, Member]:
    """Stored templates that stand for a code, by the names of forks for which it has no artifact of its own.

    A template that is not stored for one of the forks is compiled for it, rather than each code that is made of it;
    but none that would serve a code that is denied.
    """
    known = [lookup.templates_of(code) for lookup in lookups]
    if not any(known):
        return {}
    own: set[str] = set()
    if any(lookup.index.by_code_sha256(code.sha256) for lookup in lookups):
        # Only then: there may be very many deployments, and which opcodes one has takes longer than all else.
        units = _code_units(request.forks, tools, lookups[0].index, code)
        own = {name for unit in units if any(lookup.find(unit) for lookup in lookups) for name in unit.forks}
    stored = [
        entry
        for lookup, entries in zip(lookups, known, strict=True)
        for entry in entries
        if lookup.is_there(entry.pack)
    ]
    makeable = [
        entry
        for entries in known
        for entry in entries
        if not code.holes
        if not any(code_digest(denied, entry.member.holes) == entry.member.code_sha256 for denied in inputs.denied)
    ]
    found = {}
    for fork in request.forks:
        serving = [entry for entry in stored if serves(entry.member, fork)]
        if fork.name not in own and (serving or makeable):
            found[fork.name] = (serving or makeable)[0].member
    return found


def _units(tools: Toolchain, index: StoreIndex, tasks: Iterable[_Task]) -> Iterator[Unit]:
    planned: set[str] = set()
    # Codes without holes first: a template that can't be one becomes such a code, which may be there already.
    for task in sorted(tasks, key=lambda task: bool(task.code.holes)):
        for unit in _task_units(tuple(task.forks.values()), tools, index, task.code):
            if unit.key not in planned:
                planned.add(unit.key)
                yield unit


def _task_units(forks: tuple[Fork, ...], tools: Toolchain, index: StoreIndex, code: Code) -> Iterator[Unit]:
    return (_template_units if code.holes else _code_units)(forks, tools, index, code)


def _template_units(forks: tuple[Fork, ...], tools: Toolchain, index: StoreIndex, code: Code) -> Iterator[Unit]:
    """A code with holes as a template; where it can't be one, as those with fewer holes, and codes, of the inputs."""
    template = replace(code, data=masked_code(code.data, code.holes))
    refused: dict[str, str] = {}
    for unit in _code_units(forks, tools, index, template):
        refusal = None
        if index.find(tools.profile.digest, template.sha256, unit.rules, template.holes) is None:
            refusal = _refusal(tools, unit)
        if refusal is None:
            yield unit
        else:
            refused.update(dict.fromkeys(unit.forks, refusal))
    for plain in code.deployments.values() if refused else ():
        for unit in _task_units(tuple(fork for fork in forks if fork.name in refused), tools, index, plain):
            unit.report.template_refusal = unit.report.template_refusal or refused[unit.forks[0]]
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
