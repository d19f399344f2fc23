"""Addresses: what is one, lists of them, and checksums that don't fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from evmaot.errors import UsageError
from evmaot.inputs.live.addresses import checksummed, fault_of_address, read_addresses
from evmaot.inputs.source import Problem

# EIP-55, test cases.
CHECKED = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]


@pytest.mark.parametrize("address", CHECKED)
def test_checksums_are_those_of_eip_55(address: str) -> None:
    assert checksummed(address[2:]) == address[2:]
    assert fault_of_address(address) is None
    assert fault_of_address(address.lower()) is None


def test_a_mixed_case_address_with_a_wrong_digit_is_refused() -> None:
    fault = fault_of_address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAee")
    assert fault is not None
    assert fault[0] == "bad_checksum"


@pytest.mark.parametrize(
    "text", ["", "0x", "0x12", "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "vitalik.eth", "0x" + "g" * 40]
)
def test_other_text_is_no_address(text: str) -> None:
    fault = fault_of_address(text)
    assert fault is not None
    assert fault[0] == "bad_address"


def test_a_bad_address_of_the_command_line_is_a_usage_error_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        read_addresses(["0x12"])
    assert caught.value.reference == "bad_address"


def test_a_list_has_one_address_on_a_line_and_each_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "hot.txt"
    path.write_text(f"# hot\n{CHECKED[0]}\n\n{CHECKED[1]},12345 calls\n'{CHECKED[0].lower()}'\nbad\n")
    found = list(read_addresses([f"@{path}", f"{CHECKED[2]},{CHECKED[0]}"]))
    addresses = [item for item in found if isinstance(item, str)]
    (problem,) = [item for item in found if isinstance(item, Problem)]
    assert addresses == [address.lower() for address in CHECKED[:3]]
    assert (problem.code, problem.subject) == ("bad_address", f"@{path}#L6")


def test_a_missing_list_is_a_problem(tmp_path: Path) -> None:
    (problem,) = read_addresses([f"@{tmp_path / 'absent'}"])
    assert isinstance(problem, Problem)
    assert problem.code == "not_found"
    (problem,) = read_addresses([f"@{tmp_path}"])
    assert isinstance(problem, Problem)
    assert problem.code == "unreadable"
