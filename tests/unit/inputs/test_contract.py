"""What is accepted as a contract: digits, limits, classes, holes, libraries."""

from __future__ import annotations

from typing import Any

import pytest

from evmaot.inputs.context import Context
from evmaot.inputs.contract import read_code
from evmaot.inputs.problems import MAX_TEXT_LENGTH, PROBLEMS
from evmaot.inputs.source import ContractSource, Hole, InputLimits, Item, Problem
from evmaot.inputs.vyper_immutables import appended_size

PLACEHOLDER = "__$" + "0123456789abcdef0123456789abcdef01" + "$__"
OLD_PLACEHOLDER = "__lib/Math.sol:Math".ljust(40, "_")


def read(value: object, *, unlinked: bool = False, **options: Any) -> Item:
    return read_code(Context("x.json", InputLimits(), unlinked).at("k"), value, "X", **options)


def problem(value: object, **options: Any) -> Problem:
    item = read(value, **options)
    assert isinstance(item, Problem)
    assert item.subject == "x.json#k"
    return item


def contract(value: object, **options: Any) -> ContractSource:
    item = read(value, **options)
    assert isinstance(item, ContractSource)
    return item


@pytest.mark.parametrize("text", ["6000", "0x6000", "0X6000", " 0x6000\n"])
def test_the_prefix_is_optional(text: str) -> None:
    assert contract(text).code == b"\x60\x00"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("0x600", "odd_hex"),
        ("0x60zz", "not_hex"),
        ("0x60 00", "not_hex"),
        ("0x60é0", "not_hex"),
        ("0x" + PLACEHOLDER[:-1], "not_hex"),
        ("0x6" + PLACEHOLDER + "0", "not_hex"),
        ("0x60_0", "not_hex"),
        ("0xef0001", "eof_code"),
        ("0xef01", "invalid_ef_code"),
        ("0xef0100" + "11" * 20, "delegation"),
        ("0xfe710060", "blueprint"),
        ("", "no_runtime_code"),
        ("0x", "no_runtime_code"),
        (None, "no_runtime_code"),
        (7, "bad_shape"),
        ({"object": "00"}, "bad_shape"),
    ],
)
def test_what_is_no_code_has_a_named_problem(text: object, name: str) -> None:
    found = problem(text)
    assert (found.code, found.severity) == (name, PROBLEMS[name].severity)


def test_a_wrong_digit_is_named_with_its_place() -> None:
    assert "'z' at character 3" in problem("0x60z0").message


def test_the_limit_itself_is_allowed_and_one_byte_more_is_not() -> None:
    limit = InputLimits().code_size_bytes
    assert len(contract("00" * limit).code) == limit
    assert problem("00" * (limit + 1)).code == "code_too_long"


@pytest.mark.parametrize("placeholder", [PLACEHOLDER, OLD_PLACEHOLDER])
def test_an_unlinked_library_is_a_problem_or_a_hole(placeholder: str) -> None:
    text = f"0x6073{placeholder}{'11' * 3}"
    found = problem(text)
    assert found.code == "unlinked"
    assert found.hint
    source = contract(text, unlinked=True)
    assert source.code == b"\x60\x73" + bytes(20) + b"\x11" * 3
    assert source.holes == (Hole(2, 20, "library"),)


def test_an_unlinked_library_is_called_by_the_name_that_the_references_give() -> None:
    links = {"lib/Math.sol": {"Math": [{"start": 1, "length": 20}]}}
    assert "lib/Math.sol:Math" in problem(f"73{PLACEHOLDER}", link_references=links).message


def test_an_old_placeholder_is_called_by_its_own_name() -> None:
    assert problem(f"73{OLD_PLACEHOLDER}").message.endswith("lib/Math.sol:Math")


def test_zeros_where_a_library_belongs_are_unlinked_too() -> None:
    links = [{"offsets": [1], "length": 20, "name": "Math"}]  # ethPM fills with zeros
    assert problem("73" + "00" * 20 + "50", link_references=links).code == "unlinked"


def test_a_linked_library_is_a_hole_and_no_problem() -> None:
    links = {"m.sol": {"Math": [{"start": 1, "length": 20}]}}
    source = contract("73" + "11" * 20 + "50", link_references=links)
    assert source.holes == (Hole(1, 20, "library"),)
    assert source.code == b"\x73" + b"\x11" * 20 + b"\x50"


def test_immutables_are_sorted_holes() -> None:
    references = {"9": [{"start": 40, "length": 32}], "3": [{"start": 1, "length": 32}]}
    source = contract("7f" + "00" * 32 + "60" * 6 + "7f" + "00" * 32, immutable_references=references)
    assert source.holes == (Hole(1, 32, "immutable"), Hole(40, 32, "immutable"))


