; a label emits JUMPDEST
start: push1 0x05 PUSH1 0
  SSTORE    # stores
  PUSH @start JUMP // again
  DATA 0xfe
