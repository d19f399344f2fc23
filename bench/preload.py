"""How long a store of many contracts takes to load, and what a resident contract costs.

    python bench/preload.py [--contracts 10000] [--store DIR]

The packs are made of the fixtures' contracts: a few are compiled, and a PUSH constant of each is varied in code and
machine code alike, which is checked against the compiler.  Every figure is of a fresh process with a warm disk cache.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evmaot.abi.layout import FINGERPRINT
from evmaot.abi.library import TABLE_SYMBOL, LibraryTable, TableEntry
from evmaot.codegen.driver import compile_unit, reachable_opcodes
from evmaot.codegen.frontend.decode import decode
from evmaot.codegen.options import CompileOptions
from evmaot.evm.forks import FORKS
from evmaot.evm.instruction_set import CompileRules, opcode_bitmap, restrict
from evmaot.execution.hashing import keccak256
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.files import Durability
from evmaot.store.manifest import Member, ObjectRecord, Origin, PackManifest
from evmaot.toolchain import link_library, profile_of

PACK_SIZE = 256
SIZES = (45, 85, 85, 850, 2100, 2741, 4298)
"""About the deciles of the fixtures' contracts."""
FORK = FORKS["osaka"]
PUSH4 = 0x63
FIRST, SECOND, THIRD = 0x5A17C3E1, 0x66E93D9F, 0x3C5B9287
MEASURE = """
import json, resource, sys, time
def memory():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize()
def run(what, store, preload, mapping):
    if what == "open_runtime":
        from evmaot.runtime import open_runtime
        before, wall, cpu = memory(), time.perf_counter(), time.process_time()
        programs = open_runtime(store, preload=preload, mapping=mapping)
        loaded = programs.statistics().programs_loaded
        lookup = lambda code_hash: programs.lookup(code_hash, "osaka")
    else:
        from evmaot.jit import JitBackend, RuntimeConfig, RuntimeTuning
        tuning = RuntimeTuning(jit_worker_count=0, resident_code_cache_bytes=1 << 40)
        before, wall, cpu = memory(), time.perf_counter(), time.process_time()
        config = RuntimeConfig(enabled=True, store=store, preload=preload, mapping=mapping, tuning=tuning)
        backend = JitBackend(config)
        loaded = backend.stats().preload_loaded
        lookup = lambda code_hash: backend.get_compiled(code_hash, "osaka")
    figures = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "loaded": loaded,
               "bytes": memory() - before}
    if preload == "eager":
        hashes = [bytes.fromhex(line) for line in open(sys.argv[5])]
        wall = time.perf_counter()
        assert all(lookup(code_hash) is not None for code_hash in hashes)
        figures["first"] = (time.perf_counter() - wall) / len(hashes)
        figures["bytes_after"] = memory() - before
    print(json.dumps(figures))
run(*sys.argv[1:5])
"""


@dataclass
class Base:
    """One compiled contract of which variants are made."""

    code: bytes
    rules: CompileRules
    object_data: bytes
    symbol: str
    code_places: list[int]
    object_places: list[tuple[int, int]]
    """Offset, and which byte of the constant stands there."""

    def variant(self, number: int, symbol: str) -> tuple[bytes, bytes]:
        """Code and object with another constant."""
        constant = number.to_bytes(4, "big")
        code, data = bytearray(self.code), bytearray(self.object_data)
        for place in self.code_places:
            code[place : place + 4] = constant
        for offset, which in self.object_places:
            data[offset] = constant[which]
        return bytes(code), bytes(data).replace(self.symbol.encode(), symbol.encode())


def symbol_of(number: int) -> str:
    """A name of the length that names have."""
    return f"u_{number:032x}"


def contracts() -> list[bytes]:
    """Codes of the fixtures."""
    named = os.environ.get("EVMAOT_FIXTURES")
    root = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "fixtures"
    with lzma.open(root / "contracts" / "contracts.jsonl.xz", "rt", encoding="utf-8") as lines:
        return sorted({bytes.fromhex(json.loads(line)["code"]) for line in lines}, key=len)


def make_base(code: bytes, options: CompileOptions) -> Base | None:
    """Find a constant of which every byte can be found again in the object; None where there is none."""
    symbol = symbol_of(0xE7A0)
    places = [one.pc + 1 for one in decode(code) if one.opcode == PUSH4]
    for place in reversed(places) if places else [len(code) + 1]:
        # A code without such a constant gets one, in front of everything: PUSH4, POP.
        plain = code if places else bytes([PUSH4]) + bytes(4) + b"\x50" + code
        at = place if places else 1
        made = []
        for constant in (FIRST, SECOND, THIRD):
            changed = plain[:at] + constant.to_bytes(4, "big") + plain[at + 4 :]
            rules = restrict(FORK, reachable_opcodes(changed))
            made.append((changed, rules, compile_unit(changed, rules, options, symbol).object_data))
        places_in_object = differences([data for _, _, data in made])
        if places_in_object is None or len(places_in_object) < 4:
            continue
        base = Base(made[0][0], made[0][1], made[0][2], symbol, [at], places_in_object)
        assert base.variant(THIRD, symbol) == (made[2][0], made[2][2]), "a variant is what the compiler makes"
        return base
    return None


