"""State tests: official vectors as cases, which of them to run, and what a run says.

Job: read GeneralStateTests and EEST state tests (``.json``, ``.jsonl``, ``.jsonl.xz``), select by fork, tag
and stratified sample, and sum up results.  Invariants: a case is identified by (test id, fork, index) in
every order of reading; a sample depends on the seed and the set of cases alone.
May import: `evmaot.evm.forks`, `evmaot.json_text`, errors.  How a case runs: `hosts.state_test_eels`.
"""

from __future__ import annotations

import json
import lzma
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evmaot.errors import InputError
from evmaot.evm.forks import FORKS, Fork, fork_named
from evmaot.json_text import parse_json

TAGS = ("evm", "precompile")
"""Subjects of tests; files that do not say are ``evm``."""
_TEST_FIELDS = frozenset(("env", "pre", "transaction", "post"))


@dataclass(frozen=True, slots=True)
class CaseKey:
    """Which case: one entry of one fork in one test's `post`."""

    test: str
    fork_name: str
    """As the test calls it: ``EIP150``, ``ConstantinopleFix``, ``Merge``."""
    index: int


@dataclass(frozen=True, slots=True)
class StateTest:
    """One test: many cases that share a state and a transaction template."""

    id: str
    file: str
    tag: str
    filler: str
    """``retesteth`` or ``eest``: they differ in what a rejected transaction leaves behind."""
    content: Mapping[str, Any]
    """`env`, `pre`, `transaction`, `post` as in the file."""

    def cases(self) -> Iterator[CaseKey]:
        """Its cases."""
        for fork_name, entries in self.content["post"].items():
            for index in range(len(entries)):
                yield CaseKey(self.id, fork_name, index)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a case went."""

    test: str
    file: str
    fork_name: str
    index: int
    passed: bool
    problem: str
    """What differed; empty when it passed."""
    native_frames: int
    seconds: float
    mode: str
    """Which programs ran: ``fast``, ``optimised``, or ``interpreter``."""

    @property
    def key(self) -> CaseKey:
        """Which case."""
        return CaseKey(self.test, self.fork_name, self.index)

    def to_json(self) -> str:
        """One line of a resume file."""
        return json.dumps(asdict(self), separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Selection:
    """Which cases to run."""

    forks: frozenset[str] = frozenset(FORKS)
    """Names in `FORKS`."""
    tags: frozenset[str] = frozenset(TAGS)
    name_contains: str = ""

    def wants(self, test: StateTest, key: CaseKey) -> bool:
        """Whether a case is selected.  A fork that nobody knows is not."""
        fork = fork_of_test(key.fork_name)
        return fork is not None and fork.name in self.forks and test.tag in self.tags and self.name_contains in test.id


@dataclass(slots=True)
class ForkSummary:
    """One row of the table."""

    fork: str
    cases: int = 0
    passed: int = 0
    failed: int = 0
    native_frames: int = 0
    seconds: float = 0.0


def fork_of_test(name: str) -> Fork | None:
    """The rules by a test's name of the fork; None if unknown (transitions, forks to come)."""
    known = _FORK_BY_TEST_NAME.get(name)
    if known is not None:
        return known
    try:
        return fork_named(name)
    except Exception:
        return None


_FORK_BY_TEST_NAME: dict[str, Fork] = {
    "EIP150": fork_named("tangerine_whistle"),
    "EIP158": fork_named("spurious_dragon"),
    "ConstantinopleFix": fork_named("petersburg"),
    "Merge": fork_named("paris"),
}


