"""The manifest of a pack, `evmaot.pack/1`: which codes a library holds, and for which rules.

Job: write and read it.  Invariants: what `parse` lets through has every field of its type and within its limits;
keys are sorted, integers below 2^53, unknown keys of the same major version are ignored.  100,000 members are read
in half a second, so members are judged by column, and made as named tuples: a frozen dataclass costs five times as
much.  May import: `evmaot.errors`, `evmaot.json_text`, `evmaot.store.keys`, `evmaot.store.paths`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Final, NamedTuple

from evmaot.errors import CorruptionError
from evmaot.json_text import JsonTooDeep, parse_json
from evmaot.store.keys import Holes, canonical_json
from evmaot.store.paths import DIGEST

PACK_SCHEMA: Final = "evmaot.pack/1"
SCHEMA_FAMILY: Final = "evmaot.pack/"
MAX_MANIFEST_BYTES: Final = 8 * 1024 * 1024
MAX_DEPTH: Final = 8
MAX_MEMBERS: Final = 4096
MAX_INTEGER: Final = 2**53
MAX_LABEL_CHARACTERS: Final = 512
MAX_SYMBOL_CHARACTERS: Final = 128
MAX_FORKS: Final = 64
MAX_HOLES: Final = 4096
IMPORTED_KINDS: Final = frozenset({"import", "pull"})
"""Origins of packs that another machine made."""

_WORD = re.compile(r"[A-Za-z0-9_.+ -]{1,128}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What may not be in a label: it is printed on terminals."""


class Member(NamedTuple):
    """One compiled code in a pack.  Digests are lowercase hex without 0x."""

    code_hash: str
    """Keccak-256 of the code, computed here at build time."""
    code_sha256: str
    compile_ms: int
    forks: tuple[str, ...]
    """Forks it was built for; which forks it serves is decided by `rules`."""
    holes: Holes
    label: str
    length: int
    """Bytes of code."""
    opcodes: str
    """Bitmap of the opcodes of the reachable code (`evmaot.evm.instruction_set.opcode_bitmap`)."""
    rules: str
    """Digest of the fork rules that it was compiled for, restricted to `opcodes`."""
    slot: int
    """Its number in the pack."""
    symbol: str
    """Entry symbol in the objects that were linked."""


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """The library of a pack."""

    sha256: str
    size: int
    """Bytes."""
    soname: str
    table: str
    """Name of the exported data symbol."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a pack came from; for words only."""

    kind: str
    """``build``, ``import`` or ``pull``."""
    builder: str
    """Program and version."""
    host: str
    signed_by: str = ""
    """Of an import: the public key (base64) whose signature was checked then; empty where there was none.

    A note of this store's owner, and no proof: who can write to the store can write it.
    """

    @property
    def is_unsigned(self) -> bool:
        """Whether another machine made it, and no trusted key had signed it when it came."""
        return self.kind in IMPORTED_KINDS and not self.signed_by


@dataclass(frozen=True, slots=True)
class PackManifest:
    """A pack: its library and what that holds."""

    profile: str
    """Digest of the profile, hex."""
    object: ObjectRecord
    origin: Origin
    created: str
    """RFC 3339, UTC."""
    members: tuple[Member, ...]


class ManifestError(CorruptionError):
    """A manifest that can't be used; `reference` says why (`format_newer` is nobody's fault)."""


def clean_label(text: str) -> str:
    """A label as a manifest takes it: no control characters, not too long."""
    return _CONTROL.sub("?", text)[:MAX_LABEL_CHARACTERS]


def to_json(manifest: PackManifest) -> bytes:
    """The bytes of a manifest.  Raises ManifestError where the manifest breaks its own rules."""
    document = {
        "schema": PACK_SCHEMA,
        "created": manifest.created,
        "members": [member._asdict() for member in manifest.members],
        "object": {
            "sha256": manifest.object.sha256,
            "size": manifest.object.size,
            "soname": manifest.object.soname,
            "table": manifest.object.table,
        },
        "origin": {
            "kind": manifest.origin.kind,
            "builder": manifest.origin.builder,
            "host": manifest.origin.host,
            # Named only where there is one: what was written before there were any keeps its bytes.
            **({"signed_by": manifest.origin.signed_by} if manifest.origin.signed_by else {}),
        },
        "profile": manifest.profile,
    }
    data = canonical_json(document) + b"\n"
    # One check for what is written and what is read: nothing is published that no reader takes.
    parse(data)
    return data


