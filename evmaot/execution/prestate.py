"""Prestates: the JSON that tools write of accounts, read into accounts and storages.

Job: one loader for all forms: alloc (genesis or t8n), state test (its `pre`), prestateTracer (plain, or
diff mode: its `pre`), anvil state (its `accounts`; the RPC form is hex of gzip).  Invariant: bad input is
an InputError with the place in the document, never another exception.
May import: `evmaot.evm.forks`, execution.memory_state, execution.protocol, `evmaot.json_text`, errors.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evmaot.errors import InputError
from evmaot.execution.protocol import Account
from evmaot.json_text import parse_json

if TYPE_CHECKING:
    from evmaot.evm.forks import Fork
    from evmaot.execution.memory_state import MemoryState

MAX_PRESTATE_BYTES = 1 << 30
"""Of the document, unpacked."""
_ACCOUNT_FIELDS = frozenset(("balance", "nonce", "code", "storage"))
_WORD_LIMIT = 1 << 256
_ADDRESS_LIMIT = 1 << 160


@dataclass(frozen=True, slots=True)
class Prestate:
    """Accounts, and the slots that are not 0 of those that have any, by address."""

    accounts: Mapping[int, Account] = field(default_factory=dict)
    storages: Mapping[int, Mapping[int, int]] = field(default_factory=dict)


def load_prestate(data: bytes, subject: str, fork: Fork) -> MemoryState:
    """A state of a prestate document, as `read_prestate` reads it."""
    from evmaot.execution.memory_state import MemoryState

    prestate = read_prestate(data, subject)
    return MemoryState(fork, prestate.accounts, prestate.storages)


def read_prestate(data: bytes, subject: str) -> Prestate:
    """The accounts of a prestate document.  `subject` names it in errors.

    Raises InputError: ``prestate_too_large``, ``prestate_not_json``, ``prestate_unknown_form``,
    ``prestate_bad_account``.
    """
    return read_alloc(_alloc_of(_document(data, subject), subject), subject)


def block_document(data: bytes) -> Mapping[str, Any] | None:
    """The block that a prestate document carries beside its accounts: `env` (state test), `block` (anvil state)."""
    document = _document(data, "the prestate")
    if isinstance(document, dict):
        if len(document) == 1:
            (only,) = document.values()
            document = only if isinstance(only, dict) and isinstance(only.get("pre"), dict) else document
        part = document.get("env") if "pre" in document else document.get("block") if "accounts" in document else None
        if isinstance(part, dict):
            return part
    return None


def read_alloc(alloc: Mapping[str, Any], subject: str) -> Prestate:
    """The accounts of ``{address: {balance, nonce, code, storage}}``.

    Slots and their values are hex, also without 0x (geth's genesis); other numbers are decimal without it.
    Raises InputError ``prestate_bad_account``.
    """
    accounts: dict[int, Account] = {}
    storages: dict[int, dict[int, int]] = {}
    for key, fields in alloc.items():
        try:
            address = _number(_as_hex(key), _ADDRESS_LIMIT)
            accounts[address] = Account(
                nonce=_number(fields.get("nonce") or 0, 1 << 64),
                balance=_number(fields.get("balance") or 0, _WORD_LIMIT),
                code=bytes.fromhex((fields.get("code") or "0x").removeprefix("0x")),
            )
            slots = fields.get("storage") or {}
            if slots:
                storages[address] = {
                    _number(_as_hex(slot), _WORD_LIMIT): _number(_as_hex(value), _WORD_LIMIT)
                    for slot, value in slots.items()
                }
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(
                "prestate_bad_account",
                f"account {key} of {subject} cannot be read",
                context={"path": subject, "account": key},
                cause=str(error),
                hint="balance, nonce and storage are numbers (0x... or decimal), code is hex",
            ) from error
    return Prestate(accounts, storages)


def _document(data: bytes, subject: str) -> Any:
    try:
        text = data.strip().strip(b'"')
        document = parse_json(_unpacked(text, subject) if text.startswith(b"0x1f8b") else data)
        if isinstance(document, dict) and isinstance(document.get("result"), str):
            document = parse_json(_unpacked(document["result"].encode(), subject))
        return document
    except (ValueError, zlib.error) as error:
        raise InputError(
            "prestate_not_json",
            f"{subject} is not JSON",
            context={"path": subject},
            cause=str(error),
            hint="a prestate is a JSON document, or what anvil_dumpState answers",
        ) from error


def _unpacked(text: bytes, subject: str) -> bytes:
    """What anvil_dumpState answers: hex of gzip.  ValueError or zlib.error for anything else."""
    unpacker = zlib.decompressobj(31)
    unpacked = unpacker.decompress(bytes.fromhex(text.decode("ascii").removeprefix("0x")), MAX_PRESTATE_BYTES)
    if unpacker.unconsumed_tail:
        raise InputError(
            "prestate_too_large", f"{subject} unpacks to over {MAX_PRESTATE_BYTES} bytes", context={"path": subject}
        )
    return unpacked


def _alloc_of(document: Any, subject: str) -> Mapping[str, Any]:
    """The part of a document that is accounts by address, told by its form."""
    if isinstance(document, dict):
        for name in ("accounts", "alloc", "pre", "prestate"):
            part = document.get(name)
            if isinstance(part, dict):
                return part
        if isinstance(document.get("result"), dict):
            # A JSON-RPC answer around a tracer's result.
            return _alloc_of(document["result"], subject)
        if len(document) == 1:
            (only,) = document.values()
            if isinstance(only, dict) and isinstance(only.get("pre"), dict):
                pre: Mapping[str, Any] = only["pre"]
                return pre
        if all(_is_account(key, value) for key, value in document.items()):
            return document
    raise InputError(
        "prestate_unknown_form",
        f"{subject} is none of the known forms of a prestate",
        context={"path": subject},
        hint="known: alloc, a state test, prestateTracer (plain or diff), anvil state",
    )


def _is_account(key: str, value: Any) -> bool:
    digits = key.removeprefix("0x")
    return len(digits) <= 40 and isinstance(value, dict) and (not value or bool(value.keys() & _ACCOUNT_FIELDS))


def _as_hex(value: Any) -> Any:
    return "0x" + value if isinstance(value, str) and not value.startswith(("0x", "0X")) else value


def _number(value: Any, limit: int) -> int:
    """A JSON number or a text of one: hex with 0x, else decimal."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"a {type(value).__name__} is no number")
    if isinstance(value, int):
        number = value
    elif re.fullmatch(r"0[xX][0-9a-fA-F]{0,128}", value):
        number = int(value[2:] or "0", 16)
    elif re.fullmatch(r"[0-9]{1,128}", value):
        number = int(value)
    else:
        raise ValueError(f"{value[:80]!r} is no number")
    if not 0 <= number < limit:
        raise ValueError(f"{number:#x} is out of range"[:120])
    return number
