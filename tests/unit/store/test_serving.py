"""Which forks an artifact serves: the quick answer is that of comparing digests under every fork."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evmaot.evm.forks import FORKS
from evmaot.evm.instruction_set import opcode_bitmap
from evmaot.store.index import rules_digest
from evmaot.store.serving import ServedForks, fork_table_digest, served_forks


def by_digests(opcodes: str, rules: str) -> tuple[str, ...]:
    return tuple(name for name, fork in FORKS.items() if rules_digest(fork, opcodes) == rules)


@given(st.sets(st.integers(0, 255), max_size=80), st.sampled_from(list(FORKS)), st.sampled_from(["", *FORKS]))
def test_the_answer_is_that_of_comparing_every_digest(opcodes: set[int], fork: str, likely: str) -> None:
    bitmap = opcode_bitmap(opcodes)
    rules = rules_digest(FORKS[fork], bitmap)
    assert served_forks(bitmap, rules, [likely]) == by_digests(bitmap, rules)
    assert fork in served_forks(bitmap, rules)


def test_every_single_opcode_tells_the_same_forks_apart_as_its_digest() -> None:
    for value in range(256):
        bitmap = opcode_bitmap({value})
        for fork in FORKS.values():
            rules = rules_digest(fork, bitmap)
            assert served_forks(bitmap, rules) == by_digests(bitmap, rules), (hex(value), fork.name)


def test_rules_of_no_fork_serve_none_whatever_was_said() -> None:
    assert served_forks(opcode_bitmap({1}), "0" * 64, ["osaka"]) == ()
    assert ServedForks().of(opcode_bitmap({1}), "0" * 64, ["amsterdam"]) == ()


def test_the_digest_of_the_fork_table_is_stable_in_a_process() -> None:
    assert fork_table_digest() == fork_table_digest()
    assert len(fork_table_digest()) == 64
