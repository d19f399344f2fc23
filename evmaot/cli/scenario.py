"""What `evmaot run` executes: a message, its environment and the state before it, from options and JSON.

Job: parse block environments (`env` of state tests and t8n, or plain names) and transactions; build
the executor's values of them and a prestate.
Invariants: gas is the message's: no intrinsic gas is charged, no fee is paid; what cannot be honoured
is refused by name.  May import: `evmaot.execution`, `evmaot.evm`, `evmaot.abi`, `evmaot.json_text`, errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evmaot.abi.status import CallKind
from evmaot.errors import UsageError
from evmaot.evm.forks import FORKS, Fork
from evmaot.execution.hashing import create_address, keccak256
from evmaot.execution.memory_state import MemoryState
from evmaot.execution.prestate import Prestate, block_document, read_alloc, read_prestate
from evmaot.execution.protocol import Account, Environment, Message, delegate_of
from evmaot.json_text import parse_json

DEFAULT_RECIPIENT = 0xC0DE
DEFAULT_SENDER = 0xCA11
DEFAULT_GAS = 1_000_000_000
DEFAULT_BALANCE = 10**24
"""Wei of a sender that no prestate mentions: a million ether, so that --value works by itself."""
_FIXTURE_SENDER = 0x1111111111111111111111111111111111111111
"""Sender of a transaction that names none: the convention of the benchmark files."""
_MAX_FILE_BYTES = 256 << 20
_WORD = 1 << 256
_ADDRESS = 1 << 160

_ENVIRONMENT_NAMES: Mapping[str, str] = {
    "currentcoinbase": "coinbase", "coinbase": "coinbase", "miner": "coinbase", "beneficiary": "coinbase",
    "currentnumber": "number", "number": "number",
    "currenttimestamp": "timestamp", "timestamp": "timestamp",
    "currentgaslimit": "gas_limit", "gaslimit": "gas_limit",
    "currentrandom": "prevrandao", "prevrandao": "prevrandao", "mixhash": "prevrandao",
    "currentdifficulty": "prevrandao", "difficulty": "prevrandao",
    "currentbasefee": "base_fee", "basefee": "base_fee", "basefeepergas": "base_fee",
    "currentblobbasefee": "blob_base_fee", "blobbasefee": "blob_base_fee",
    "chainid": "chain_id", "origin": "origin", "gasprice": "gas_price",
}  # fmt: skip
"""Names in files, without case and underscores, to fields of `Environment`."""
_ADDRESS_FIELDS = frozenset({"coinbase", "origin"})
_EXCESS_NAMES = frozenset({"currentexcessblobgas", "excessblobgas"})
_BLOB_FEE_FRACTIONS = ((7702, 5_007_716), (4844, 3_338_477))
"""Update fraction of the blob base fee, newest first, by an EIP in the fork's row: EIP-7691 came with EIP-7702."""
_RANDOM_NAMES = frozenset({"currentrandom", "prevrandao", "mixhash"})


@dataclass(frozen=True, slots=True)
class Block:
    """The block part of an environment, and the hashes of blocks before it."""

    fields: Mapping[str, int] = field(default_factory=dict)
    """By name of `Environment`'s field."""
    blob_hashes: tuple[int, ...] = ()
    block_hashes: Mapping[int, int] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    """Names in the file that have no meaning here."""
    excess_blob_gas: int | None = None
    """What the blob base fee follows from, where the file does not give the fee itself."""


@dataclass(frozen=True, slots=True)
class Call:
    """What the options or a transaction ask for."""

    sender: int
    recipient: int | None
    """None: a create."""
    input: bytes
    gas: int
    value: int = 0
    gas_price: int = 0
    warm_addresses: tuple[int, ...] = ()
    warm_slots: tuple[tuple[int, int], ...] = ()
    blob_hashes: tuple[int, ...] = ()
    counts_nonce: bool = False
    """A transaction: the sender's nonce is one higher while its message runs."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that the executor needs."""

    message: Message
    environment: Environment
    state: MemoryState


