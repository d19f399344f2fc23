"""What a run has compared: sums over its chunks, as tables.

Job: add up chunks' results and print them.  A program is counted once for a family, however many of its worlds,
messages and forks ran it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from evmaot.evm.forks import FORKS
from evmaot.evm.opcodes import OPCODES
from tests.differential.chunks import unpacked
from tests.differential.families import FAMILIES, FAMILY_OF

COVERED_FROM: Final = 5_000
"""Programs of a fork from which on each of its opcodes must have been executed natively."""
_COLUMNS: Final = ("worlds", "messages", "frames", "native_frames", "success", "revert", "halt")


class Report:
    """Sums of a run."""

    def __init__(self) -> None:
        self.programs: dict[str, set[bytes]] = {family: set() for family in FAMILIES}
        self.programs_of_fork: Counter[str] = Counter()
        self.created: Counter[str] = Counter()
        self.counts: dict[str, Counter[str]] = {fork: Counter() for fork in FAMILY_OF}
        self.opcodes: dict[str, Counter[int]] = {fork: Counter() for fork in FAMILY_OF}
        self.seconds: Counter[str] = Counter()
        self.found: list[dict[str, Any]] = []
        self.done: set[tuple[str, int]] = set()

    def add(self, result: dict[str, Any]) -> None:
        """Add a chunk's result."""
        self.done.add((result["family"], result["number"]))
        for fork, text in result["programs"].items():
            digests = set(unpacked(text))
            self.programs[FAMILY_OF[fork]] |= digests
            self.programs_of_fork[fork] += len(digests)
        for fork, text in result["created"].items():
            self.created[fork] += sum(1 for _ in unpacked(text))
        for fork, counts in result["counts"].items():
            self.counts[fork].update(counts)
        for fork, opcodes in result["opcodes"].items():
            self.opcodes[fork].update({int(value): count for value, count in opcodes.items()})
        self.seconds[result["family"]] += result["seconds"]
        self.found += result["found"]

    def missing(self, fork: str) -> list[str]:
        """Opcodes of the fork that no agreeing frame has executed without halting."""
        seen = self.opcodes[fork]
        return [
            row.mnemonic
            for row in OPCODES
            if row and FORKS[fork].prices(row.mnemonic) and row.mnemonic != "INVALID" and not seen[row.value]
        ]

    def uncovered(self) -> dict[str, list[str]]:
        """The same for all forks that ran enough programs to be held to it."""
        held = (fork for fork in FAMILY_OF if self.programs_of_fork[fork] >= COVERED_FROM)
        return {fork: missing for fork in held if (missing := self.missing(fork))}

    @property
    def is_good(self) -> bool:
        """No difference, and no opcode left out."""
        return not self.found and not self.uncovered()

    def text(self) -> str:
        """All tables."""
        return "\n\n".join(part for part in (self._table(), self._coverage(), self._found()) if part) + "\n"

    def _table(self) -> str:
        titles = ("family", "fork", "programs", "created", *_COLUMNS, "fast", "optimised", "differ", "CPU s")
        rows: list[tuple[str, ...]] = [tuple(name.replace("_", " ") for name in titles)]
        for family, forks in FAMILIES.items():
            total: Counter[str] = Counter()
            for fork in forks:
                counts = self.counts[fork]
                total.update(counts)
                if counts:
                    rows.append(("", fork, *self._numbers(counts, self.programs_of_fork[fork], self.created[fork]), ""))
            if total:
                created = sum(self.created[fork] for fork in forks)
                numbers = self._numbers(total, len(self.programs[family]), created)
                rows.append((family, "all", *numbers, f"{self.seconds[family]:,.0f}"))
        codes = set[bytes]().union(*self.programs.values())
        seconds = f"{sum(self.seconds.values()):,.0f}"
        rows.append(("distinct", "", f"{len(codes):,}", *[""] * (len(titles) - 4), seconds))
        widths = [max(len(row[index]) for row in rows) for index in range(len(titles))]
        return "\n".join(_line(row, widths) for row in rows)

    def _numbers(self, counts: Counter[str], programs: int, created: int) -> list[str]:
        names = (*_COLUMNS, "fast_frames", "optimised_frames", "differences")
        return [f"{number:,}" for number in (programs, created, *(counts[name] for name in names))]

    def _coverage(self) -> str:
        lines = ["Opcodes that each fork defines, executed natively by frames that agreed and did not halt:"]
        for fork in FAMILY_OF:
            seen, missing = self.opcodes[fork], self.missing(fork)
            if not seen:
                continue
            defined = [row for row in OPCODES if row and FORKS[fork].prices(row.mnemonic) and row.mnemonic != "INVALID"]
            rarest = min((row for row in defined if seen[row.value]), key=lambda row: seen[row.value])
            words = f"{len(defined) - len(missing)} of {len(defined)}"
            words += f", the rarest {rarest.mnemonic} in {seen[rarest.value]:,} frames"
            lines.append(f"  {fork}: {words}" + (f"; missing: {' '.join(missing)}" if missing else ""))
        return "\n".join(lines)

    def _found(self) -> str:
        if not self.found:
            return "No difference."
        lines = [f"{len(self.found)} differences:"]
        for row in self.found:
            lines.append(f"- {row['fork']} {row['tier']} {row['seed']}")
            lines += [f"    {word}" for word in row["words"]]
        return "\n".join(lines)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [
        cell.ljust(width) if index < 2 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
