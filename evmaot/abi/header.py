"""The C header for clients that are not Python.

Job: `evmaot.h` from the rows of the ABI: records, numbers, and the table that a library exports.  It is committed
beside this file and ships with the package (`python -m evmaot.cli.generate`).  May import: `evmaot.abi`.
"""

from __future__ import annotations

from evmaot.abi.layout import FINGERPRINT, RECORDS, FieldType, Record
from evmaot.abi.library import DIGEST_BYTES, MAGIC, TABLE_SYMBOL
from evmaot.abi.status import AccountFlag, CallKind, Status, StorageStatus

_PREFIXES = {Status: "STATUS", CallKind: "CALL_KIND", AccountFlag: "ACCOUNT", StorageStatus: "STORAGE"}


def c_header() -> str:
    """The text of `evmaot.h`, C99 and C++."""
    magic = ", ".join(str(byte) for byte in MAGIC)
    lines = [
        "/* Generated from evmaot/abi: do not edit. */",
        "#ifndef EVMAOT_H",
        "#define EVMAOT_H",
        "#include <stdint.h>",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        "/* SHA-256 of this ABI: a library whose table names another one must not be called. */",
        f'#define EVMAOT_ABI_FINGERPRINT "{FINGERPRINT}"',
        "",
        "/* 256 bits, lowest limb first; an address has its upper 12 bytes 0. */",
        "typedef struct { uint64_t limb[4]; } evmaot_word;",
        "struct evmaot_frame;",
        "/* Runs a frame until it ends or suspends; answers EVMAOT_STATUS_... */",
        "typedef int32_t (*evmaot_entry)(struct evmaot_frame *);",
    ]
    for values, prefix in _PREFIXES.items():
        lines += ["", "enum {"]
        lines += [f"  EVMAOT_{prefix}_{member.name} = {member.value}," for member in values]
        lines[-1] = lines[-1].rstrip(",")
        lines.append("};")
    for record in RECORDS:
        lines += ["", *_structure(record)]
    lines += [
        "",
        f"/* What a library exports, as the data symbol {TABLE_SYMBOL}: entries ascend by (code_sha256, rules). */",
        "struct evmaot_table_entry {",
        f"  uint8_t code_sha256[{DIGEST_BYTES}];",
        f"  uint8_t rules[{DIGEST_BYTES}]; /* Digest of the fork's rules that the code was compiled for. */",
        "  int64_t offset; /* Of the entry, in bytes, from the table's address. */",
        "};",
        "struct evmaot_library_table {",
        f"  uint8_t magic[{len(MAGIC)}]; /* {{ {magic} }} */",
        f"  uint8_t abi_fingerprint[{DIGEST_BYTES}];",
        "  uint64_t count;",
        f"  uint8_t profile_id[{DIGEST_BYTES}];",
        "  /* `count` evmaot_table_entry records follow. */",
        "};",
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "#endif",
        "",
    ]
    return "\n".join(lines)


def _structure(record: Record) -> list[str]:
    lines = [f"struct evmaot_{_snake(record.name)} {{"]
    for field in record.fields:
        if field.type is FieldType.FUNCTION:
            arguments = "".join(f", void *{name}" for name in field.arguments)
            lines.append(f"  /* {field.doc} */")
            lines.append(f"  int64_t (*{field.name})(struct evmaot_frame *frame{arguments});")
        else:
            spacer = "" if field.type.c_name.endswith("*") else " "
            lines.append(f"  {field.type.c_name}{spacer}{field.name}; /* {field.doc} */")
    return [*lines, "};"]


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))