def state_test_files(paths: Iterable[Path]) -> list[Path]:
    """Files of tests among the paths; directories are searched.  Raises InputError `no_state_tests`."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.name.endswith((".json", ".jsonl", ".jsonl.xz")))
        elif path.exists():
            found.append(path)
        else:
            raise InputError("no_state_tests", f"{path} does not exist", context={"path": str(path)})
    if not found:
        raise InputError(
            "no_state_tests",
            "no state tests found",
            hint="name .json, .jsonl or .jsonl.xz files of GeneralStateTests, or directories of them",
        )
    return found


def read_tests(files: Sequence[Path]) -> Iterator[StateTest]:
    """All tests of the files, in order.  Raises InputError `bad_state_test`.

    Fillers cut long names, so an id may come again: then ``#2`` and so on tells the tests apart.
    """
    seen: Counter[str] = Counter()
    for test in _tests_as_named(files):
        seen[test.id] += 1
        count = seen[test.id]
        yield test if count == 1 else replace(test, id=f"{test.id}#{count}")


def _tests_as_named(files: Sequence[Path]) -> Iterator[StateTest]:
    for file in files:
        name = file.name.split(".", 1)[0]
        try:
            if file.name.endswith(".json"):
                yield from _tests_of_document(parse_json(file.read_bytes()), name)
            else:
                opener = lzma.open if file.name.endswith(".xz") else open
                with opener(file, "rt", encoding="utf-8") as lines:
                    for line in lines:
                        yield test_of_line(line, name)
        except (ValueError, KeyError, OSError, lzma.LZMAError) as error:
            raise InputError(
                "bad_state_test", f"{file} is not a file of state tests", context={"path": str(file)}, cause=str(error)
            ) from error


def test_of_line(line: str, file: str) -> StateTest:
    """The test of one line of a ``.jsonl`` file."""
    document = parse_json(line)
    return _test(document["id"], file, document)


def _tests_of_document(document: Any, file: str) -> Iterator[StateTest]:
    if not isinstance(document, dict):
        raise ValueError("not a JSON object of tests by name")
    for name, content in document.items():
        if isinstance(content, dict) and content.keys() >= _TEST_FIELDS:
            yield _test(f"{file}:{name}", file, content)


def _test(test_id: str, file: str, content: Mapping[str, Any]) -> StateTest:
    missing = _TEST_FIELDS - content.keys()
    if missing:
        raise ValueError(f"a test without {', '.join(sorted(missing))}")
    info = content.get("_info", {})
    filler = content.get("filler") or ("retesteth" if "filling-rpc-server" in info else "eest")
    return StateTest(test_id, file, content.get("tag", "evm"), filler, content)


def sample(groups: Mapping[tuple[str, str], Sequence[CaseKey]], size: int, seed: int) -> frozenset[CaseKey]:
    """About `size` cases, at least one of each group; `groups` is by (file, fork).

    Each group gives in proportion to the square root of its size: the small groups are the old forks and the
    special suites, which a plain proportion would leave out.
    """
    weights = {name: len(keys) ** 0.5 for name, keys in groups.items()}
    total = sum(weights.values()) or 1.0
    chosen: set[CaseKey] = set()
    for name in sorted(groups):
        keys = sorted(groups[name], key=lambda key: (key.test, key.fork_name, key.index))
        count = min(len(keys), max(1, round(size * weights[name] / total)))
        chosen.update(random.Random(f"{seed} {name}").sample(keys, count))
    return frozenset(chosen)


def groups_of(tests: Iterable[StateTest], selection: Selection) -> dict[tuple[str, str], list[CaseKey]]:
    """The selected cases by (file, fork)."""
    groups: dict[tuple[str, str], list[CaseKey]] = {}
    for test in tests:
        for key in test.cases():
            if selection.wants(test, key):
                groups.setdefault((test.file, key.fork_name), []).append(key)
    return groups


def read_results(path: Path) -> dict[tuple[CaseKey, str], CaseResult]:
    """Results of an earlier run, by case and mode; an unfinished last line is ignored."""
    found: dict[tuple[CaseKey, str], CaseResult] = {}
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            result = CaseResult(**parse_json(line))
        except (ValueError, TypeError):
            continue
        found[result.key, result.mode] = result
    return found


def summarise(results: Iterable[CaseResult]) -> list[ForkSummary]:
    """The table by fork, in order of the forks."""
    rows: dict[str, ForkSummary] = {}
    for result in results:
        fork = fork_of_test(result.fork_name)
        name = fork.name if fork is not None else result.fork_name
        row = rows.setdefault(name, ForkSummary(name))
        row.cases += 1
        row.passed += result.passed
        row.failed += not result.passed
        row.native_frames += result.native_frames
        row.seconds += result.seconds
    order = list(FORKS)
    return sorted(rows.values(), key=lambda row: order.index(row.fork) if row.fork in order else len(order))
