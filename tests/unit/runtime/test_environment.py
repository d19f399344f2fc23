from __future__ import annotations

import ctypes

import pytest

from evmaot.abi.layout import ENVIRONMENT, FieldType
from evmaot.errors import HostError
from evmaot.runtime.environment import EnvironmentRecord


def word_at(address: int) -> int:
    return int.from_bytes(ctypes.string_at(address, 32), "little")


def test_each_value_is_at_its_row() -> None:
    words = [row.name for row in ENVIRONMENT.fields if row.type is FieldType.WORD]
    values = {name: (index + 1) << 200 | index for index, name in enumerate(words)}
    hashes = [2**256 - 1, 5, 0]
    record = EnvironmentRecord(**values, blob_hashes=hashes)
    for name in words:
        assert word_at(record.address + ENVIRONMENT.offset(name)) == values[name], name
    pointer, count = (
        ctypes.c_uint64.from_address(record.address + ENVIRONMENT.offset(name)).value
        for name in ("blob_hashes", "blob_hash_count")
    )
    assert count == 3
    assert [word_at(pointer + 32 * index) for index in range(3)] == hashes


@pytest.mark.parametrize("values", [{"origin": 2**256}, {"base_fee": -1}, {"blob_hashes": [2**256]}])
def test_a_value_that_is_no_word_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(HostError) as caught:
        EnvironmentRecord(**values)  # type: ignore[arg-type]  # a dict of either type
    assert caught.value.reference == "bad_environment_value"
