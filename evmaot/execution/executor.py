"""The executor: a whole depth-0 message, its calls and creates included, on native frames.

Job: what happens between frames on every fork: value transfer, balance and depth checks, delegations,
precompiles, addresses, nonces, collisions, code deposit, touched and destroyed accounts.  What an
instruction costs is the business of compiled code, which suspends with the child's gas already taken.
Invariants: driven by `ForkParameters` alone; an explicit stack of activations, no recursion with EVM
depth; nothing is committed; after an exception the executor is as new.
May import: `evmaot.abi`, `evmaot.evm.forks`, `evmaot.runtime`, execution.*.
Source: EELS `vm/interpreter.py` and `vm/instructions/system.py` of each fork.
"""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from evmaot.abi.status import CallKind, Status
from evmaot.errors import HostError
from evmaot.execution.hashing import create2_address, create_address
from evmaot.execution.host_table import AccessRules, host_functions
from evmaot.execution.journal import BALANCE, CODE, CODE_HASH, NONCE, Checkpoint, Journal, Warmed
from evmaot.execution.protocol import (
    RIPEMD160_ADDRESS,
    Environment,
    Failure,
    FrameEnd,
    FrameObserver,
    FrameStart,
    Message,
    MessageResult,
    NotNative,
    PrecompileCall,
    ProgramSource,
    StateReader,
    delegate_of,
)
from evmaot.runtime.environment import EnvironmentRecord
from evmaot.runtime.frame import Frame, FramePool, Request
from evmaot.runtime.host_table import HostTable
from evmaot.runtime.log_buffer import SIZE as LOG_SIZE
from evmaot.runtime.log_buffer import LogBuffer
from evmaot.runtime.slot_table import SlotTable

if TYPE_CHECKING:
    from evmaot.evm.forks import Fork, ForkParameters
    from evmaot.runtime.program import CompiledProgram

# An attribute of an enum's class costs 30 ns a time.
CALL, CREATE, STOP, RETURN, REVERT, SELFDESTRUCT = (
    Status.CALL, Status.CREATE, Status.STOP, Status.RETURN, Status.REVERT, int(Status.SELFDESTRUCT),
)  # fmt: skip
_new = tuple.__new__  # of a named tuple: half the time of its own constructor
OUT_OF_GAS, HOST_ERROR = int(Status.OUT_OF_GAS), int(Status.HOST_ERROR)
DEPTH_LIMIT = 1024
"""Depth of the deepest call (Yellow Paper 8)."""
MAX_NONCE = 2**64 - 1
"""An account with this nonce cannot create (EIP-2681)."""


class _Activation:
    """One message on its way, with what the rules around its frame need.

    The executor has one for each depth and uses it again: `_enter` sets every field of a message that starts.
    """

    __slots__ = ("checkpoint", "creates", "frame", "is_static", "program", "recipient", "sender", "value")

    checkpoint: Checkpoint
    creates: bool
    frame: Frame
    is_static: bool
    program: CompiledProgram
    """Only while its frame is on the stack: no program is kept longer than the message runs."""
    recipient: int
    sender: int
    value: int


class _Outcome(NamedTuple):
    """How a message ended.  Gas and output are 0 and empty after a halt."""

    status: Status
    gas_left: int
    output: bytes
    result: int
    """What the caller's stack gets: 1 or the new address, 0 after a failure."""
    failure: Failure | None = None
    is_create: bool = False


