"""From a code as an input holds it to a `ContractSource` or a named `Problem`.

Job: the one place where code is accepted: text to bytes, limits, classes that are not compiled,
holes, unlinked libraries.  Invariant: every format goes through `read_code` or `accept_code`, so a
rule holds for all of them.  May import: inputs.{classify,context,hexadecimal,problems,references,source}.
"""

from __future__ import annotations

from typing import Literal

from evmaot.inputs.classify import ADDRESS_SIZE_BYTES, Classification, CodeClass, classify
from evmaot.inputs.context import Context, ShapeError
from evmaot.inputs.hexadecimal import HexFault, Placeholder, decode_hex, strip_prefix
from evmaot.inputs.problems import clean_text
from evmaot.inputs.references import Link, parse_immutables, parse_links, settle_holes
from evmaot.inputs.source import ContractSource, Hole, Item, Problem

_NOT_COMPILED = {
    CodeClass.EOF: "eof_code",
    CodeClass.INVALID_EF: "invalid_ef_code",
    CodeClass.DELEGATION: "delegation",
    CodeClass.BLUEPRINT: "blueprint",
}


def read_code(
    context: Context,
    value: object,
    label: str,
    *,
    immutable_references: object = None,
    link_references: object = None,
    appended_size_bytes: int = 0,
    evm_version: object = None,
    count: int = 1,
    absent: Literal["no_runtime_code", "runtime_code_missing", "empty_code"] = "no_runtime_code",
) -> Item:
    """Accept a code given as hexadecimal text.

    `value` and the references are JSON values as the input has them.  `appended_size_bytes`: what
    the constructor appends to the code (Vyper's immutables), a hole.  `absent`: the problem where
    there is no code at all.
    """
    if value is not None and not isinstance(value, str):
        return context.problem("bad_shape", f"the code of {label} is not a text")
    digits = strip_prefix(value or "")
    if not digits:
        return _absent(context, label, absent)
    if len(digits) > 2 * context.limits.code_size_bytes:
        return _too_long(context, label, len(digits) // 2)
    decoded = decode_hex(digits)
    if isinstance(decoded, HexFault):
        return context.problem(decoded.code, f"{label}: {decoded.message}")
    try:
        links = parse_links(link_references)
        holes = (*parse_immutables(immutable_references), *_library_holes(decoded.placeholders, links))
        unlinked = _unlinked(decoded.code, decoded.placeholders, links)
        if unlinked and not context.allow_unlinked:
            return context.problem("unlinked", f"{label} needs the address of {', '.join(unlinked)}")
        return accept_code(
            context,
            decoded.code + bytes(appended_size_bytes),
            label,
            holes=(*holes, *_appended(len(decoded.code), appended_size_bytes)),
            evm_version=evm_version,
            count=count,
        )
    except ShapeError as fault:
        return context.problem("bad_shape", f"{label}: {fault}")


def accept_code(
    context: Context,
    code: bytes,
    label: str,
    *,
    holes: tuple[Hole, ...] = (),
    evm_version: object = None,
    count: int = 1,
) -> Item:
    """Accept a code given as bytes.  ShapeError if the holes don't fit it."""
    if len(code) > context.limits.code_size_bytes:
        return _too_long(context, label, len(code))
    found = classify(code)
    if found.kind is CodeClass.EMPTY:
        return _absent(context, label, "empty_code")
    if found.kind in _NOT_COMPILED:
        target = f" to 0x{found.address.hex()}" if found.address is not None else ""
        return context.problem(_NOT_COMPILED[found.kind], f"{label} is not compiled: {found.detail}{target}")
    return ContractSource(
        code=code,
        label=clean_text(label),
        origin=clean_text(context.origin),
        holes=settle_holes(_with_address(found, holes), len(code)),
        evm_version=clean_text(evm_version) if isinstance(evm_version, str) and evm_version else None,
        count=count,
    )


def _with_address(found: Classification, holes: tuple[Hole, ...]) -> tuple[Hole, ...]:
    """The holes, and the address that the bytes themselves tell: deployments of a proxy or library share the rest."""
    if found.address_place is None:
        return holes
    offset, length = found.address_place
    if any(hole.offset < offset + length and offset < hole.offset + hole.length for hole in holes):
        return holes
    return (*holes, Hole(offset, length, "proxy" if found.kind is CodeClass.MINIMAL_PROXY else "library"))


def _absent(context: Context, label: str, code: str) -> Problem:
    messages = {
        "no_runtime_code": f"{label} has no runtime code (an interface, an abstract contract, an account without code)",
        "runtime_code_missing": f"{label}: the runtime code is not in this file",
        "empty_code": f"{label}: the code is empty",
    }
    return context.problem(code, messages[code])


def _too_long(context: Context, label: str, size_bytes: int) -> Problem:
    limit = context.limits.code_size_bytes
    return context.problem("code_too_long", f"{label}: {size_bytes} bytes of code, the limit is {limit}")


def _appended(start: int, size_bytes: int) -> tuple[Hole, ...]:
    return (Hole(start, size_bytes, "immutable"),) if size_bytes else ()


def _library_holes(placeholders: tuple[Placeholder, ...], links: tuple[Link, ...]) -> set[Hole]:
    holes = {Hole(link.offset, link.length, "library") for link in links}
    holes.update(Hole(placeholder.offset, ADDRESS_SIZE_BYTES, "library") for placeholder in placeholders)
    return holes


def _unlinked(code: bytes, placeholders: tuple[Placeholder, ...], links: tuple[Link, ...]) -> list[str]:
    """Names of the libraries whose address the code lacks: a placeholder, or zeros where a link says so."""
    names = {link.offset: link.name for link in links if not any(code[link.offset : link.offset + link.length])}
    for placeholder in placeholders:
        names.setdefault(placeholder.offset, placeholder.name)
    return sorted(set(names.values()))
