"""Whole frames on any host: the `Host` protocol, and what drives compiled code over it.

Job: `execute`, for programs that bring their own state.  (`evmaot.execution` has a state of its own, and the rules
of every fork for calls and creates; it is faster, and what to use where it fits.)  Invariants: children run in the
same loop, so the depth of calls is not that of Python; an exception of the host surfaces in the caller with its
traceback, and the frames are free again; addresses, keys and values are integers below 2^256.
May import: `evmaot.abi`, errors, other parts of the runtime.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from evmaot.abi.layout import FRAME
from evmaot.abi.status import STORAGE_COLD, AccountFlag, CallKind, Status
from evmaot.errors import HostError
from evmaot.runtime.buffers import address_of_bytes
from evmaot.runtime.environment import EnvironmentRecord
from evmaot.runtime.frame import Frame, FramePool, Request
from evmaot.runtime.host_table import HostFunction, HostTable
from evmaot.runtime.memory import RESERVE_BYTES

if TYPE_CHECKING:
    from evmaot.runtime.program import CompiledProgram

_COLD = int(AccountFlag.COLD)
_CREATES = frozenset({CallKind.CREATE, CallKind.CREATE2})


class FrameMessage(NamedTuple):
    """What a frame runs with."""

    code: bytes
    gas: int
    """Below 2^63."""
    input: bytes = b""
    recipient: int = 0
    sender: int = 0
    value: int = 0
    """Wei."""
    is_static: bool = False
    depth: int = 0


class FrameResult(NamedTuple):
    """How a frame ended.  After a halt gas and refund are 0, and there is no output."""

    status: Status
    gas_left: int
    refund: int
    output: bytes
    """Of RETURN or REVERT."""


class Child(NamedTuple):
    """A call or create that compiled code is there for."""

    program: CompiledProgram
    message: FrameMessage
    request: Request
    """What asked for it."""


class ChildResult(NamedTuple):
    """What the frame that asked for a child is told."""

    result: int
    """1 or 0 (calls); the new address or 0 (creates)."""
    gas_left: int
    """Given back to the frame."""
    return_data: bytes = b""
    """What RETURNDATA* read (EIP-211); of a call, also copied to the memory that the request names."""


class Host(Protocol):
    """The world as one transaction sees it; `address` is always the account that runs, unless it says otherwise.

    A method that raises ends everything that runs; the exception surfaces in the caller of `execute`.
    """

    def get_storage(self, address: int, key: int) -> int:
        """SLOAD."""

    def set_storage(self, address: int, key: int, value: int) -> int:
        """SSTORE: do it; answers the `StorageStatus`, which decides gas and refund."""

    def access_storage(self, address: int, key: int) -> bool:
        """Make a slot warm; whether it was cold (EIP-2929).  Asked before the slot is read or written."""

    def get_transient_storage(self, address: int, key: int) -> int:
        """TLOAD (EIP-1153)."""

    def set_transient_storage(self, address: int, key: int, value: int) -> None:
        """TSTORE (EIP-1153)."""

    def access_account(self, other: int) -> bool:
        """Make an address warm; whether it was cold (EIP-2929)."""

    def account_flags(self, other: int) -> int:
        """Bits of `AccountFlag` but COLD, of the callee of a call; makes a delegation's target warm (EIP-7702)."""

    def get_balance(self, other: int) -> int:
        """BALANCE, in wei."""

    def get_code(self, other: int) -> bytes:
        """EXTCODESIZE, EXTCODECOPY."""

    def get_code_hash(self, other: int) -> int:
        """EXTCODEHASH: 0 for an account that does not exist or is empty (EIP-1052)."""

    def get_block_hash(self, number: int) -> int:
        """BLOCKHASH: 0 outside of the last 256 blocks; `number` is any word."""

    def emit_log(self, address: int, topics: tuple[int, ...], data: bytes) -> None:
        """LOG0 to LOG4."""

    def selfdestruct(self, address: int, beneficiary: int) -> int:
        """SELFDESTRUCT: do it; answers bits of `AccountFlag` of the beneficiary as they were before, but COLD."""

    def call(self, request: Request, caller: FrameMessage) -> Child | ChildResult:
        """A call: a child to run, or how it ended where there is nothing to run natively."""

    def create(self, request: Request, caller: FrameMessage) -> Child | ChildResult:
        """A create: the same."""

    def end(self, child: Child, result: FrameResult) -> ChildResult:
        """A child ended: keep or undo what it did, and say what its caller is told (`told` does for most calls)."""


