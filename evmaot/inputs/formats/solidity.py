"""What several compilers' outputs share: the `evm` part of a contract, the target in the metadata.

Not a format of its own.  May import: inputs.{context,contract,source}, `evmaot.json_text`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, object_or_empty, require_object, text_or_none
from evmaot.inputs.contract import read_code
from evmaot.inputs.source import Item
from evmaot.json_text import parse_json


def target_of(settings: object) -> str | None:
    """`evmVersion` of a compiler's settings."""
    return text_or_none(object_or_empty(settings).get("evmVersion"))


def target_in_metadata(metadata: object) -> str | None:
    """`settings.evmVersion` of the metadata, which is an object or JSON in a text."""
    if isinstance(metadata, str):
        try:
            metadata = parse_json(metadata)
        except ValueError:
            return None
    return target_of(object_or_empty(metadata).get("settings"))


def is_contracts(value: object) -> bool:
    """Whether it is `{file: {name: {...}}}`, as in the standard JSON output."""
    return isinstance(value, Mapping) and all(
        isinstance(names, Mapping) and all(isinstance(contract, Mapping) for contract in names.values())
        for names in value.values()
    )


def read_contracts(contracts: object, context: Context, *, evm_version: str | None = None) -> Iterator[Item]:
    """The codes of `{file: {name: {evm, metadata}}}`."""
    for file, names in object_or_empty(contracts).items():
        for name, contract in object_or_empty(names).items():
            label = f"{file}:{name}"
            fields = object_or_empty(contract)
            target = evm_version or target_in_metadata(fields.get("metadata"))
            yield read_evm(fields.get("evm"), context.at(label), label, evm_version=target)


def read_evm(evm: object, context: Context, label: str, *, evm_version: str | None) -> Item:
    """The code of a contract's `evm` part: `deployedBytecode.{object, immutableReferences, linkReferences}`.

    What has init code that is empty is an interface, whatever else was asked of the compiler.
    """
    fields = object_or_empty(evm)
    deployed = fields.get("deployedBytecode")
    creation = object_or_empty(fields.get("bytecode"))
    if deployed is None and creation.get("object") in ("", "0x"):
        deployed = creation
    return read_bytecode(deployed, context, label, evm_version=evm_version)


def read_bytecode(
    bytecode: object, context: Context, label: str, *, evm_version: str | None, appended_size_bytes: int = 0
) -> Item:
    """The code of `{object, immutableReferences, linkReferences}`."""
    fields: Mapping[str, Any] = object_or_empty(bytecode)
    return read_code(
        context,
        fields.get("object"),
        label,
        immutable_references=fields.get("immutableReferences"),
        link_references=fields.get("linkReferences"),
        appended_size_bytes=appended_size_bytes,
        evm_version=evm_version,
        absent="no_runtime_code" if "object" in fields else "runtime_code_missing",
    )


def read_flat(document: object, context: Context) -> Iterator[Item]:
    """The code of `{deployedBytecode: "0x...", ...}`, one contract in a file."""
    fields = require_object(document, "the document")
    yield read_code(
        context,
        fields.get("deployedBytecode"),
        text_or_none(fields.get("contractName")) or context.name.removesuffix(".json"),
        immutable_references=fields.get("immutableReferences"),
        link_references=fields.get("deployedLinkReferences"),
        evm_version=target_in_metadata(fields.get("metadata")),
        absent="no_runtime_code" if "deployedBytecode" in fields else "runtime_code_missing",
    )


def read_errors(errors: object, context: Context) -> Iterator[Item]:
    """What the compiler complained of; warnings are not ours to tell."""
    for error in errors if isinstance(errors, list) else ():
        fields = object_or_empty(error)
        if fields.get("severity") == "error":
            message = text_or_none(fields.get("message")) or "an error without a message"
            yield context.problem("compilation_failed", "the compiler stopped with an error", cause=message)
