"""Addresses as users write them: one, several, or `@list` files with one per line.

Job: texts to checked addresses.  Invariants: a mixed-case address has the right checksum (EIP-55), because a typing
error would be an account without code; an address is asked for once.  May import: errors, evm.keccak,
inputs.{context,live,problems,source}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from evmaot.errors import UsageError
from evmaot.evm.keccak import keccak256
from evmaot.inputs.problems import ADDRESS_HINT, make_problem
from evmaot.inputs.source import Problem

_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")


def fault_of_address(text: str) -> tuple[str, str] | None:
    """What is wrong with an address: name and message of the problem, or nothing."""
    if not _ADDRESS.fullmatch(text):
        return "bad_address", f"{text!r} is not an address"
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and digits != checksummed(digits):
        return "bad_checksum", f"the checksum of {text} is wrong: one of its digits may be, too"
    return None


def checksummed(digits: str) -> str:
    """The 40 digits in the capitals of EIP-55."""
    lower = digits.lower()
    marks = keccak256(lower.encode("ascii")).hex()
    return "".join(d.upper() if int(mark, 16) >= 8 else d for d, mark in zip(lower, marks, strict=False))


def read_addresses(given: Sequence[str]) -> Iterator[str | Problem]:
    """The addresses in lower case, each once; a problem for each line of a list that is none.

    An item of `given` is one or more addresses with commas or spaces between them, or ``@FILE``.  A line of a list
    begins with an address; what follows behind a space, comma or # is ignored.  UsageError ``bad_address`` or
    ``bad_checksum`` for what was not in a list, at once.
    """
    for item in given:
        for text in [] if item.startswith("@") else _split(item):
            fault = fault_of_address(text)
            if fault is not None:
                raise UsageError(*fault, hint=ADDRESS_HINT)
    return _read(given)


def _split(text: str) -> list[str]:
    return [part for part in re.split(r"[\s,;]+", text) if part]


def _read(given: Sequence[str]) -> Iterator[str | Problem]:
    seen: set[str] = set()
    for item in given:
        for found in _lines(item[1:]) if item.startswith("@") else _split(item):
            if isinstance(found, Problem):
                yield found
            elif (address := found.lower()) not in seen:
                seen.add(address)
                yield address


def _lines(path: str) -> Iterator[str | Problem]:
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            for number, line in enumerate(file, 1):
                words = _split(line.partition("#")[0])
                if not words:
                    continue
                text = words[0].strip("\"'")
                fault = fault_of_address(text)
                yield text if fault is None else make_problem(fault[0], f"@{path}#L{number}", fault[1])
    except FileNotFoundError:
        yield make_problem("not_found", f"@{path}", "there is no such list of addresses")
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else str(error)
        yield make_problem("unreadable", f"@{path}", "the list of addresses cannot be read", cause=cause)
