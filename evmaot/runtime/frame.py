"""Frames: how Python starts, runs, resumes and reads compiled code.

Job: `FramePool` and `Frame` (one ABI record, a stack, a stretch of the pool's memory).
Invariants: a frame's memory begins where its parent's ends and is 0 when it
starts; nothing that a released frame held (memory, pointers, buffers) reaches the next user; frames
are released innermost first; a pool belongs to one thread.  Stacks are not cleared: compiled code never
reads a word that it has not written.  Everything here is written for few Python operations: a whole
message of an empty program costs about 2 us.  May import: `evmaot.abi`, other parts of the runtime.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from evmaot.abi.layout import FRAME, STACK_LIMIT, WORD_BYTES
from evmaot.abi.status import CallKind, Status
from evmaot.errors import CompilerBug, HostError
from evmaot.runtime.buffers import FORMATS, HEADER_BYTES
from evmaot.runtime.buffers import address_of_bytes as address_of_bytes
from evmaot.runtime.environment import EnvironmentRecord as EnvironmentRecord
from evmaot.runtime.host_table import refusing_host_table
from evmaot.runtime.log_buffer import LogBuffer
from evmaot.runtime.memory import RESERVE_BYTES, MemoryRange, map_anonymous
from evmaot.runtime.slot_table import SlotTable

if TYPE_CHECKING:
    from evmaot.runtime.program import CompiledProgram

FRAME_LIMIT = 1025
"""Frames at once: depth 0 and the 1024 levels of calls below it (Yellow Paper 8)."""

HOLD_LOCK_GAS = 10_000_000
"""Frames with more gas run with Python's interpreter lock released.

