"""The digest of a template."""

from __future__ import annotations

import hashlib
import random

from evmaot.evm.template import code_digest, masked_code

CODE = bytes(range(1, 101))
HOLES = ((3, 4), (50, 32))


def test_masking_touches_the_holes_alone() -> None:
    masked = masked_code(CODE, HOLES)
    inside = {place for offset, length in HOLES for place in range(offset, offset + length)}
    assert [index for index in range(100) if masked[index] != CODE[index]] == sorted(inside)
    assert not any(masked[index] for index in inside)


def test_without_holes_it_is_the_digest_of_the_code() -> None:
    assert code_digest(CODE) == hashlib.sha256(CODE).hexdigest()


def test_bytes_in_holes_do_not_matter_and_every_other_byte_does() -> None:
    digest = code_digest(CODE, HOLES)
    inside = {place for offset, length in HOLES for place in range(offset, offset + length)}
    for index in range(100):
        changed = bytearray(CODE)
        changed[index] ^= 1 << random.Random(index).randrange(8)
        assert (code_digest(bytes(changed), HOLES) == digest) == (index in inside)


def test_holes_and_length_are_part_of_it() -> None:
    zeros = bytes(100)
    layouts = [(), ((3, 4),), ((3, 5),), ((3, 2), (5, 2)), ((4, 4),)]
    assert len({code_digest(zeros, holes) for holes in layouts}) == len(layouts)
    assert code_digest(zeros, ((3, 4),)) != code_digest(bytes(101), ((3, 4),))
    assert code_digest(zeros, ((3, 4),)) != code_digest(masked_code(zeros, ((3, 4),)))
