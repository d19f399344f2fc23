"""Compressed and large inputs: what comes out, and how much memory it takes."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evmaot.inputs.reader import read_inputs
from evmaot.inputs.source import ContractSource, InputLimits
from evmaot.inputs.streams import BUFFER_SIZE_BYTES, ReadFailure, open_stream, read_at_most
from tests.support.scale import scaled

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {"xz": lzma.compress, "gzip": gzip.compress}
MEMORY_LIMIT_BYTES = 4 << 20
DUMP_BYTES = scaled(12 << 20)


def decompressed(data: bytes, limits: InputLimits | None = None) -> bytes:
    return read_at_most(open_stream(io.BytesIO(data), limits or InputLimits()), 1 << 40)


class Trickle(io.BytesIO):
    """Hands out one byte at a time, as a slow pipe may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(1, size if size is not None and size >= 0 else 1))


@pytest.mark.parametrize("compress", COMPRESSORS.values(), ids=COMPRESSORS)
@pytest.mark.parametrize("size", [1, BUFFER_SIZE_BYTES - 1, BUFFER_SIZE_BYTES, 5 * BUFFER_SIZE_BYTES + 3])
def test_decompression_gives_the_bytes(compress: Callable[[bytes], bytes], size: int) -> None:
    data = bytes(index * index % 251 for index in range(size))
    assert decompressed(compress(data)) == data


@pytest.mark.parametrize("compress", COMPRESSORS.values(), ids=COMPRESSORS)
def test_several_streams_in_a_row_and_padding_are_one_input(compress: Callable[[bytes], bytes]) -> None:
    data = compress(b"one") + bytes(8) + compress(b"") + compress(b"two") + bytes(4)
    assert decompressed(data) == b"onetwo"
    stream = open_stream(Trickle(data), InputLimits())
    assert read_at_most(stream, 100) == b"onetwo"


@pytest.mark.parametrize("compress", COMPRESSORS.values(), ids=COMPRESSORS)
def test_every_truncation_is_a_named_failure(compress: Callable[[bytes], bytes]) -> None:
    data = compress(b"some text that is compressed")
    for size in range(6, len(data)):
        with pytest.raises(ReadFailure) as caught:
            decompressed(data[:size])
        assert caught.value.code == "bad_compression"


def test_a_bomb_is_stopped_at_the_limit() -> None:
    limits = InputLimits(decompressed_size_bytes=1 << 20)
    with pytest.raises(ReadFailure) as caught:
        decompressed(gzip.compress(bytes(8 << 20)), limits)
    assert caught.value.code == "too_large"


def test_a_large_dictionary_is_refused() -> None:
    data = lzma.compress(bytes(1000), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 64 << 20}])
    with pytest.raises(ReadFailure) as caught:
        decompressed(data, InputLimits(decoder_memory_bytes=1 << 20))
    assert caught.value.code == "bad_compression"


def dump_lines(size_bytes: int) -> Iterator[bytes]:
    """A `geth dump --iterative` of that size: mostly accounts without code, as on a chain."""
    yield b'{"root":"0x%064x"}\n' % 1
    written, index = 0, 0
    while written < size_bytes:
        index += 1
        account = {"balance": "1", "nonce": 1, "root": f"{index:064x}", "codeHash": f"{index:064x}"}
        if index % 10 == 0:
            account["code"] = f"0x60{index % 256:02x}" + "5b" * 200
            account["storage"] = {f"{slot:064x}": "01" for slot in range(5)}
        line = json.dumps({**account, "address": f"0x{index:040x}", "key": f"0x{index:064x}"}).encode() + b"\n"
        written += len(line)
        yield line


def peak_of_reading(path: Path) -> tuple[int, int]:
    """Number of contracts, and the most memory that was in use while they were read, in bytes."""
    tracemalloc.start()
    try:
        count = sum(isinstance(item, ContractSource) for item in read_inputs([path]))
        return count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_large_dump_is_read_in_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    with open(path, "wb") as file:
        file.writelines(dump_lines(DUMP_BYTES))
    count, peak = peak_of_reading(path)
    assert count > DUMP_BYTES / 5_000
    assert peak < MEMORY_LIMIT_BYTES


def test_a_large_compressed_dump_is_read_in_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "dump.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for line in dump_lines(DUMP_BYTES):
            file.write(line)
    count, peak = peak_of_reading(path)
    assert count > DUMP_BYTES / 5_000
    assert peak < MEMORY_LIMIT_BYTES


def test_a_line_of_any_length_is_skipped_in_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    with open(path, "wb") as file:
        file.write(b'{"code":"0x01"}\n{"code":"')
        for _ in range(60):
            file.write(b"0" * (1 << 20))
        file.write(b'"}\n{"code":"0x02"}\n')
    limits = InputLimits(line_size_bytes=1 << 20)
    tracemalloc.start()
    try:
        found = [item.code for item in read_inputs([path], limits=limits)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [b"\x01", "line_too_long", b"\x02"]
    assert peak < MEMORY_LIMIT_BYTES