def parse_number(value: object, what: str, limit: int = _WORD) -> int:
    """A number from ``0x2a`` (leading zeros allowed), ``42``, ``1_000`` or an integer.

    Raises UsageError `bad_number` where it is none, or not below `limit`.
    """
    number = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str):
        text = value.strip().replace("_", "")
        if re.fullmatch(r"0[xX][0-9a-fA-F]{0,80}", text):
            number = int(text[2:] or "0", 16)
        elif re.fullmatch(r"[0-9]{1,80}", text):
            number = int(text)
    if number is None or not 0 <= number < limit:
        raise UsageError("bad_number", f"{what}: {value!r} is not a number", hint="write 42, or 0x2a", context={
            "below": hex(limit)})  # fmt: skip
    return number


def parse_address(value: object, what: str) -> int:
    """An address of 20 bytes, or fewer hex digits for a small one.  Raises UsageError."""
    if isinstance(value, str) and not value.strip().lower().startswith("0x"):
        value = "0x" + value.strip()
    return parse_number(value, what, _ADDRESS)


def parse_bytes(value: object, what: str) -> bytes:
    """Bytes from hex digits, with or without 0x.  Raises UsageError `bad_hex`."""
    text = "".join(value.split()).removeprefix("0x").removeprefix("0X") if isinstance(value, str) else None
    if text is None or re.fullmatch(r"(?:[0-9a-fA-F]{2})*", text) is None:
        shown = repr(value)[:60]
        odd = text is not None and len(text) % 2 and re.fullmatch(r"[0-9a-fA-F]*", text)
        hint = "a byte has two digits" if odd else "write pairs of hex digits: 0x18160ddd"
        raise UsageError("bad_hex", f"{what}: {shown} is not hex bytes", hint=hint)
    return bytes.fromhex(text)


