"""Pins, `evmaot.pin/1`: what neither the collector nor `clear` takes without being told to.

Job: named sets of artifacts.  Invariants: a pin names artifacts by their keys, so that packs may be merged and built
again under it; a pin that can't be read is never taken for an empty one.  May import: `evmaot.errors`,
`evmaot.json_text`, the store's lower modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from evmaot.errors import CorruptionError, EvmaotError, UsageError
from evmaot.json_text import parse_json
from evmaot.store.files import StoreFiles, translated
from evmaot.store.findings import Finding, Severity
from evmaot.store.index import MemberKey, StoreIndex
from evmaot.store.keys import canonical_json
from evmaot.store.paths import DIGEST, PIN_NAME

PIN_SCHEMA: Final = "evmaot.pin/1"
MAX_PIN_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Pin:
    """A named set of artifacts."""

    name: str
    created: str
    members: frozenset[MemberKey]


def check_pin_name(name: str) -> None:
    """Raise UsageError ``bad_pin_name``."""
    if PIN_NAME.fullmatch(name) is None:
        hint = "use letters, digits, dots, underscores and hyphens; at most 64 of them"
        raise UsageError("bad_pin_name", f"not a name of a pin: {name!r}", hint=hint)


def write_pin(files: StoreFiles, name: str, members: Iterable[MemberKey]) -> Pin:
    """Write a pin, instead of the one of that name.  The caller holds the store's lock.  Raises StoreError."""
    check_pin_name(name)
    pin = Pin(name, files.now(), frozenset(members))
    by_profile: dict[str, dict[str, list[str]]] = {}
    for profile, code_sha256, rules in sorted(pin.members):
        by_profile.setdefault(profile, {}).setdefault(rules, []).append(code_sha256)
    document = {"schema": PIN_SCHEMA, "name": name, "created": pin.created, "members": by_profile}
    path = files.paths.pin(name)
    with translated("write a pin", path):
        files.make_directory(path.parent)
        files.replace_document(path, canonical_json(document) + b"\n")
        files.sync_directory(path.parent)
    return pin


def remove_pin(files: StoreFiles, name: str) -> None:
    """Remove a pin, readable or not.  Raises UsageError ``no_such_pin``, StoreError."""
    check_pin_name(name)
    path = files.paths.pin(name)
    with translated("remove a pin", path):
        try:
            files.system.unlink(str(path))
        except FileNotFoundError:
            raise no_such_pin(name) from None
        files.sync_directory(path.parent)


def no_such_pin(name: str) -> UsageError:
    """The failure of a name that no pin has."""
    return UsageError("no_such_pin", f"there is no pin {name!r}", hint="evmaot pins lists them")


def read_pin(files: StoreFiles, name: str) -> Pin:
    """One pin.  Raises UsageError ``no_such_pin``, CorruptionError ``pin_damaged`` or ``format_newer``, TrustError."""
    check_pin_name(name)
    path = files.paths.pin(name)
    with translated("read a pin", path):
        try:
            data = files.read(path, MAX_PIN_BYTES)
        except FileNotFoundError:
            raise no_such_pin(name) from None
    return _parse(data, name)


def pin_names(files: StoreFiles) -> list[str]:
    """Names of all pins, sorted.  Raises TrustError and StoreError."""
    names = [name.removesuffix(".json") for name in files.names(files.paths.pins) if name.endswith(".json")]
    return [name for name in names if PIN_NAME.fullmatch(name)]


def read_pins(files: StoreFiles) -> tuple[list[Pin], list[Finding]]:
    """All pins, and what is wrong with those that can't be read."""
    pins: list[Pin] = []
    findings: list[Finding] = []
    for name in pin_names(files):
        try:
            pins.append(read_pin(files, name))
        except EvmaotError as error:
            if error.reference != "no_such_pin":
                subject = files.subject(files.paths.pin(name))
                findings.append(Finding(error.reference, subject, error.cause or error.message))
    return pins, findings


def pinned_members(files: StoreFiles) -> frozenset[MemberKey]:
    """Everything that a pin keeps.

    Raises CorruptionError ``pin_damaged`` where one can't be read: nobody knows what it was to keep.
    """
    pins, findings = read_pins(files)
    if findings:
        name = findings[0].subject.rpartition("/")[2].removesuffix(".json")
        raise CorruptionError(
            "pin_damaged",
            f"a pin can't be read: {findings[0].subject}",
            context={"path": findings[0].subject, "effect": "nothing is removed, for nobody knows what it was to keep"},
            cause=findings[0].message,
            hint=damaged_hint(name),
        )
    return frozenset().union(*(pin.members for pin in pins))


def damaged_hint(name: str) -> str:
    """What to do about a pin that can't be read."""
    return f"evmaot unpin {name} removes it; evmaot pin {name} ... makes it again"


def dangling(pin: Pin, index: StoreIndex) -> frozenset[MemberKey]:
    """Members of a pin that are not in the store."""
    return pin.members - {entry.key for entry in index}


def pin_findings(files: StoreFiles, index: StoreIndex) -> list[Finding]:
    """Pins that can't be read (errors), and pins of what is not there (notes)."""
    pins, findings = read_pins(files)
    there = {entry.key for entry in index} if pins else frozenset()
    for pin in pins:
        missing = len(pin.members - there)
        if missing:
            message = f"{missing} of the {len(pin.members)} artifacts that it keeps are not in the store"
            findings.append(Finding("pin_dangling", files.subject(files.paths.pin(pin.name)), message, Severity.NOTE))
    return findings


def _parse(data: bytes, name: str) -> Pin:
    try:
        document = parse_json(data, depth_limit=8, allow_constants=False)
        if not isinstance(document, dict):
            raise ValueError("it is no JSON object")
        if document.get("schema") != PIN_SCHEMA:
            newer = str(document.get("schema")).startswith("evmaot.pin/")
            reference = "format_newer" if newer else "pin_damaged"
            cause = f"it is {str(document.get('schema'))[:64]!r}, this version reads {PIN_SCHEMA}"
            hint = "upgrade evmaot" if newer else damaged_hint(name)
            raise CorruptionError(reference, f"the pin {name!r} can't be read", cause=cause, hint=hint)
        if document.get("name") != name or not isinstance(document.get("created"), str):
            raise ValueError("its name or time is not its own")
        return Pin(name, document["created"], frozenset(_members(document.get("members"))))
    except ValueError as error:
        text = f"the pin {name!r} can't be read"
        raise CorruptionError("pin_damaged", text, cause=str(error), hint=damaged_hint(name)) from error


def _members(by_profile: Any) -> Iterable[MemberKey]:
    for profile, by_rules in _mapping(by_profile).items():
        for rules, codes in _mapping(by_rules).items():
            if not isinstance(codes, list):
                raise ValueError("its members are no lists")
            for digest in (profile, rules, *codes):
                if not isinstance(digest, str) or DIGEST.fullmatch(digest) is None:
                    raise ValueError("a member is no digest")
            for code_sha256 in codes:
                yield profile, code_sha256, rules


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("its members are no objects")
    return value
