"""The README's program: preload a store, look a contract up, run it, print statistics."""

import sys

from evmaot.evm.keccak import keccak256
from evmaot.jit import Compiled, JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig
from evmaot.runtime import EnvironmentRecord, FramePool

store, code, argument = sys.argv[1], bytes.fromhex(sys.argv[2].removeprefix("0x")), int(sys.argv[3])
request = LookupRequest(RuntimeCacheKey(keccak256(code), "osaka"), code)
with JitBackend(RuntimeConfig(enabled=True, store=store)) as backend:  # preloads the store
    decision = backend.lookup(request)  # never waits
    if not isinstance(decision, Compiled):
        decision = backend.lookup_blocking(request)  # not in the store: compile it now
    assert isinstance(decision, Compiled)
    environment, frame = EnvironmentRecord(number=23_000_000), FramePool().acquire()
    frame.start(
        gas=10_000_000, code=code, input=argument.to_bytes(32, "big"), recipient=0xC0DE, sender=0xCA11,
        value=0, is_static=False, depth=0, environment_address=environment.address,
    )
    status = frame.run(decision.program)
    print(status.name, int.from_bytes(frame.output(), "big"), 10_000_000 - frame.gas, decision.program)
    print(backend.stats())
