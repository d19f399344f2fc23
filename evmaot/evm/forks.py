"""The fork table: Frontier to Osaka, each as parent + delta.

Job: what a fork charges and which rules it has.  Invariants: a fork is never compared with another
(no ordering is defined); an opcode exists in a fork if and only if `opcode_gas` prices it; adding a
fork is one block here and the golden matrix.  May import: `evmaot.errors`, `evmaot.evm.opcodes`.
Sources: Yellow Paper appendix G, the EIPs named at each delta, EELS `vm/gas.py` of each fork.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from evmaot.errors import UsageError
from evmaot.evm.opcodes import BY_MNEMONIC, OPCODES

StorageSchedule = tuple[tuple[int, int], ...]
"""Per `StorageStatus`: (gas, refund)."""


@dataclass(frozen=True, slots=True)
class ForkParameters:
    """Prices (in gas) and rules that are not one number per opcode.

    The first group is consulted by the compiler and covered by the rules digest of an artifact
    (`Opcode.parameters` names which opcode consults what); the second by the executor alone.
    """

    exp_byte: int = 10
    keccak_word: int = 6
    copy_word: int = 3
    log_byte: int = 8
    cold_sload: int = 0
    """Surcharge of a cold SLOAD over the opcode's price (EIP-2929)."""
    cold_sstore: int = 0
    """Surcharge of an SSTORE to a cold slot (EIP-2929)."""
    cold_account: int = 0
    """Surcharge of a cold account over the opcode's price (EIP-2929)."""
    cold_selfdestruct: int = 0
    """Surcharge of SELFDESTRUCT to a cold beneficiary: the whole cold price (EIP-2929)."""
    storage_schedule: StorageSchedule = ()
    sstore_sentry: int = 0
    """SSTORE is out of gas with this much gas or less (EIP-2200); 0: no such rule."""
    call_value: int = 9000
    call_stipend: int = 2300
    new_account: int = 25000
    """CALL that makes an account."""
    new_account_needs_value: bool = False
    """New-account gas only when value moves to a dead account (EIP-161), else whenever it does not exist."""
    selfdestruct_new_account: int = 0
    keeps_one_64th: bool = False
    """A frame keeps 1/64 of its gas from its children, and asks are capped (EIP-150)."""
    initcode_word: int = 0
    """Per word of init code (EIP-3860)."""
    max_initcode_size_bytes: int | None = None
    """Longer init code is out of gas (EIP-3860)."""
    delegated_account: int = 0
    """Calls of an account with an EIP-7702 delegation also pay for access to its target: this if warm."""

    delegations: bool = False
    """Calls follow EIP-7702 delegations."""
    created_nonce: int = 0
    """Nonce of a new contract (EIP-161: 1)."""
    empty_accounts_are_cleared: bool = False
    """Touched empty accounts are deleted (EIP-161)."""
    code_deposit_byte: int = 200
    unpaid_code_deposit_fails: bool = False
    """A create that cannot pay for its code fails (EIP-2); before, it leaves an account without code."""
    max_code_size_bytes: int | None = None
    """EIP-170."""
    rejects_ef_code: bool = False
    """EIP-3541."""
    selfdestruct_refund: int = 24000
    """EIP-3529 made it 0."""
    selfdestruct_only_if_created: bool = False
    """EIP-6780."""
    tracks_access: bool = False
    """Addresses and slots are cold or warm (EIP-2929)."""
    create_collides_with_storage: bool = True
    """A create at an address with storage fails (EIP-7610, retroactive)."""


@dataclass(frozen=True, slots=True)
class Fork:
    """A set of rules.  `name` is the key used on the command line and in artifacts."""

    name: str
    title: str
    parent: str | None
    opcode_gas: tuple[int | None, ...]
    """Static gas by opcode value; None: undefined in this fork."""
    parameters: ForkParameters
    eips: tuple[int, ...]
    """EIPs that came with this fork and change execution."""
    aliases: tuple[str, ...] = ()
    """Other names of the same rules, without case."""

    def prices(self, mnemonic: str) -> bool:
        """Whether the opcode exists in this fork."""
        return self.opcode_gas[BY_MNEMONIC[mnemonic].value] is not None


