"""Lowerings of LOG0 to LOG4.

May import: `lowerings.memory`.
"""

from __future__ import annotations

from evmaot.codegen.emit.lowerings.memory import copy_operands
from evmaot.codegen.emit.region import Lowering


def _log(topics: int) -> Lowering:
    return lambda emitter, _, __: copy_operands(emitter, "evmaot_log", 2 + topics, topics, emitter.rules["log_byte"])


LOWERINGS: dict[str, Lowering] = {f"LOG{topics}": _log(topics) for topics in range(5)}
