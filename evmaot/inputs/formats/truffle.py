"""Truffle's artifacts and all that look like them (OpenZeppelin builds, Buidler, Brownie).

`deployedBytecode` is a text, and no mark says that another tool wrote the file.
May import: formats.{base,solidity}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evmaot.inputs.formats.base import Format
from evmaot.inputs.formats.solidity import read_flat


def _recognise(document: Any) -> bool:
    if not isinstance(document, Mapping) or not isinstance(document.get("deployedBytecode"), str):
        return False
    return not any(key in document for key in ("address", "_format", "evm", "compilerOutput"))


FORMAT = Format("truffle", "Truffle artifact", _recognise, read_flat)