def differences(objects: list[bytes]) -> list[tuple[int, int]] | None:
    """Where the bytes of the constants stand, None where more than these differ."""
    first, second, third = objects
    if len({len(data) for data in objects}) != 1:
        return None
    constants = [constant.to_bytes(4, "big") for constant in (FIRST, SECOND, THIRD)]
    places = []
    for offset, found in enumerate(zip(first, second, third, strict=True)):
        if len(set(found)) > 1:
            which = [index for index in range(4) if tuple(one[index] for one in constants) == found]
            if not which:
                return None
            places.append((offset, which[0]))
    return places


def make_store(root: Path, count: int) -> list[bytes]:
    """Publish that many contracts; answers their code hashes."""
    options = CompileOptions()
    profile = profile_of(options)
    codes = contracts()
    bases = []
    for size in SIZES:
        near = sorted(codes, key=lambda code: abs(len(code) - size))
        base = next((made for made in (make_base(code, options) for code in near[:3]) if made is not None), None)
        if base is not None:
            bases.append(base)
    store = ArtifactDirectory.open(root, create=True, durability=Durability.NONE)
    hashes: list[bytes] = []
    for start in range(0, count, PACK_SIZE):
        members, objects, entries = [], [], []
        for number in range(start, min(start + PACK_SIZE, count)):
            base, symbol = bases[number % len(bases)], symbol_of(number)
            code, data = base.variant(number + 1, symbol)
            sha256, code_hash = hashlib.sha256(code).digest(), keccak256(code)
            hashes.append(code_hash)
            objects.append(data)
            entries.append(TableEntry(sha256, bytes.fromhex(base.rules.digest), symbol))
            members.append(
                Member(
                    code_hash=code_hash.hex(),
                    code_sha256=sha256.hex(),
                    compile_ms=1,
                    forks=("osaka",),
                    holes=(),
                    label=f"contract {number}",
                    length=len(code),
                    opcodes=opcode_bitmap(base.rules.opcodes),
                    rules=base.rules.digest,
                    slot=len(members),
                    symbol=symbol,
                )
            )
        table = LibraryTable(bytes.fromhex(FINGERPRINT), bytes.fromhex(profile.digest), tuple(entries))
        library = link_library(options, "own", table, objects, f"evmaot-{start}.so")
        record = ObjectRecord(hashlib.sha256(library).hexdigest(), len(library), f"evmaot-{start}.so", TABLE_SYMBOL)
        origin = Origin("build", "bench", "here")
        manifest = PackManifest(profile.digest, record, origin, store.files.now(), tuple(members))
        store.publish(library, manifest, profile)
    return hashes


def main() -> None:
    """All figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--contracts", type=int, default=10_000)
    parser.add_argument("--store", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = chosen.store or Path(folder) / "store"
        listing = root.with_suffix(".hashes")
        if not listing.exists():
            start = time.monotonic()
            hashes = make_store(root, chosen.contracts)
            listing.write_text("\n".join(code_hash.hex() for code_hash in hashes))
            sys.stdout.write(f"made in {time.monotonic() - start:.0f} s\n")
        libraries = list((root / "v1" / "objects").rglob("*.so"))
        size_bytes = sum(path.stat().st_size for path in libraries)
        count = len(listing.read_text().split())
        sys.stdout.write(f"{count} contracts, {len(libraries)} packs, {size_bytes >> 20} MiB\n")
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        for what in ("open_runtime", "JitBackend"):
            for preload in ("eager", "lazy"):
                for mapping in ("file", "copy") if preload == "eager" else ("file",):
                    arguments = [sys.executable, "-c", MEASURE, what, str(root), preload, mapping, str(listing)]
                    runs = [json.loads(subprocess.check_output(arguments, env=environment)) for _ in range(4)]
                    best = min(runs[1:], key=lambda run: run["wall"])
                    line = f"{what:<13} {preload:<5} {mapping:<5} {best['wall']:6.3f} s wall, {best['cpu']:6.3f} s CPU"
                    line += f", {best['bytes'] / count:7.0f} bytes resident per contract"
                    if "first" in best:
                        line += (
                            f", first look-up {best['first'] * 1e6:.1f} us ({best['bytes_after'] / count:.0f} bytes)"
                        )
                    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