@pytest.mark.parametrize(
    "references",
    [
        {"3": [{"start": 1, "length": 33}]},
        {"3": [{"start": -1, "length": 2}]},
        {"3": [{"start": 0, "length": 0}]},
        {"3": [{"start": True, "length": 1}]},
        {"3": [{"start": 0}]},
        {"3": {"start": 0, "length": 1}},
        {"3": [5]},
        {"3": [{"start": 0, "length": 4}, {"start": 2, "length": 4}]},
        [1],
        "text",
    ],
)
def test_references_that_do_not_fit_the_code_are_a_problem(references: object) -> None:
    assert problem("60" * 33, immutable_references=references).code == "bad_shape"


@pytest.mark.parametrize("own_address", ["00" * 20, "12" * 20], ids=["undeployed", "deployed"])
def test_the_own_address_of_a_library_is_a_hole(own_address: str) -> None:
    assert contract("73" + own_address + "301400").holes == (Hole(1, 20, "library"),)


def test_the_implementation_of_a_minimal_proxy_is_a_hole() -> None:
    # EIP-1167: all proxies are one code but for that.
    assert contract("363d3d373d3d3d363d73" + "12" * 20 + "5af43d82803e903d91602b57fd5bf3").holes == (
        Hole(10, 20, "proxy"),
    )


def test_a_reference_to_the_own_address_and_the_guard_are_one_hole() -> None:
    references = {"library_deploy_address": [{"start": 1, "length": 20}]}
    source = contract("73" + "00" * 20 + "301400", immutable_references=references)
    assert source.holes == (Hole(1, 20, "immutable"),)


def test_appended_bytes_are_zeros_and_a_hole_and_count_for_the_limit() -> None:
    source = contract("6000", appended_size_bytes=32)
    assert source.code == b"\x60\x00" + bytes(32)
    assert source.holes == (Hole(2, 32, "immutable"),)
    assert problem("00" * InputLimits().code_size_bytes, appended_size_bytes=1).code == "code_too_long"


def test_no_text_of_an_input_can_write_to_a_terminal() -> None:
    nasty = "\x1b]0;title\x07\ud800 " + "n" * 1000
    item = read_code(Context("x", InputLimits()).at(nasty), "0x00", nasty, evm_version="\x1b[2J")
    assert isinstance(item, ContractSource)
    for text in (item.label, item.origin, item.evm_version or ""):
        assert text.isprintable()
        assert len(text.encode()) < 10 * MAX_TEXT_LENGTH
    bad = read_code(Context("x", InputLimits()), "0xzz", nasty)
    assert isinstance(bad, Problem)
    assert bad.message.isprintable()


def test_every_error_tells_what_to_do_or_why() -> None:
    bare = {name for name, row in PROBLEMS.items() if row.severity == "error" and not row.hint}
    assert bare == {"assembly_error"}  # its message names the line and what is wrong there


TRAILER_OLD = bytes.fromhex("84" + "182a" + "80" + "1820" + "a165767970657283000310")
TRAILER_NEW = bytes.fromhex("85" + "5820" + "11" * 32 + "182a" + "8106" + "1820" + "a165767970657283000403")


def init_code(trailer: bytes) -> str:
    return (b"\x60\x00" + trailer + (len(trailer) + 2).to_bytes(2, "big")).hex()


@pytest.mark.parametrize("trailer", [TRAILER_OLD, TRAILER_NEW], ids=["0.3.10", "0.4.1"])
def test_vypers_trailer_tells_the_size_of_immutables(trailer: bytes) -> None:
    assert appended_size(None, init_code(trailer), 42) == 32


@pytest.mark.parametrize("trailer", [TRAILER_OLD, TRAILER_NEW], ids=["0.3.10", "0.4.1"])
def test_a_trailer_of_another_code_tells_nothing(trailer: bytes) -> None:
    assert appended_size(None, init_code(trailer), 41) == 0


@pytest.mark.parametrize("trailer", [TRAILER_OLD, TRAILER_NEW], ids=["0.3.10", "0.4.1"])
def test_a_damaged_trailer_never_fails(trailer: bytes) -> None:
    for position in range(len(trailer)):
        for value in (0x00, 0x1B, 0x5F, 0x80, 0x9A, 0xA1, 0xBF, 0xFF):
            damaged = trailer[:position] + bytes([value]) + trailer[position + 1 :]
            assert appended_size(None, init_code(damaged), 42) >= 0
        assert appended_size(None, init_code(trailer[:position]), 42) == 0


@pytest.mark.parametrize("text", ["", "0x", "0x6", "zz", "ffff", None, 5])
def test_init_code_without_a_trailer_tells_nothing(text: object) -> None:
    assert appended_size(None, text, 42) == 0