def told(result: FrameResult) -> ChildResult:
    """What the caller of a call is told of a frame that ended."""
    return ChildResult(int(result.status.succeeded), result.gas_left, result.output)


class HostDriver:
    """Runs frames over one host, again and again.  Belongs to one thread; one `execute` at a time."""

    def __init__(self, host: Host, *, reserve_bytes: int = RESERVE_BYTES) -> None:
        """`reserve_bytes` is the address range for EVM memory (`FramePool`)."""
        self._host = host
        self._stack: list[tuple[Frame, Child | None]] = []
        self._message = FrameMessage(b"", 0)
        self._table = HostTable(_functions(self, host))
        self._pool = FramePool(self._table.address, reserve_bytes=reserve_bytes)

    def execute(self, program: CompiledProgram, message: FrameMessage, environment: EnvironmentRecord) -> FrameResult:
        """Run a frame and all its children.

        Raises what the host raises, HostError ``memory_limit``, and HostError ``driver_busy`` when it is called by
        its own host.
        """
        if self._stack:
            raise HostError("driver_busy", "a driver runs one frame at a time", hint="let `call` answer a Child")
        try:
            return self._drive(program, message, environment)
        finally:
            # After an exception; otherwise there is none left.
            self._stack.clear()
            self._pool.release_all()
            self._table.take_error()

    def _drive(self, program: CompiledProgram, message: FrameMessage, environment: EnvironmentRecord) -> FrameResult:
        host, table, stack = self._host, self._table, self._stack
        self._enter(None, message, environment)
        programs, messages = [program], [message]
        while True:
            frame, child = stack[-1]
            self._message = message = messages[-1]
            status = frame.run(programs[-1])
            error = table.take_error()
            if error is not None:
                raise error
            if status is Status.CALL or status is Status.CREATE:
                request = frame.request()
                reply = host.call(request, message) if status is Status.CALL else host.create(request, message)
                if isinstance(reply, Child):
                    self._enter(reply, reply.message, environment)
                    programs.append(reply.program)
                    messages.append(reply.message)
                    continue
            else:
                result = self._result(frame, status)
                stack.pop()
                frame.release()
                programs.pop()
                messages.pop()
                if child is None:
                    return result
                reply = host.end(child, result)
                frame, request = stack[-1][0], child.request
            # A create writes no memory of its creator.
            output = b"" if request.kind in _CREATES else reply.return_data
            frame.resume(reply.result, reply.gas_left, reply.return_data, output)

    def _enter(self, child: Child | None, message: FrameMessage, environment: EnvironmentRecord) -> None:
        frame = self._pool.acquire()
        frame.start(
            gas=message.gas,
            code=message.code,
            input=message.input,
            recipient=message.recipient,
            sender=message.sender,
            value=message.value,
            is_static=message.is_static,
            depth=message.depth,
            environment_address=environment.address,
        )
        self._stack.append((frame, child))

    def _result(self, frame: Frame, status: Status) -> FrameResult:
        if status >= Status.HOST_ERROR:
            raise HostError(
                "memory_limit" if status is Status.MEMORY_LIMIT else "host_error",
                f"a frame ended with {status.name}",
                hint="a larger `reserve_bytes`" if status is Status.MEMORY_LIMIT else None,
            )
        return FrameResult(status, frame.gas, frame.refund, frame.output())

    @property
    def running(self) -> FrameMessage:
        """The message of the frame that runs now, for the host's methods."""
        return self._message


def execute(program: CompiledProgram, message: FrameMessage, environment: EnvironmentRecord, host: Host) -> FrameResult:
    """Run a frame and all its children on a host.  Many frames on one host: keep a `HostDriver`."""
    return HostDriver(host).execute(program, message, environment)


# SAFETY: every pointer that these types are laid over is an argument of a host function, which the ABI promises to be
# readable (or writable) for that many bytes while the function runs; nothing is kept.
_word_at: Callable[[int], Any] = (ctypes.c_char * 32).from_address
_number_at: Callable[[int], Any] = ctypes.c_uint64.from_address


