"""Where a compiler's metadata lies."""

from __future__ import annotations

import pytest

from evmaot.inputs.metadata import metadata_hole

SOLC = bytes.fromhex("a2646970667358221220") + bytes(32) + bytes.fromhex("64736f6c63430008180033")
CODE = bytes.fromhex("600760005500fe")


def test_the_cbor_map_of_solc_is_found_and_its_length_left_out() -> None:
    assert metadata_hole(CODE + SOLC) == (len(CODE), len(SOLC) - 2)


def test_that_of_old_vyper_as_well() -> None:
    trailer = bytes.fromhex("a165767970657283000307000b")
    assert metadata_hole(CODE + trailer) == (len(CODE), len(trailer) - 2)


@pytest.mark.parametrize(
    "code",
    [b"", b"\x00", CODE, CODE + b"\xff\xff", CODE + bytes(40) + b"\x00\x28", SOLC, CODE + b"\xa1\x63abc\x00\x05"],
)
def test_what_only_looks_like_it_is_none(code: bytes) -> None:
    assert metadata_hole(code) is None