def read_file(path: Path, what: str) -> bytes:
    """The bytes of a file.  Raises UsageError `unreadable_file` or `file_too_large`."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise UsageError("file_too_large", f"{what}: over 256 MiB", context={"path": str(path)})
        return path.read_bytes()
    except OSError as error:
        raise UsageError("unreadable_file", f"cannot read {what}", context={"path": str(path)}, cause=error.strerror,
                         hint="check the path") from error  # fmt: skip


def load_json(path: Path, what: str) -> Any:
    """A JSON file.  Raises UsageError `unreadable_file`, `file_too_large` or `bad_json`."""
    try:
        return parse_json(read_file(path, what))
    except ValueError as error:
        raise UsageError("bad_json", f"{what} is not JSON", context={"path": str(path)}, cause=str(error)) from error


def load_prestate(path: Path) -> Prestate:
    """The accounts of a file in any form of `execution.prestate`.  Raises UsageError, InputError."""
    return read_prestate(read_file(path, "the prestate"), str(path))


def load_block_of_prestate(path: Path) -> Block:
    """The block that a prestate carries: `env` of a state test, `block` of an anvil state; else nothing."""
    document = block_document(read_file(path, "the prestate"))
    return replace(parse_block(document), ignored=()) if document else Block()


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UsageError("bad_shape", f"{what} is not a JSON object", hint="see: evmaot man run")
    return value


def parse_block(document: object) -> Block:
    """A block environment; names of state tests, of t8n, of blocks, and plain ones are known."""
    fields: dict[str, int] = {}
    hashes: dict[int, int] = {}
    ignored = []
    blobs: tuple[int, ...] = ()
    excess, parent = None, None
    for name, value in _object(document, "the block environment").items():
        plain = name.replace("_", "").lower()
        target = _ENVIRONMENT_NAMES.get(plain)
        if value is None:
            continue
        if plain == "blockhashes":
            rows = _object(value, name)
            hashes = {parse_number(number, name): parse_number(block, name) for number, block in rows.items()}
        elif plain in ("blobhashes", "blobversionedhashes") and isinstance(value, list):
            blobs = tuple(parse_number(item, name) for item in value)
        elif plain in _EXCESS_NAMES:
            excess = parse_number(value, name, 1 << 64)
        elif plain == "blobexcessgasandprice" and isinstance(value, dict):
            # revm's form, which anvil writes
            excess = parse_number(value.get("excess_blob_gas", 0), name, 1 << 64)
        elif plain in ("previoushash", "parenthash"):
            parent = (plain, parse_number(value, name))
        elif target is None:
            ignored.append(name)
        elif target not in fields or plain in _RANDOM_NAMES:
            # Files from the merge on carry both; the randomness is what the opcode answers then.
            fields[target] = (parse_address if target in _ADDRESS_FIELDS else parse_number)(value, name)
    if parent is not None:
        # State tests know one block hash: that of block 0, whatever the current number is.
        number = 0 if parent[0] == "previoushash" else fields.get("number", 0) - 1
        hashes.setdefault(number, parent[1])
    return Block(fields, blobs, hashes, tuple(ignored), excess)


def blob_base_fee(fork: Fork, excess_blob_gas: int) -> int:
    """EIP-4844 `fake_exponential`; 0 where the fork has no blobs."""
    fraction = next((value for eip, value in _BLOB_FEE_FRACTIONS if _has_eip(fork, eip)), None)
    if fraction is None:
        return 0
    total, term, number = 0, fraction, 1
    while term > 0:
        total += term
        term = term * excess_blob_gas // (fraction * number)
        number += 1
    return total // fraction


def parse_transaction(document: object, prestate: Prestate) -> Call:
    """The first transaction of a state test or a benchmark, or one object with its fields."""
    rows = _object(_first(document), "the transaction")
    if rows.get("authorizationList"):
        raise UsageError(
            "unsupported_transaction",
            "a transaction with an authorization list is not run",
            hint="put the delegations into the prestate as code 0xef0100..., and run the rest",
        )
    sender = parse_address(rows["sender"], "sender") if rows.get("sender") else _only_sender(rows, prestate)
    recipient = rows.get("to")
    fee = rows.get("gasPrice", rows.get("maxFeePerGas", 0))
    addresses, slots = _access_list(_first(rows.get("accessLists", rows.get("accessList"))))
    return Call(
        sender=sender,
        recipient=parse_address(recipient, "to") if recipient else None,
        input=parse_bytes(_first(rows.get("data", rows.get("input", "0x"))), "data"),
        gas=parse_number(_first(rows.get("gasLimit", rows.get("gas", DEFAULT_GAS))), "gasLimit", 1 << 63),
        value=parse_number(_first(rows.get("value", 0)), "value"),
        gas_price=parse_number(fee, "gasPrice"),
        warm_addresses=addresses,
        warm_slots=slots,
        blob_hashes=tuple(parse_number(item, "blobVersionedHashes") for item in rows.get("blobVersionedHashes") or ()),
        counts_nonce=True,
    )


def _first(value: object) -> Any:
    """State tests hold lists of variants: the first one."""
    return (value[0] if value else None) if isinstance(value, list) else value


def _only_sender(rows: Mapping[str, Any], prestate: Prestate) -> int:
    if _FIXTURE_SENDER in prestate.accounts or not rows.get("secretKey"):
        return _FIXTURE_SENDER
    try:
        from coincurve import PrivateKey
    except ImportError as error:
        raise UsageError(
            "unknown_sender",
            "the transaction names no sender",
            cause=f"its secret key tells it with coincurve only: {error}",
            hint="add the field sender to the transaction, or pip install coincurve",
        ) from error
    key = parse_number(rows["secretKey"], "secretKey")
    public = PrivateKey(key.to_bytes(32, "big")).public_key.format(compressed=False)
    return int.from_bytes(keccak256(public[1:])[12:], "big")


def _access_list(rows: object) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    if not rows:
        return (), ()
    entries = rows if isinstance(rows, list) else [rows]
    addresses: list[int] = []
    slots: list[tuple[int, int]] = []
    for entry in entries:
        fields = _object(entry, "an entry of the access list")
        address = parse_address(fields.get("address"), "access list")
        addresses.append(address)
        slots += [(address, parse_number(key, "access list")) for key in fields.get("storageKeys") or ()]
    return tuple(addresses), tuple(slots)


def transaction_scenario(document: object, fork: Fork, gas: int | None) -> tuple[Scenario, str]:
    """The scenario of a file ``{name: {env, pre, transaction}}`` with one test, and its name."""
    rows = _object(document, "the file")
    if "transaction" in rows:
        name, case = "transaction", rows
    elif len(rows) == 1:
        name, case = next(iter(rows.items()))
    else:
        raise UsageError(
            "bad_shape", f"the file holds {len(rows)} tests, not one", hint="put one of them into a file of its own"
        )
    case = _object(case, name)
    missing = [key for key in ("pre", "transaction") if key not in case]
    if missing:
        raise UsageError("bad_shape", f"{name} has no {missing[0]!r}", hint="expected: {name: {env, pre, transaction}}")
    prestate = read_alloc(_object(case["pre"], "pre"), str(name))
    call = parse_transaction(case["transaction"], prestate)
    if gas is not None:
        call = replace(call, gas=gas)
    return scenario(fork, call, prestate, parse_block(case.get("env") or {})), str(name)


def scenario(
    fork: Fork, call: Call, prestate: Prestate, block: Block, code: bytes | None = None, code_hash: bytes | None = None
) -> Scenario:
    """Put the parts together; `code` (with its keccak-256, where known) replaces the code of the recipient."""
    accounts = dict(prestate.accounts)
    sender = accounts.get(call.sender)
    if sender is None and not accounts:
        sender = Account(balance=DEFAULT_BALANCE)
    nonce = sender.nonce if sender else 0
    if call.counts_nonce or call.recipient is None:
        sender = (sender or Account())._replace(nonce=nonce + 1)
    if sender is not None:
        accounts[call.sender] = sender
    if code is not None and call.recipient is not None:
        accounts[call.recipient] = accounts.get(call.recipient, Account())._replace(code=code, code_hash=code_hash)
    hashes = block.block_hashes
    state = MemoryState(fork, accounts, prestate.storages, block_hash=lambda number: hashes.get(number, 0))
    fields = {"origin": call.sender, "gas_price": call.gas_price, **block.fields}
    if block.excess_blob_gas is not None:
        fields.setdefault("blob_base_fee", blob_base_fee(fork, block.excess_blob_gas))
    environment = Environment(**fields, blob_hashes=call.blob_hashes or block.blob_hashes)
    return Scenario(_message(fork, call, state, environment, nonce), environment, state)


def _message(fork: Fork, call: Call, state: MemoryState, environment: Environment, nonce: int) -> Message:
    """The depth-0 message.  Warm from the start: sender, recipient, precompiles (EIP-2929), coinbase (EIP-3651)."""
    warm = {call.sender, *state.precompiles, *call.warm_addresses}
    if _has_eip(fork, 3651):
        warm.add(environment.coinbase)
    recipient = create_address(call.sender, nonce) if call.recipient is None else call.recipient
    warm.add(recipient)
    source, is_delegated = recipient, False
    account = state.accounts.get(recipient, Account())
    if call.recipient is not None and fork.parameters.delegations:
        target = delegate_of(account.code)
        if target is not None:
            source, is_delegated = target, True
            account = state.accounts.get(target, Account())
            warm.add(target)
    return Message(
        kind=CallKind.CREATE if call.recipient is None else CallKind.CALL,
        sender=call.sender,
        recipient=recipient,
        gas=call.gas,
        code=call.input if call.recipient is None else account.code,
        code_address=source,
        code_hash=None if call.recipient is None else account.code_hash,
        input=b"" if call.recipient is None else call.input,
        value=call.value,
        is_delegated=is_delegated,
        warm_addresses=frozenset(warm),
        warm_slots=call.warm_slots,
    )


def _has_eip(fork: Fork, eip: int) -> bool:
    """Whether the fork or one before it brought the EIP."""
    row: Fork | None = fork
    while row is not None:
        if eip in row.eips:
            return True
        row = FORKS.get(row.parent or "")
    return False
