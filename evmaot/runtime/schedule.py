"""A fork with other prices: what `RuntimeConfig.gas_params` makes of a fork.

Job: apply a custom schedule.  Invariants: the result has a name of its own, and its prices are in the rules digest of
whatever is compiled under it, so its artifacts are never taken for those of the plain fork.
May import: `evmaot.evm`, errors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, replace

from evmaot.errors import UsageError
from evmaot.evm.forks import Fork, ForkParameters
from evmaot.evm.opcodes import BY_MNEMONIC, OPCODES

PARAMETERS = frozenset(name for row in OPCODES if row is not None for name in row.parameters) & frozenset(
    item.name for item in fields(ForkParameters) if item.type == "int"
)
"""Fork parameters that compiled code charges by."""


def check_gas_params(gas_params: Mapping[str, int] | None) -> tuple[tuple[str, int], ...]:
    """The schedule as a value, sorted.  Raises UsageError ``bad_gas_params``."""
    found = []
    for name, gas in sorted((gas_params or {}).items()):
        if name not in BY_MNEMONIC and name not in PARAMETERS:
            cause = "it is neither an opcode nor a parameter that compiled code charges by"
            raise _refused(name, cause, "parameters: " + ", ".join(sorted(PARAMETERS)))
        if isinstance(gas, bool) or not isinstance(gas, int) or not 0 <= gas < 1 << 31:
            raise _refused(name, f"{gas!r} is not a number of gas below 2^31", "gas is a whole number")
        found.append((name, gas))
    return tuple(found)


def with_gas_params(fork: Fork, gas_params: tuple[tuple[str, int], ...]) -> Fork:
    """The fork with these prices.  An opcode that the fork does not have stays undefined."""
    if not gas_params:
        return fork
    prices = list(fork.opcode_gas)
    parameters: dict[str, int] = {}
    for name, gas in gas_params:
        if name in PARAMETERS:
            parameters[name] = gas
        elif prices[BY_MNEMONIC[name].value] is not None:
            prices[BY_MNEMONIC[name].value] = gas
    digest = hashlib.sha256(json.dumps(gas_params).encode()).hexdigest()[:16]
    # mypy cannot see that every parameter named here is an integer.
    changed = replace(fork.parameters, **parameters)  # type: ignore[arg-type]
    return replace(
        fork, name=f"{fork.name}+{digest}", opcode_gas=tuple(prices), parameters=changed, aliases=(), parent=fork.name
    )


def _refused(name: str, cause: str, hint: str) -> UsageError:
    return UsageError("bad_gas_params", f"bad gas parameter {name!r}", context={"name": name}, cause=cause, hint=hint)