def _read(address: int) -> int:
    return int.from_bytes(_word_at(address).raw, "little")


def _read_address(address: int) -> int:
    return _read(address) & (1 << 160) - 1


def _write(address: int, value: int) -> None:
    _word_at(address).raw = value.to_bytes(32, "little")


def _functions(driver: HostDriver, host: Host) -> dict[str, HostFunction]:
    """The rows of the ABI's host table in terms of a host."""

    def get_storage(_frame: int, key_at: int, value_at: int) -> int:
        address, key = driver.running.recipient, _read(key_at)
        was_cold = host.access_storage(address, key)
        _write(value_at, host.get_storage(address, key))
        return int(was_cold)

    def set_storage(_frame: int, key_at: int, value_at: int) -> int:
        address, key = driver.running.recipient, _read(key_at)
        was_cold = host.access_storage(address, key)
        status = int(host.set_storage(address, key, _read(value_at)))
        return status | STORAGE_COLD if was_cold else status

    def get_transient_storage(_frame: int, key_at: int, value_at: int) -> int:
        _write(value_at, host.get_transient_storage(driver.running.recipient, _read(key_at)))
        return 0

    def set_transient_storage(_frame: int, key_at: int, value_at: int) -> int:
        host.set_transient_storage(driver.running.recipient, _read(key_at), _read(value_at))
        return 0

    def get_block_hash(_frame: int, number_at: int, value_at: int) -> int:
        _write(value_at, host.get_block_hash(_read(number_at)))
        return 0

    def emit_log(frame: int, topics_at: int, count_at: int) -> int:
        offset = _number_at(frame + FRAME.offset("request_input_offset")).value
        size = _number_at(frame + FRAME.offset("request_input_size")).value
        base = _number_at(frame + FRAME.offset("memory_base")).value
        # SAFETY: compiled code has grown memory to hold the data before it calls.
        data = ctypes.string_at(base + offset, size) if size else b""
        topics = tuple(_read(topics_at + 32 * index) for index in range(_number_at(count_at).value))
        host.emit_log(driver.running.recipient, topics, data)
        return 0

    def selfdestruct(_frame: int, beneficiary_at: int) -> int:
        beneficiary = _read_address(beneficiary_at)
        was_cold = host.access_account(beneficiary)
        return int(host.selfdestruct(driver.running.recipient, beneficiary)) | (_COLD if was_cold else 0)

    return {
        "get_storage": get_storage,
        "set_storage": set_storage,
        "get_transient_storage": get_transient_storage,
        "set_transient_storage": set_transient_storage,
        "get_block_hash": get_block_hash,
        "emit_log": emit_log,
        "selfdestruct": selfdestruct,
        **_account_functions(host),
    }


def _account_functions(host: Host) -> dict[str, HostFunction]:
    def cold(address: int) -> int:
        return _COLD if host.access_account(address) else 0

    def get_balance(_frame: int, address_at: int, value_at: int) -> int:
        address = _read_address(address_at)
        _write(value_at, host.get_balance(address))
        return cold(address)

    def get_code_size(_frame: int, address_at: int, value_at: int) -> int:
        address = _read_address(address_at)
        _write(value_at, len(host.get_code(address)))
        return cold(address)

    def get_code_hash(_frame: int, address_at: int, value_at: int) -> int:
        address = _read_address(address_at)
        _write(value_at, host.get_code_hash(address))
        return cold(address)

    held: list[bytes] = []

    def get_code(_frame: int, address_at: int, code_at: int, size_at: int) -> int:
        address = _read_address(address_at)
        # SAFETY: compiled code reads it before it leaves, and it is kept until the next one is asked for.
        held[:] = [bytes(host.get_code(address))]
        _number_at(code_at).value = address_of_bytes(held[0])
        _number_at(size_at).value = len(held[0])
        return cold(address)

    def account_status(_frame: int, address_at: int) -> int:
        address = _read_address(address_at)
        flags = cold(address)
        return flags | int(host.account_flags(address))

    return {
        "get_balance": get_balance,
        "get_code_size": get_code_size,
        "get_code_hash": get_code_hash,
        "get_code": get_code,
        "account_status": account_status,
    }