def _frontier_gas() -> dict[str, int | None]:
    zero = ("STOP", "RETURN", "SELFDESTRUCT", "SSTORE")
    base = (
        "ADDRESS ORIGIN CALLER CALLVALUE CALLDATASIZE CODESIZE GASPRICE COINBASE TIMESTAMP NUMBER "
        "PREVRANDAO GASLIMIT POP PC MSIZE GAS"
    ).split()
    very_low = (
        "ADD SUB NOT LT GT SLT SGT EQ ISZERO AND OR XOR BYTE CALLDATALOAD MLOAD MSTORE MSTORE8 CALLDATACOPY CODECOPY"
    ).split()
    low = "MUL DIV SDIV MOD SMOD SIGNEXTEND".split()
    gas: dict[str, int | None] = {**dict.fromkeys(zero, 0), **dict.fromkeys(base, 2), **dict.fromkeys(very_low, 3)}
    gas |= dict.fromkeys(low, 5) | {"ADDMOD": 8, "MULMOD": 8, "JUMP": 8, "JUMPI": 10, "EXP": 10, "JUMPDEST": 1}
    gas |= {"KECCAK256": 30, "BLOCKHASH": 20, "BALANCE": 20, "EXTCODESIZE": 20, "EXTCODECOPY": 20, "SLOAD": 50}
    gas |= {"CREATE": 32000, "CALL": 40, "CALLCODE": 40}
    gas |= {f"PUSH{n}": 3 for n in range(1, 33)} | {f"DUP{n}": 3 for n in range(1, 17)}
    gas |= {f"SWAP{n}": 3 for n in range(1, 17)} | {f"LOG{n}": 375 * (n + 1) for n in range(5)}
    return gas


def _legacy_schedule() -> StorageSchedule:
    """Frontier's rule by current and new value alone: 20000 for 0 -> Z, else 5000; refund 15000 for X -> 0."""
    sets, clears = (20000, 0), (5000, 15000)
    change = (5000, 0)
    return (change, sets, clears, change, sets, clears, sets, clears, change)


def _net_schedule(*, warm: int, reset: int, clear_refund: int) -> StorageSchedule:
    """EIP-1283, EIP-2200, EIP-2929 and EIP-3529 in one form: `warm` for what is already paid for."""
    set_back, reset_back = 20000 - warm, reset - warm
    return (
        (warm, 0),
        (20000, 0),
        (reset, clear_refund),
        (reset, 0),
        (warm, -clear_refund),
        (warm, clear_refund),
        (warm, reset_back - clear_refund),
        (warm, set_back),
        (warm, reset_back),
    )


def _gas_table(gas: Mapping[str, int | None]) -> tuple[int | None, ...]:
    return tuple(gas.get(row.mnemonic) if row is not None else None for row in OPCODES)


_FRONTIER = Fork(
    "frontier",
    "Frontier",
    None,
    _gas_table(_frontier_gas()),
    ForkParameters(storage_schedule=_legacy_schedule()),
    (),
)


def _fork(
    parent: Fork,
    name: str,
    title: str,
    *,
    eips: tuple[int, ...],
    gas: Mapping[str, int | None] | None = None,
    aliases: tuple[str, ...] = (),
    **parameters: Any,
) -> Fork:
    table = list(parent.opcode_gas)
    for mnemonic, price in (gas or {}).items():
        table[BY_MNEMONIC[mnemonic].value] = price
    return Fork(name, title, parent.name, tuple(table), replace(parent.parameters, **parameters), eips, aliases)


