"""Custom gas schedules: what they change, what they refuse, and that they are part of the key."""

from __future__ import annotations

from typing import Any

import pytest

from evmaot.errors import UsageError
from evmaot.evm.forks import FORKS
from evmaot.evm.instruction_set import restrict
from evmaot.evm.opcodes import BY_MNEMONIC
from evmaot.runtime.schedule import PARAMETERS, check_gas_params, with_gas_params

OSAKA = FORKS["osaka"]
ADD, SLOAD = BY_MNEMONIC["ADD"].value, BY_MNEMONIC["SLOAD"].value


def test_prices_change_and_with_them_the_rules() -> None:
    changed = with_gas_params(OSAKA, check_gas_params({"ADD": 7, "cold_sload": 5000}))
    assert changed.opcode_gas[ADD] == 7
    assert changed.parameters.cold_sload == 5000
    for opcode in (ADD, SLOAD):
        assert restrict(changed, frozenset({opcode})).digest != restrict(OSAKA, frozenset({opcode})).digest
    other = frozenset({BY_MNEMONIC["MUL"].value})
    assert restrict(changed, other).digest == restrict(OSAKA, other).digest, "a code that can't tell shares"
    assert changed.name != OSAKA.name
    assert changed.parent == "osaka"


def test_no_schedule_is_the_fork_itself() -> None:
    assert with_gas_params(OSAKA, check_gas_params(None)) is OSAKA


def test_a_price_does_not_make_an_opcode() -> None:
    """CLZ came with Osaka (EIP-7939)."""
    changed = with_gas_params(FORKS["prague"], check_gas_params({"CLZ": 5}))
    assert not changed.prices("CLZ")


@pytest.mark.parametrize(
    "gas_params",
    [{"NO_SUCH": 1}, {"max_code_size_bytes": 1}, {"ADD": -1}, {"ADD": 1.5}, {"ADD": True}, {"ADD": 1 << 31}],
)
def test_what_is_no_price_is_refused(gas_params: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        check_gas_params(gas_params)
    assert caught.value.reference == "bad_gas_params"


def test_only_what_the_compiler_consults_can_be_changed() -> None:
    assert "cold_sload" in PARAMETERS
    assert "selfdestruct_refund" not in PARAMETERS, "the executor's, which no schedule reaches"