class Executor:
    """Runs messages one after another; belongs to one thread.

    `execute` raises what the host raised in a callback, NotNative when a code has no program, HostError
    `executor_busy` when it is called from within a message (use another executor), and HostError
    `memory_limit` when a frame paid for more memory than the process can address.
    """

    def __init__(self, programs: ProgramSource, observer: FrameObserver | None = None) -> None:
        self.programs = programs
        self.observer = observer
        self._slots, self._log_buffer = SlotTable(), LogBuffer()
        self.journal = Journal(self._slots, self._log_buffer)
        self._rules = AccessRules()
        self._table = HostTable(host_functions(self.journal, self._rules))
        self._pool = FramePool(self._table.address, slot_table=self._slots, log_buffer=self._log_buffer)
        self._stack: list[_Activation] = []
        self._activations: list[_Activation] = []
        """By depth."""
        self._busy = False
        self._fork: Fork
        self._rules_of: Fork | None = None
        self._parameters: ForkParameters
        self._state: StateReader
        self._environment: Environment | None = None
        self._record = EnvironmentRecord()
        self._native_frames = 0
        self._warmed: Warmed | None = None

    def execute(self, message: Message, environment: Environment, state: StateReader, fork: Fork) -> MessageResult:
        """Run a depth-0 message.  Nothing is committed: `changes` of the result is the host's to take."""
        if self._busy:
            raise HostError(
                "executor_busy",
                "the executor is running a message already",
                hint="a message from within a host callback needs another executor",
            )
        self._busy = True
        try:
            self._prepare(message, environment, state, fork)
            return self._result(self._run(self._first(message)))
        except BaseException:
            self._unwind()
            raise
        finally:
            self.journal.forget()
            self._busy = False

    def _unwind(self) -> None:
        """Give back what an exception has left; who ends well has given it back already."""
        self._stack.clear()
        self._activations.clear()
        self._pool.release_all()
        self._table.take_error()

    # --- one message ------------------------------------------------------------------------------

    def _prepare(self, message: Message, environment: Environment, state: StateReader, fork: Fork) -> None:
        rules = self._rules
        self._state = state
        if fork is not self._rules_of:
            self._use_fork(fork)
        rules.block_number = environment.number
        if environment is not self._environment:
            self._record = EnvironmentRecord(*_environment_values(environment))
            self._environment = environment
        self._native_frames = 0
        self._warmed = None
        self.journal.begin(state, message, clears_empty=rules.clears_empty, tracks_access=rules.tracks_access)

    def _use_fork(self, fork: Fork) -> None:
        self._fork, self._parameters, self._rules_of = fork, fork.parameters, fork
        parameters, rules = fork.parameters, self._rules
        rules.tracks_access = parameters.tracks_access
        rules.delegations = parameters.delegations
        rules.clears_empty = parameters.empty_accounts_are_cleared
        rules.destroys_only_created = parameters.selfdestruct_only_if_created
        rules.selfdestruct_refund = parameters.selfdestruct_refund

    def _first(self, message: Message) -> _Outcome | None:
        """Start the message: as `_enter`."""
        code, precompile = message.code, None
        value, transfers, recipient = message.value, message.transfers_value, message.recipient
        if value and transfers and self.journal.account(message.sender)[BALANCE] < value:
            return _Outcome(Status.REVERT, message.gas, b"", 0, Failure.BALANCE)
        creates = message.kind is CallKind.CREATE
        if creates:
            if self._collides(recipient):
                return _Outcome(Status.OUT_OF_GAS, 0, b"", 0, Failure.COLLISION, True)
        elif message.code_address in self._state.precompiles:
            if message.is_delegated:
                code = b""
            else:
                precompile = message.code_address
        return self._enter(
            message.sender, recipient, value, message.gas, code, message.input, message.code_hash, transfers,
            message.is_static, creates, precompile,
        )  # fmt: skip

    def _run(self, outcome: _Outcome | None) -> _Outcome:
        """The loop: enter the innermost frame, answer what it asks for, until the first one has ended.

        `outcome` is that of the first message, where nothing had to run.
        """
        stack, table, enter = self._stack, self._table, self.journal.enter
        log_cells = self._log_buffer.cells
        while True:
            if outcome is not None:
                if not stack:
                    return outcome
                activation = stack[-1]
                _, gas_left, output, result, _, is_create = outcome
                if not is_create:
                    activation.frame.resume(result, gas_left, output, output)
                else:
                    # A successful create leaves no return data (EIP-211).
                    activation.frame.resume(result, gas_left, b"" if result else output)
            else:
                activation = stack[-1]
            enter(activation.recipient, activation.checkpoint)
            status = activation.frame.run(activation.program)
            if table.error is not None:
                raise table.take_error() or AssertionError
            if log_cells[LOG_SIZE]:
                if status < OUT_OF_GAS and status is not REVERT:
                    self.journal.take_logs()
                else:
                    self._log_buffer.discard()
            if status is CALL:
                outcome = self._call(activation)
            elif status is CREATE:
                outcome = self._create(activation)
            else:
                outcome = self._end(activation, status)

    def _result(self, outcome: _Outcome) -> MessageResult:
        status, gas_left, output, _, failure, _ = outcome
        journal = self.journal
        succeeded = failure is None and status <= SELFDESTRUCT
        return MessageResult(
            status,
            gas_left,
            output,
            journal.refund[0] if succeeded else 0,
            failure,
            self._native_frames,
            journal.outcome(self._warmed, succeeded=succeeded),
        )

    # --- into a message ---------------------------------------------------------------------------

    def _enter(
        self, sender: int, recipient: int, value: int, gas: int, code: bytes, input: bytes, code_hash: bytes | None,
        transfers: bool, is_static: bool, creates: bool = False, precompile: int | None = None,
    ) -> _Outcome | None:  # fmt: skip
        """Start a message: its outcome when it ended at once, None when its frame is on the stack.

        `precompile` is the address of the precompiled contract that runs instead of code.
        """
        journal, stack, rules = self.journal, self._stack, self._rules
        depth = len(stack)
        if self.observer is not None:
            shown = code if precompile is None else b""
            start = FrameStart(depth, creates, sender, recipient, shown, precompile, gas, value, input, is_static)
            self.observer.entered(start, journal)
        if depth == len(self._activations):
            self._activations.append(_Activation())
        activation = self._activations[depth]
        activation.sender = sender
        activation.recipient = recipient
        activation.value = value
        activation.creates = creates
        activation.is_static = is_static
        activation.checkpoint = journal.checkpoint()
        if creates:
            journal.mark(journal.created, recipient)
            if self._parameters.created_nonce:
                record = journal.account(recipient)
                journal.set_field(record, NONCE, self._parameters.created_nonce)
                journal.make_exist(recipient)
        if not rules.clears_empty:
            journal.make_exist(recipient)
        if value and transfers:
            journal.transfer(sender, recipient, value)
        if precompile is not None:
            call = PrecompileCall(precompile, input, gas, sender, recipient, value, is_static, depth)
            return self._run_precompile(activation, call)
        if not code:
            return self._finish(activation, Status.STOP, gas, b"", ran_code=False)
        program = self.programs.program_for(code, code_hash, self._fork)
        if program is None:
            raise NotNative(
                "no_program",
                f"no native program for a code of {len(code)} bytes on {self._fork.name}",
                context={"fork": self._fork.name, "size_bytes": len(code), "depth": depth},
                hint="build it into the store, or let the host interpret the message",
            )
        activation.frame = frame = self._pool.acquire()
        frame.start(gas, code, input, recipient, sender, value, is_static, depth, self._record.address)
        activation.program = program
        self._native_frames += 1
        stack.append(activation)
        return None

    def _run_precompile(self, activation: _Activation, call: PrecompileCall) -> _Outcome:
        result = self._state.precompile(call)
        outcome = self._finish(activation, result.status, result.gas_left, result.output, ran_code=False)
        if result.status.halted:
            return outcome._replace(failure=Failure.PRECOMPILE)
        return outcome

    # --- out of a message -------------------------------------------------------------------------

    def _end(self, activation: _Activation, status: Status) -> _Outcome:
        """The innermost frame has ended."""
        frame = activation.frame
        if status >= HOST_ERROR:
            raise _cannot_go_on(status)
        output = frame.output() if status is RETURN or status is REVERT else b""
        gas_left, refund = frame.gas, frame.refund
        self._stack.pop()
        frame.release()
        del activation.program
        if status <= SELFDESTRUCT:
            if refund:
                self.journal.add_refund(refund)
            if status is Status.SELFDESTRUCT and self._rules.clears_empty:
                self.journal.touch(self.journal.current.beneficiary)
        if self.observer is None:
            if status <= SELFDESTRUCT and not activation.creates:
                # What `_settle` gives for who runs code, which is most of all messages.
                return _new(_Outcome, (status, gas_left, output, 1, None, False))
            return self._settle(activation, status, gas_left, output, ran_code=True)
        return self._finish(activation, status, gas_left, output, ran_code=True)

    def _finish(
        self, activation: _Activation, status: Status, gas_left: int, output: bytes, *, ran_code: bool
    ) -> _Outcome:
        """Keep or undo what a message did, and tell who watches."""
        outcome = self._settle(activation, status, gas_left, output, ran_code=ran_code)
        if self.observer is not None:
            end = FrameEnd(len(self._stack), outcome.status, outcome.failure, outcome.gas_left, outcome.output)
            self.observer.ended(end, self.journal)
        return outcome

    def _settle(
        self, activation: _Activation, status: Status, gas_left: int, output: bytes, *, ran_code: bool
    ) -> _Outcome:
        if status <= SELFDESTRUCT:
            if activation.creates:
                return self._deposit(activation, status, gas_left, output)
            # Who runs code has code, of its own, of a delegation, or in the making with nonce 1: it is not empty.
            if self._rules.clears_empty and not ran_code:
                self.journal.touch(activation.recipient)
            return _Outcome(status, gas_left, output, 1)
        self._undo(activation)
        if status is REVERT:
            return _Outcome(status, gas_left, output, 0, None, activation.creates)
        return _Outcome(status, 0, b"", 0, None, activation.creates)

    def _undo(self, activation: _Activation) -> None:
        journal = self.journal
        if not self._stack:
            # EELS keeps what the outermost frame itself made warm, also when it fails.
            self._warmed = journal.warm_image()
        journal.revert(activation.checkpoint)
        if activation.recipient == RIPEMD160_ADDRESS and self._rules.clears_empty:
            journal.touch(RIPEMD160_ADDRESS)

    def _deposit(self, activation: _Activation, status: Status, gas_left: int, code: bytes) -> _Outcome:
        """The end of a create: pay for the code and store it."""
        parameters = self._parameters
        cost = len(code) * parameters.code_deposit_byte
        failure: Failure | None = None
        if parameters.rejects_ef_code and code.startswith(b"\xef"):
            failure = Failure.CODE_PREFIX
        elif cost > gas_left:
            if not parameters.unpaid_code_deposit_fails:
                # Frontier: the contract exists without code, the gas stays (EIP-2).
                return _Outcome(status, gas_left, b"", activation.recipient, None, True)
            failure = Failure.CODE_DEPOSIT
        elif parameters.max_code_size_bytes is not None and len(code) > parameters.max_code_size_bytes:
            failure = Failure.CODE_SIZE
        if failure is not None:
            self._undo(activation)
            return _Outcome(Status.OUT_OF_GAS, 0, b"", 0, failure, True)
        journal = self.journal
        if code:
            journal.set_code(journal.account(activation.recipient), code)
        return _Outcome(status, gas_left - cost, code, activation.recipient, None, True)

    # --- requests ---------------------------------------------------------------------------------

    def _call(self, caller: _Activation) -> _Outcome | None:
        """CALL, CALLCODE, DELEGATECALL, STATICCALL."""
        kind, gas, target, value, _, input, _, _ = caller.frame.request()
        journal = self.journal
        if len(self._stack) > DEPTH_LIMIT or (value and journal.account(caller.recipient)[BALANCE] < value):
            return _Outcome(Status.REVERT, gas, b"", 0)
        sender, recipient, transfers, is_static = caller.recipient, target, True, caller.is_static
        if kind is CallKind.CALLCODE:
            recipient = caller.recipient
        elif kind is CallKind.DELEGATECALL:
            sender, recipient, value, transfers = caller.sender, caller.recipient, caller.value, False
        elif kind is CallKind.STATICCALL:
            is_static = True
        record = journal.account(target)
        precompiles = self._state.precompiles
        delegate = delegate_of(record[CODE]) if self._rules.delegations else None
        if delegate is not None:
            record = journal.account(delegate)
        code = record[CODE]
        if not code and target not in precompiles and self.observer is None and self._rules.clears_empty:
            # Nothing runs, so nothing can fail: no activation, no checkpoint.  (An observer is told of it below.)
            if value and transfers:
                journal.transfer(sender, recipient, value)
            journal.touch(recipient)
            return _new(_Outcome, (STOP, gas, b"", 1, None, False))
        precompile = None
        if delegate is None:
            if target in precompiles:
                precompile = target
        elif delegate in precompiles:
            # EIP-7702: a delegation to a precompile runs empty code.
            code = b""
        return self._enter(
            sender, recipient, value, gas, code, input, record[CODE_HASH], transfers, is_static, False, precompile
        )

    def _create(self, creator: _Activation) -> _Outcome | None:
        """CREATE, CREATE2."""
        request = creator.frame.request()
        journal = self.journal
        record = journal.account(creator.recipient)
        nonce: int = record[NONCE]
        if len(self._stack) > DEPTH_LIMIT or record[BALANCE] < request.value or nonce == MAX_NONCE:
            return _Outcome(Status.REVERT, request.gas, b"", 0, None, True)
        address = _new_address(request, creator.recipient, nonce)
        if self._rules.tracks_access:
            # Outside of the child's checkpoint: it stays warm when the create fails (EIP-2929).
            journal.warm_up(address)
        journal.set_field(record, NONCE, nonce + 1)
        if self._collides(address):
            return _Outcome(Status.OUT_OF_GAS, 0, b"", 0, Failure.COLLISION, True)
        return self._enter(
            creator.recipient, address, request.value, request.gas, request.input, b"", None, True, False, True
        )

    def _collides(self, address: int) -> bool:
        record = self.journal.account(address)
        if record[NONCE] or record[CODE]:
            return True
        return self._parameters.create_collides_with_storage and self.journal.has_storage(address)


_ENVIRONMENT_FIELDS = tuple(field.name for field in fields(Environment))
_environment_values = attrgetter(*_ENVIRONMENT_FIELDS)


def _new_address(request: Request, creator: int, nonce: int) -> int:
    if request.kind is CallKind.CREATE2:
        return create2_address(creator, request.salt, request.input)
    return create_address(creator, nonce)


def _cannot_go_on(status: Status) -> HostError:
    if status is Status.MEMORY_LIMIT:
        return HostError(
            "memory_limit",
            "a frame has paid for more EVM memory than the process can address",
            hint="raise the address-space limit of the process (ulimit -v), or lower the gas limit",
        )
    return HostError("host_function_failed", "a host function failed without saying why")