A shorter one keeps the lock: entering is 50 ns cheaper, and its host callbacks do not wait for the lock
(up to 5 ms each, the switch interval, when another thread computes).  A longer one could stop all other
threads, in a loop paid by 2^63 gas for ever.  10 M gas is some milliseconds of native code.
"""

_STACK_BYTES = STACK_LIMIT * WORD_BYTES
_SLOT_BYTES = _STACK_BYTES + -(-FRAME.size_bytes // 64) * 64

_START_FIELDS = (
    "gas stack_base memory_base memory_capacity input input_size code code_size environment host_table "
    "host_handle is_static depth recipient sender value slot_table log_buffer"
).split()
"""Fields that `Frame.start` sets, in record order; all others are set to 0 by the same store."""
_REQUEST_FIELDS = (
    "request_kind request_gas request_target request_value request_salt request_input_offset "
    "request_input_size request_output_offset request_output_size"
).split()


def _packer(names: Sequence[str]) -> struct.Struct:
    # Pad bytes are skipped when read, and written as zeroes: one call sets the whole record.
    parts = [FORMATS[row.type] if row.name in names else f"{row.type.size_bytes}x" for row in FRAME.fields]
    if [row.name for row in FRAME.fields if row.name in names] != list(names):
        raise CompilerBug("the frame's rows are not in the order that the runtime writes them in")
    return struct.Struct("<" + "".join(parts))


_START = _packer(_START_FIELDS)
_REQUEST = _packer(_REQUEST_FIELDS)

_pack_start = _START.pack_into
_unpack_request = _REQUEST.unpack_from

# Indexes into a frame's record seen as 64-bit cells: reading one costs 25 ns, `unpack_from` 50.
_GAS = FRAME.offset("gas") // 8
_REFUND = FRAME.offset("refund") // 8
_MEMORY_SIZE = FRAME.offset("memory_size") // 8
_OUTPUT_OFFSET = FRAME.offset("output_offset") // 8
_OUTPUT_SIZE = FRAME.offset("output_size") // 8
_REQUEST_OUTPUT_OFFSET = FRAME.offset("request_output_offset") // 8
_REQUEST_OUTPUT_SIZE = FRAME.offset("request_output_size") // 8
_RETURN_DATA = FRAME.offset("return_data") // 8
_RETURN_DATA_SIZE = FRAME.offset("return_data_size") // 8
_RESULT_OFFSET = FRAME.offset("result")

_WORD_OF_RESULT = {result: result.to_bytes(WORD_BYTES, "little") for result in (0, 1)}
_STATUS_OF: dict[int, Status] = {int(status): status for status in Status}
_CALL_KIND_OF: dict[int, CallKind] = {int(kind): kind for kind in CallKind}
_CREATE2 = int(CallKind.CREATE2)
_FIRST_HALT = int(Status.OUT_OF_GAS)
_RETURN, _REVERT = Status.RETURN, Status.REVERT
_SUSPENSIONS = (int(Status.CALL), int(Status.CREATE))

# States of a frame.  What may follow: acquired > ready > running > suspended > ready ..., or ended.
_RELEASED, _ACQUIRED, _READY, _RUNNING, _SUSPENDED, _ENDED = range(6)
_STATE_NAMES = ("released", "acquired", "ready", "running", "suspended", "ended")


class Request(NamedTuple):
    """What a suspended frame asks for.  (A named tuple: a frozen dataclass costs three times as much.)

    `gas` includes the stipend and is already taken from the frame; `target`, `value` (wei) and `salt`
    are integers, 0 where the kind has none; `input` is call data or init code; the child's output may
    fill `output_size` bytes of the frame's memory from `output_offset`.
    """

    kind: CallKind
    gas: int
    target: int
    value: int
    salt: int
    input: bytes
    output_offset: int
    output_size: int


class Frame:
    """One frame of a pool: acquire, start, run (and answer requests, resume, run again), read, release.

    `gas` and `refund` are valid after a run; both are 0 after a halt (all gas is consumed and the refund
    of a reverted frame does not count).  `status` is the last run's.  A frame must not be used after
    `release`: the pool hands out the same object again.
    """

    __slots__ = (
        "_address",
        "_argument",
        "_buffer",
        "_cells",
        "_code",
        "_index",
        "_input",
        "_memory_offset",
        "_pool",
        "_record_offset",
        "_return_data",
        "_stack_address",
        "_state",
        "gas",
        "refund",
        "status",
    )

    def __init__(self, pool: FramePool, index: int, buffer: mmap.mmap, buffer_address: int) -> None:
        self._pool = pool
        self._index = index
        self._buffer = buffer
        self._stack_address = buffer_address + index * _SLOT_BYTES
        self._record_offset = index * _SLOT_BYTES + _STACK_BYTES
        self._address = buffer_address + self._record_offset
        end = self._record_offset + FRAME.size_bytes
        self._cells = memoryview(buffer)[self._record_offset : end].cast("q")
        # SAFETY: the record lives as long as the pool's buffer, which this object holds.
        self._argument = ctypes.c_void_p.from_param(self._address)
        self._memory_offset = 0
        self._code: bytes | None = None
        self._input: bytes | None = None
        self._return_data: bytes | None = None
        self._state = _RELEASED
        self.gas = 0
        self.refund = 0
        self.status: Status | None = None

    @property
    def address(self) -> int:
        """Address of the ABI record, as host functions get it."""
        return self._address

    @property
    def memory_size_bytes(self) -> int:
        """Bytes of EVM memory in use."""
        return self._cells[_MEMORY_SIZE]

    def start(
        self,
        gas: int,
        code: bytes,
        input: bytes,
        recipient: int,
        sender: int,
        value: int,
        is_static: bool,
        depth: int,
        environment_address: int,
        host_handle: int = 0,
    ) -> None:
        """Set the frame up for its first run.

        `recipient`, `sender` (addresses) and `value` (wei) are integers below 2^256; `gas` is below 2^63;
        `code` and `input` are kept alive by the frame.  The caller keeps the environment (and the pool's
        host table) alive until the frame ends.  Raises HostError `bad_frame_value` or `frame_misused`.
        """
        if self._state != _ACQUIRED:
            raise self._misused("start")
        # SAFETY: native code reads these buffers through their addresses, so only exact `bytes` will do.
        if type(code) is not bytes:
            code = bytes(code)
        if type(input) is not bytes:
            input = bytes(input)
        pool = self._pool
        memory = pool._memory
        index = self._index
        if index:
            # Read from the record, not from what the last run left here: a host may start a child frame
            # from within a callback.
            parent = pool._frames[index - 1]
            offset = parent._memory_offset + parent._cells[_MEMORY_SIZE]
        else:
            offset = 0
        self._memory_offset = offset
        try:
            _pack_start(
                self._buffer,
                self._record_offset,
                gas,
                self._stack_address,
                memory.address + offset,
                memory.size_bytes - offset,
                id(input) + HEADER_BYTES if HEADER_BYTES else address_of_bytes(input),
                len(input),
                id(code) + HEADER_BYTES if HEADER_BYTES else address_of_bytes(code),
                len(code),
                environment_address,
                pool._host_table_address,
                host_handle,
                1 if is_static else 0,
                depth,
                recipient.to_bytes(32, "little"),
                sender.to_bytes(32, "little"),
                value.to_bytes(32, "little"),
                pool._slot_table_address,
                pool._log_buffer_address,
            )
        except (struct.error, OverflowError) as error:
            raise HostError("bad_frame_value", "a value does not fit the frame", cause=str(error)) from error
        self._code = code
        self._input = input
        self.gas = gas
        self._state = _READY

    def run(self, program: CompiledProgram) -> Status:
        """Run until the frame ends or suspends.

        Raises HostError `frame_misused` unless just started or resumed, and CompilerBug for a status that
        the ABI does not know.
        """
        if self._state != _READY:
            raise self._misused("run")
        self._state = _RUNNING
        # SAFETY: the record was written by `start`; code, input, return data are held by this frame.
        # Holding the lock (a PYFUNCTYPE) is safe with host callbacks that are CFUNCTYPE closures: they ask
        # for the lock by PyGILState_Ensure, which nests on the thread that has it already.
        try:
            if self.gas > HOLD_LOCK_GAS:
                code = program.entry_releasing()(self._argument)
            else:
                code = (program._holding or program.entry_holding())(self._argument)
            status = _STATUS_OF.get(code)
        except BaseException:  # an interrupt as the call returned: the frame can only be released now
            self._state = _ENDED
            raise
        if status is None:
            self._state = _ENDED
            raise CompilerBug(f"compiled code of {program!r} returned status {code}, which the ABI does not know")
        self.status = status
        if code >= _FIRST_HALT:
            self._state = _ENDED
            self.gas = self.refund = 0
            return status
        cells = self._cells
        self.gas = cells[_GAS]
        self.refund = cells[_REFUND]
        self._state = _SUSPENDED if code in _SUSPENSIONS else _ENDED
        return status

    def output(self) -> bytes:
        """Output of RETURN or REVERT; empty for every other end."""
        cells = self._cells
        size = cells[_OUTPUT_SIZE]
        status = self.status
        if size == 0 or self._state != _ENDED or (status is not _RETURN and status is not _REVERT):
            return b""
        return self.read_memory(cells[_OUTPUT_OFFSET], size)

    def request(self) -> Request:
        """What the suspended frame asks for.  Raises HostError `frame_misused` when it is not suspended."""
        if self._state != _SUSPENDED:
            raise self._misused("request")
        kind, gas, target, value, salt, input_offset, input_size, output_offset, output_size = _unpack_request(
            self._buffer, self._record_offset
        )
        from_bytes = int.from_bytes
        # Half the time of the named tuple's own constructor.
        return tuple.__new__(
            Request,
            (
                _CALL_KIND_OF[kind],
                gas,
                from_bytes(target, "little"),
                from_bytes(value, "little"),
                from_bytes(salt, "little") if kind == _CREATE2 else 0,
                self.read_memory(input_offset, input_size) if input_size else b"",
                output_offset,
                output_size,
            ),
        )

    def resume(self, result: int, gas_returned: int, return_data: bytes, output: bytes = b"") -> None:
        """Answer the request; `run` goes on from there.

        `result` is 1 or 0 (calls), the new address or 0 (creates); `gas_returned` is added to the frame's
        gas; `return_data` is what RETURNDATA* read (EIP-211), kept alive by the frame; `output` is copied
        to the memory that the request names, cut to its size.  Raises HostError `frame_misused`,
        `bad_frame_value`.
        """
        if self._state != _SUSPENDED:
            raise self._misused("resume")
        if type(return_data) is not bytes:
            return_data = bytes(return_data)
        buffer, offset, cells = self._buffer, self._record_offset, self._cells
        if gas_returned < 0:
            raise HostError("bad_frame_value", "a child cannot return negative gas")
        try:
            result_word = _WORD_OF_RESULT.get(result) or result.to_bytes(32, "little")
            cells[_GAS] = gas = self.gas + gas_returned
        except (ValueError, OverflowError) as error:
            raise HostError("bad_frame_value", "a value does not fit the frame", cause=str(error)) from error
        buffer[offset + _RESULT_OFFSET : offset + _RESULT_OFFSET + 32] = result_word
        self._return_data = return_data
        cells[_RETURN_DATA] = id(return_data) + HEADER_BYTES if HEADER_BYTES else address_of_bytes(return_data)
        cells[_RETURN_DATA_SIZE] = len(return_data)
        if output:
            room = cells[_REQUEST_OUTPUT_SIZE]
            if room:
                self.write_memory(cells[_REQUEST_OUTPUT_OFFSET], output if len(output) <= room else output[:room])
        self.gas = gas
        self._state = _READY

    def read_memory(self, offset: int, size_bytes: int) -> bytes:
        """Bytes of the frame's memory in use.  Raises HostError `memory_bounds` outside of it."""
        if offset < 0 or size_bytes < 0 or offset + size_bytes > self._cells[_MEMORY_SIZE]:
            raise self._out_of_bounds(offset, size_bytes)
        return self._pool._memory.read(self._memory_offset + offset, size_bytes)

    def write_memory(self, offset: int, data: bytes) -> None:
        """Store into the frame's memory in use.  Raises HostError `memory_bounds` outside of it."""
        if offset < 0 or offset + len(data) > self._cells[_MEMORY_SIZE]:
            raise self._out_of_bounds(offset, len(data))
        self._pool._memory.write(self._memory_offset + offset, data)

    def release(self) -> None:
        """Give the frame back: its memory is 0 again, its buffers are let go.

        Raises HostError `frame_misused` when it is released already, runs, or is not the innermost one.
        """
        pool = self._pool
        if self._state in (_RELEASED, _RUNNING) or pool._live != self._index + 1:
            raise self._misused("release")
        # From the record: after an exception in the middle of `run` nothing else knows what was used.
        size_bytes = self._cells[_MEMORY_SIZE]
        if size_bytes:
            pool._memory.clear(self._memory_offset, size_bytes)
            self._cells[_MEMORY_SIZE] = 0
        self._code = self._input = self._return_data = None
        self.status = None
        self.gas = self.refund = 0
        self._state = _RELEASED
        pool._live = self._index
        if not self._index:
            pool._memory.trim()

    def _misused(self, what: str) -> HostError:
        return HostError(
            "frame_misused",
            f"cannot {what} a frame that is {_STATE_NAMES[self._state]}",
            context={"index": self._index, "innermost": self._pool._live - 1},
            hint="acquire, start, run, (request, resume, run), output, release; innermost frame first",
        )

    def _out_of_bounds(self, offset: int, size_bytes: int) -> HostError:
        return HostError(
            "memory_bounds",
            "access outside of the frame's memory in use",
            context={"offset": offset, "size_bytes": size_bytes, "in_use_bytes": self._cells[_MEMORY_SIZE]},
        )


