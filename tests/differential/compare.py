"""Runs generated worlds on both sides and says what differs.

Job: `Comparison.run` for a batch of worlds at one tier.  EELS goes first and tells which codes run, so that all of
them are compiled at once.  Invariants: every frame of every message is compared; a program is counted only after it
was entered natively and all frames of that message agreed; a difference never ends a run.
"""

from __future__ import annotations

import hashlib
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from evmaot.evm.forks import FORKS
from tests.differential.cases import Generated, variants
from tests.differential.eels_side import EelsSide, EelsWorld
from tests.differential.frames import AccountEnd, MessageEnd, frame_differences, show
from tests.differential.native_side import NativeSide
from tests.support.native import BOTH_TIERS, Call

COMPILING: Final = "compiling"
"""First word of the progress of what is done for many programs at once."""


def differences(call: Call, fork: str, expected: MessageEnd, found: MessageEnd) -> list[str]:
    """What is not equal, in words; the innermost faulty frame first."""
    for index, (right, wrong) in enumerate(zip(expected.frames, found.frames, strict=False)):
        if right != wrong:
            where = f"frame {index} of {len(expected.frames)} (depth {right.depth}, account {right.recipient:#x}): "
            return [where + text for text in frame_differences(right, wrong)]
    words = []
    if len(expected.frames) != len(found.frames):
        words.append(f"frames: EELS {len(expected.frames)}, native {len(found.frames)}")
    if (found.reason == "BAD_JUMP_DESTINATION") != (expected.reason == "InvalidJumpDestError"):
        words.append(f"reason: EELS {expected.reason}, native {found.reason}")
    for name in ("destroyed", "warm_addresses", "warm_slots"):
        right, wrong = getattr(expected, name), getattr(found, name)
        if right != wrong:
            words.append(f"{name}: EELS {show(right)}, native {show(wrong)}")
    for address in sorted(expected.changed.keys() | found.changed.keys()):
        theirs, ours = (_after(call, fork, side.changed, address) for side in (expected, found))
        if theirs != ours:
            words.append(f"account {address:#x}: EELS {show(theirs)}, native {show(ours)}")
    return words


def _after(call: Call, fork: str, changed: Mapping[int, AccountEnd | None], address: int) -> AccountEnd | None:
    """An account after the message, None also for one that the transaction's end deletes (EIP-161)."""
    account = changed.get(address)
    before = call.world.get(address)
    if address not in changed and before is not None:
        slots = {key: value for key, value in before.storage.items() if value}
        account = AccountEnd(before.nonce, before.balance, before.code, slots)
    if account and FORKS[fork].parameters.empty_accounts_are_cleared:
        return account if account.nonce or account.balance or account.code else None
    return account


@dataclass(slots=True)
class Found:
    """A message that does not end as on EELS."""

    seed: str
    fork: str
    tier: str
    call: Call
    words: list[str]


@dataclass
class Tally:
    """What was compared, by fork."""

    programs: dict[str, set[bytes]] = field(default_factory=dict)
    """Digests of the generated programs that ran natively and agreed."""
    created: dict[str, set[bytes]] = field(default_factory=dict)
    """The same of init codes, and of what was created."""
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    opcodes: dict[str, Counter[int]] = field(default_factory=dict)
    """Frames, without those that halted, that executed an opcode and agreed."""
    found: list[Found] = field(default_factory=list)


class Comparison:
    """Both sides, kept for many worlds."""

    def __init__(self, tiers: Iterable[str] = BOTH_TIERS, cache: Path | None = None) -> None:
        self.natives = {tier: NativeSide(tier, cache) for tier in tiers}
        self._eels: dict[str, EelsSide] = {}
        self.tally = Tally()

    def eels(self, fork: str) -> EelsSide:
        """EELS of a fork."""
        if fork not in self._eels:
            self._eels[fork] = EelsSide(fork)
        return self._eels[fork]

    def close(self) -> None:
        """Take EELS's patches back."""
        for side in self._eels.values():
            side.restore()
        self._eels.clear()

    def run(
        self,
        worlds: Iterable[Generated],
        tier: str,
        progress: Callable[[str], None] = lambda _: None,
        *,
        alone: bool = False,
    ) -> None:
        """Compare all messages of some worlds; what is found is in `tally`."""
        expected = []
        for world in worlds:
            progress(f"EELS {world.seed}")
            expected.append((world, self._expect(world)))
        progress(f"{COMPILING} a batch")
        native = self.natives[tier]
        frames = ((frame, FORKS[world.fork]) for world, ends in expected for _, end in ends for frame in end.frames)
        native.programs.prepare(() if alone else ((frame.code, fork) for frame, fork in frames if frame.code))
        for world, ends in expected:
            progress(f"{tier} {world.seed}")
            self._compare(native, world, ends)

    def _expect(self, generated: Generated) -> list[tuple[Call, MessageEnd]]:
        side = self.eels(generated.fork)
        world = EelsWorld(side, generated.calls[0])
        ends = []
        for call in generated.calls:
            end = side.run(call, world)
            ends.append((call, end))
            if end.frames[-1].outcome != "halt":
                for variant in variants(call, call.gas - end.frames[-1].gas_left, generated.seed):
                    ends.append((variant, side.run(variant, world)))
        return ends

    def _compare(self, native: NativeSide, generated: Generated, ends: list[tuple[Call, MessageEnd]]) -> None:
        fork = generated.fork
        state = native.state_of(generated.calls[0], fork)
        counts = self.tally.counts.setdefault(fork, Counter())
        counts["worlds"] += 1
        for call, expected in ends:
            before = native.native_frames
            try:
                words = differences(call, fork, expected, native.run(call, fork, state))
            except Exception:
                words = [f"exception: {traceback.format_exc(limit=-4)}"]
            if words:
                self.tally.found.append(Found(generated.seed, fork, native.tier, call, words))
                counts["differences"] += 1
                continue
            counts["messages"] += 1
            counts["native_frames"] += native.native_frames - before
            self._count(counts, fork, native.tier, call, expected)

    def _count(self, counts: Counter[str], fork: str, tier: str, call: Call, end: MessageEnd) -> None:
        programs = self.tally.programs.setdefault(fork, set())
        created = self.tally.created.setdefault(fork, set())
        opcodes = self.tally.opcodes.setdefault(fork, Counter())
        codes = {contract.code for contract in call.world.values()}
        counts["frames"] += len(end.frames)
        for frame in end.frames:
            counts[frame.outcome] += 1
            if frame.code:
                counts[f"{tier}_frames"] += 1
                digest = hashlib.sha256(frame.code).digest()[:8]
                (programs if frame.code in codes else created).add(digest)
        opcodes.update(end.opcodes)
