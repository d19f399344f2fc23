"""Deployments of hardhat-deploy, `deployments/<network>/X.json`: `address` beside `deployedBytecode`.

May import: formats.{base,solidity}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evmaot.inputs.formats.base import Format
from evmaot.inputs.formats.solidity import read_flat


def _recognise(document: Any) -> bool:
    if not isinstance(document, Mapping) or "_format" in document:
        return False
    return isinstance(document.get("deployedBytecode"), str) and "address" in document


FORMAT = Format("hardhat-deploy", "hardhat-deploy deployment", _recognise, read_flat)