class FramePool:
    """Frames of one thread: their records, stacks and memory, reserved once and used again.

    `host_table_address` is that of a HostTable record, which the caller keeps alive; 0 means a table
    whose functions all refuse.  `reserve_bytes` is the address range for EVM memory (halved until the system
    grants it); memory that a frame has paid for beyond it ends in Status.MEMORY_LIMIT, unless the host's
    own `grow_memory` knows better.  With a `slot_table`, which the host must restore at each revert,
    SLOADs and SSTOREs stay in native code but for a slot's first value; with a `log_buffer`, which the host
    must empty each time that a frame suspends or ends, LOGs do.
    """

    __slots__ = (
        "_buffer",
        "_buffer_address",
        "_frames",
        "_host_table",
        "_host_table_address",
        "_live",
        "_log_buffer",
        "_log_buffer_address",
        "_memory",
        "_slot_table",
        "_slot_table_address",
    )

    def __init__(
        self,
        host_table_address: int = 0,
        *,
        reserve_bytes: int = RESERVE_BYTES,
        slot_table: SlotTable | None = None,
        log_buffer: LogBuffer | None = None,
    ) -> None:
        self._host_table = None if host_table_address else refusing_host_table()
        self._host_table_address = host_table_address or refusing_host_table().address
        # One mapping for all slots: 34 MB of addresses, committed as depth grows.
        self._buffer = map_anonymous(FRAME_LIMIT * _SLOT_BYTES)
        self._buffer_address = ctypes.addressof(ctypes.c_char.from_buffer(self._buffer))
        self._memory = MemoryRange(reserve_bytes)
        self._slot_table = slot_table
        self._slot_table_address = slot_table.address if slot_table is not None else 0
        self._log_buffer = log_buffer
        self._log_buffer_address = log_buffer.address if log_buffer is not None else 0
        self._frames: list[Frame] = []
        self._live = 0

    def acquire(self) -> Frame:
        """The next frame, one level below the innermost live one.

        Raises HostError `frame_limit` beyond `FRAME_LIMIT` live frames.
        """
        index = self._live
        frames = self._frames
        if index == len(frames):
            if index >= FRAME_LIMIT:
                raise HostError(
                    "frame_limit",
                    f"more than {FRAME_LIMIT} frames at once",
                    hint="the EVM's call depth ends at 1024; release frames that have ended",
                )
            frames.append(Frame(self, index, self._buffer, self._buffer_address))
        frame = frames[index]
        frame._state = _ACQUIRED
        self._live = index + 1
        return frame

    @property
    def live_frames(self) -> int:
        """Frames acquired and not released."""
        return self._live

    @property
    def memory_address(self) -> int:
        """Address of the reserved range for EVM memory."""
        return self._memory.address

    @property
    def memory_reserve_bytes(self) -> int:
        """Bytes of address space that the system grants for EVM memory."""
        return self._memory.size_bytes

    def release_all(self) -> None:
        """Release every live frame, innermost first: how a driver unwinds after an exception."""
        for index in range(self._live - 1, -1, -1):
            frame = self._frames[index]
            if frame._state == _RUNNING:
                frame._state = _ENDED
            frame.release()