def parse(data: bytes) -> PackManifest:
    """Read a manifest.

    Raises ManifestError: ``manifest_too_large``, ``manifest_not_json``, ``manifest_schema``, ``format_newer``,
    ``manifest_too_deep``, ``manifest_too_many_members`` or ``manifest_field`` (with the field's name).
    """
    document = _load(data)
    try:
        members = _members(_get(document, "members", list))
        record = _get(document, "object", dict)
        origin = _get(document, "origin", dict)
        return PackManifest(
            profile=_digest(document, "profile"),
            object=ObjectRecord(
                _digest(record, "sha256"), _integer(record, "size"), _word(record, "soname"), _word(record, "table")
            ),
            origin=Origin(
                _word(origin, "kind"),
                _label(origin, "builder"),
                _label(origin, "host"),
                _label(origin, "signed_by") if "signed_by" in origin else "",
            ),
            created=_word(document, "created", extra=":"),
            members=members,
        )
    except _FieldError as error:
        raise ManifestError(
            "manifest_field", f"{error} in a pack's manifest", context={"field": error.field}
        ) from error


class _FieldError(ValueError):
    def __init__(self, field: str, wrong: str) -> None:
        super().__init__(f"{field} {wrong}")
        self.field = field


def _load(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError("manifest_too_large", f"a pack's manifest has {len(data)} bytes, at most 8 MiB")
    try:
        document = parse_json(data, depth_limit=MAX_DEPTH, allow_constants=False)
    except JsonTooDeep as error:
        raise ManifestError("manifest_too_deep", f"a pack's manifest nests deeper than {MAX_DEPTH}") from error
    except ValueError as error:
        raise ManifestError("manifest_not_json", f"a pack's manifest is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ManifestError("manifest_not_json", "a pack's manifest is not a JSON object")
    schema = document.get("schema")
    if schema != PACK_SCHEMA:
        if isinstance(schema, str) and re.fullmatch(re.escape(SCHEMA_FAMILY) + r"[0-9]{1,6}", schema):
            raise ManifestError("format_newer", f"a pack's manifest is {schema}, this version reads {PACK_SCHEMA}")
        raise ManifestError("manifest_schema", f"a pack's manifest has the schema {str(schema)[:64]!r}")
    return document


_ROW = itemgetter(*Member._fields)


def _members(rows: list[Any]) -> tuple[Member, ...]:
    if len(rows) > MAX_MEMBERS:
        raise ManifestError("manifest_too_many_members", f"a pack's manifest has {len(rows)} members, at most 4096")
    if not rows:
        raise _FieldError("members", "is empty")
    try:
        columns = list(zip(*map(_ROW, rows), strict=True))
    except (KeyError, TypeError, IndexError) as error:
        raise _FieldError(f"members: {str(error)[:64]}", "is missing, or a member is no object") from None
    by_name = dict(zip(Member._fields, columns, strict=True))
    for name in ("code_hash", "code_sha256", "opcodes", "rules"):
        _check_digests(name, by_name[name])
    for name in ("compile_ms", "length", "slot"):
        _check_integers(name, by_name[name])
    for name in ("label", "symbol"):
        _check_texts(name, by_name[name])
    _check_names(by_name["label"], by_name["symbol"])
    by_name["forks"] = _forks(by_name["forks"])
    if by_name["holes"].count([]) != len(rows):
        by_name["holes"] = tuple(map(parse_holes, by_name["holes"], by_name["length"]))
    else:
        by_name["holes"] = ((),) * len(rows)
    for name in ("slot", "symbol"):
        if len(set(by_name[name])) != len(rows):
            raise _FieldError(name, "appears twice")
    if len(set(zip(by_name["code_sha256"], by_name["rules"], strict=True))) != len(rows):
        raise _FieldError("code_sha256", "appears twice for one rules digest")
    if max(by_name["slot"]) >= MAX_MEMBERS:
        raise _FieldError("slot", "is out of range")
    return tuple(map(Member._make, zip(*(by_name[name] for name in Member._fields), strict=True)))


def _check_texts(name: str, column: Sequence[object]) -> None:
    if set(map(type, column)) != {str}:
        raise _FieldError(name, "is not a text")


def _check_digests(name: str, column: Sequence[Any]) -> None:
    _check_texts(name, column)
    joined = "".join(column)
    try:
        # bytes.fromhex takes capitals and spaces too; the way back does not.
        same = bytes.fromhex(joined).hex() == joined and set(map(len, column)) == {64}
    except ValueError:
        same = False
    if not same:
        raise _FieldError(name, "is not 64 lowercase hex digits")


def _check_names(labels: Sequence[str], symbols: Sequence[str]) -> None:
    joined = "".join(labels)
    # The two quick questions have the same answer as the pattern for nearly every text there is.
    bad = not (joined.isascii() and joined.isprintable()) and _CONTROL.search(joined) is not None
    if bad or max(map(len, labels)) > MAX_LABEL_CHARACTERS:
        raise _FieldError("label", "is too long or has control characters")
    named = all(map(str.isidentifier, symbols)) and "".join(symbols).isascii()
    if not named or max(map(len, symbols)) > MAX_SYMBOL_CHARACTERS:
        raise _FieldError("symbol", "is not a name")


def _check_integers(name: str, column: Sequence[Any]) -> None:
    # By exact type: true and false are integers to isinstance.
    if set(map(type, column)) != {int} or min(column) < 0 or max(column) >= MAX_INTEGER:
        raise _FieldError(name, "is not an integer from 0 below 2^53")


def _forks(column: Sequence[Any]) -> tuple[tuple[str, ...], ...]:
    if set(map(type, column)) != {list}:
        raise _FieldError("forks", "is not a list")
    if not set(map(type, chain.from_iterable(column))) <= {str}:
        raise _FieldError("forks", "holds something else than a text")
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    result = []
    for forks in map(tuple, column):
        if forks not in known:
            if not 1 <= len(forks) <= MAX_FORKS or not all(map(_WORD.fullmatch, forks)):
                raise _FieldError("forks", "is empty, too long or holds something else than a name")
            known[forks] = forks
        result.append(known[forks])
    return tuple(result)


def parse_holes(value: Any, length: int) -> Holes:
    """Holes of a code of that length from JSON.  Raises ValueError."""
    if value == []:
        return ()
    if type(value) is not list or len(value) > MAX_HOLES:
        raise _FieldError("holes", "is not a short list")
    end = 0
    for hole in value:
        if type(hole) is not list or len(hole) != 2 or set(map(type, hole)) != {int}:
            raise _FieldError("holes", "holds something else than [offset, length]")
        if hole[0] < end or hole[1] < 1 or hole[0] + hole[1] > length:
            raise _FieldError("holes", "overlap, or lie outside the code")
        end = hole[0] + hole[1]
    return tuple((hole[0], hole[1]) for hole in value)


def _get(document: dict[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    if type(value) is not kind:
        raise _FieldError(name, f"is missing or no {kind.__name__}")
    return value


def _digest(document: dict[str, Any], name: str) -> str:
    value: str = _get(document, name, str)
    if DIGEST.fullmatch(value) is None:
        raise _FieldError(name, "is not 64 lowercase hex digits")
    return value


def _integer(document: dict[str, Any], name: str) -> int:
    value: int = _get(document, name, int)
    if not 0 <= value < MAX_INTEGER:
        raise _FieldError(name, "is not an integer from 0 below 2^53")
    return value


def _word(document: dict[str, Any], name: str, *, extra: str = "") -> str:
    value: str = _get(document, name, str)
    bare = value
    for character in extra:
        bare = bare.replace(character, "")
    if _WORD.fullmatch(bare) is None:
        raise _FieldError(name, "is not a plain name")
    return value


def _label(document: dict[str, Any], name: str) -> str:
    value: str = _get(document, name, str)
    if len(value) > MAX_LABEL_CHARACTERS or _CONTROL.search(value):
        raise _FieldError(name, "is too long or has control characters")
    return value


def sorted_members(members: Iterable[Member]) -> tuple[Member, ...]:
    """Members in the order of a library's table: by code SHA-256 and rules."""
    return tuple(sorted(members, key=lambda member: (member.code_sha256, member.rules)))