_HOMESTEAD = _fork(
    _FRONTIER,
    "homestead",
    "Homestead",
    eips=(2, 7),
    gas={"DELEGATECALL": 40},
    aliases=("dao_fork", "daofork"),
    unpaid_code_deposit_fails=True,
)
_TANGERINE_WHISTLE = _fork(
    _HOMESTEAD, "tangerine_whistle", "Tangerine Whistle", eips=(150,),
    gas={
        "EXTCODESIZE": 700, "EXTCODECOPY": 700, "BALANCE": 400, "SLOAD": 200,
        "CALL": 700, "CALLCODE": 700, "DELEGATECALL": 700, "SELFDESTRUCT": 5000,
    },
    aliases=("eip150",),
    keeps_one_64th=True,
    selfdestruct_new_account=25000,
)  # fmt: skip
_SPURIOUS_DRAGON = _fork(
    _TANGERINE_WHISTLE,
    "spurious_dragon",
    "Spurious Dragon",
    eips=(160, 161, 170),
    aliases=("eip158",),
    exp_byte=50,
    created_nonce=1,
    empty_accounts_are_cleared=True,
    new_account_needs_value=True,
    max_code_size_bytes=24576,
)
_BYZANTIUM = _fork(
    _SPURIOUS_DRAGON,
    "byzantium",
    "Byzantium",
    eips=(140, 211, 214),
    gas={"REVERT": 0, "RETURNDATASIZE": 2, "RETURNDATACOPY": 3, "STATICCALL": 700},
)
_CONSTANTINOPLE = _fork(
    _BYZANTIUM,
    "constantinople",
    "Constantinople",
    eips=(145, 1014, 1052, 1283),
    gas={"SHL": 3, "SHR": 3, "SAR": 3, "CREATE2": 32000, "EXTCODEHASH": 400},
    storage_schedule=_net_schedule(warm=200, reset=5000, clear_refund=15000),
)
_PETERSBURG = _fork(
    _CONSTANTINOPLE,
    "petersburg",
    "Petersburg",
    eips=(1716,),
    aliases=("constantinoplefix",),
    storage_schedule=_legacy_schedule(),
)
_ISTANBUL = _fork(
    _PETERSBURG,
    "istanbul",
    "Istanbul",
    eips=(1344, 1884, 2200),
    gas={"CHAINID": 2, "SELFBALANCE": 5, "SLOAD": 800, "BALANCE": 700, "EXTCODEHASH": 700},
    aliases=("muir_glacier", "muirglacier"),
    storage_schedule=_net_schedule(warm=800, reset=5000, clear_refund=15000),
    sstore_sentry=2300,
)
_BERLIN = _fork(
    _ISTANBUL, "berlin", "Berlin", eips=(2929,),
    gas={
        "SLOAD": 100, "BALANCE": 100, "EXTCODESIZE": 100, "EXTCODECOPY": 100, "EXTCODEHASH": 100,
        "CALL": 100, "CALLCODE": 100, "DELEGATECALL": 100, "STATICCALL": 100,
    },
    storage_schedule=_net_schedule(warm=100, reset=2900, clear_refund=15000),
    cold_sload=2000,
    cold_sstore=2100,
    cold_account=2500,
    cold_selfdestruct=2600,
    tracks_access=True,
)  # fmt: skip
_LONDON = _fork(
    _BERLIN,
    "london",
    "London",
    eips=(3198, 3529, 3541),
    gas={"BASEFEE": 2},
    aliases=("arrow_glacier", "arrowglacier", "gray_glacier", "grayglacier"),
    storage_schedule=_net_schedule(warm=100, reset=2900, clear_refund=4800),
    selfdestruct_refund=0,
    rejects_ef_code=True,
)
_PARIS = _fork(_LONDON, "paris", "Paris", eips=(4399,), aliases=("merge",))
_SHANGHAI = _fork(
    _PARIS,
    "shanghai",
    "Shanghai",
    eips=(3651, 3855, 3860),
    gas={"PUSH0": 2},
    initcode_word=2,
    max_initcode_size_bytes=49152,
)
_CANCUN = _fork(
    _SHANGHAI,
    "cancun",
    "Cancun",
    eips=(1153, 4844, 5656, 6780, 7516),
    gas={"TLOAD": 100, "TSTORE": 100, "MCOPY": 3, "BLOBHASH": 3, "BLOBBASEFEE": 2},
    selfdestruct_only_if_created=True,
)
_PRAGUE = _fork(_CANCUN, "prague", "Prague", eips=(7702,), delegated_account=100, delegations=True)
_OSAKA = _fork(_PRAGUE, "osaka", "Osaka", eips=(7939,), gas={"CLZ": 5}, aliases=("bpo1", "bpo2"))

_ALL = (
    _FRONTIER, _HOMESTEAD, _TANGERINE_WHISTLE, _SPURIOUS_DRAGON, _BYZANTIUM, _CONSTANTINOPLE, _PETERSBURG,
    _ISTANBUL, _BERLIN, _LONDON, _PARIS, _SHANGHAI, _CANCUN, _PRAGUE, _OSAKA,
)  # fmt: skip

FORKS: Mapping[str, Fork] = {fork.name: fork for fork in _ALL}
"""All forks by name, in order of their activation."""

DEFAULT_FORK = "osaka"

_BY_ALIAS: dict[str, Fork] = {
    key: fork for fork in _ALL for alias in (fork.name, *fork.aliases) for key in (alias, alias.replace("_", ""))
}
"""With and without underscores: test suites write ``TangerineWhistle``."""


def _key(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def fork_named(name: str) -> Fork:
    """The fork of that name or alias, without case.  Raises UsageError `unknown_fork`."""
    key = _key(name)
    fork = _BY_ALIAS.get(key) or _BY_ALIAS.get(key.replace("_", ""))
    if fork is None:
        raise UsageError(
            "unknown_fork",
            f"unknown fork {name!r}",
            context={"fork": name, "known": list(FORKS)},
            hint="one of: " + ", ".join(FORKS) + "; see: evmaot forks",
        )
    return fork


def forks_selected(selection: str) -> tuple[Fork, ...]:
    """The forks of ``osaka``, ``london..osaka``, ``all`` or a comma-separated list of these.

    Raises UsageError `unknown_fork` or `empty_fork_range`.
    """
    chosen: dict[str, Fork] = {}
    for part in selection.split(","):
        if _key(part) == "all":
            chosen |= FORKS
        elif ".." in part:
            first, _, last = part.partition("..")
            names = list(FORKS)
            low = names.index(fork_named(first).name) if first.strip() else 0
            high = names.index(fork_named(last).name) if last.strip() else len(names) - 1
            if low > high:
                raise UsageError(
                    "empty_fork_range",
                    f"fork range {part!r} is empty",
                    context={"range": part},
                    hint=f"write it the other way round: {last.strip()}..{first.strip()}",
                )
            chosen |= {name: FORKS[name] for name in names[low : high + 1]}
        else:
            fork = fork_named(part)
            chosen[fork.name] = fork
    return tuple(chosen.values())
