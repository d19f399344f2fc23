"""The hand-written parts of the manual: examples, files, exit status, security.

Job: data for `evmaot.cli.generate` (man pages) and for the end of `--help` (examples).
Invariant: every example is a command that works as written.  May import: nothing of evmaot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PAGE_DATE: Final = "2025-11-20"
"""Date in the pages: changed by hand with the text, so that pages are reproducible."""

DESCRIPTION: Final = """\
evmaot compiles EVM bytecode ahead of time, per hardfork, into native shared libraries, keeps them in a store,
and gives Python programs and native clients a thin runtime that loads that store.

Compiled contracts give the results of an interpreter: the same gas, output, logs and state. No compiler or
linker of the system is needed.

Data goes to standard output, words go to standard error. With --json, standard output is one document
{"schema", "evmaot", "ok", "data", "problems"} whose schema is versioned: evmaot.VERB/MAJOR. The JSON Schemas are in
the package's directory schemas. Sizes are bytes, times RFC 3339 in UTC, durations seconds; names may be added
within a major version. Where a command fails, data is null and problems says why.

A store that is not there yet is an empty one for ls, stats, pins, explain and doctor; build, import and pull make it.
For every other command that needs one it is an error, with exit status 73.
"""

EXAMPLES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "evmaot": (
        ("evmaot build --fork osaka out/", "Compile every contract of a Foundry project for one fork:"),
        ("evmaot ls", "See what the store holds:"),
        ("evmaot run 0x5f355f5260205ff3 --calldata 0x2a", "Execute a piece of code natively:"),
    ),
    "statetest": (
        ("evmaot statetest --sample 500 tests/", "Run some cases of every file and fork below a directory:"),
        (
            "evmaot statetest --tier both --resume results.jsonl tests/",
            "Run everything in both tiers; started again, it goes on where it stopped:",
        ),
    ),
    "build": (
        ("evmaot build --fork osaka out/", "Compile every contract of a Foundry project for one fork:"),
        ("evmaot build --fork london..osaka Token.json", "For a range of forks; what they share is compiled once:"),
        (
            "evmaot build --json @contracts.txt > report.json",
            "The inputs listed in a file, with a report for programs:",
        ),
        ("cast code $ADDRESS | evmaot build -", "Code from another program:"),
        ("evmaot build --dry-run out/", "What would be compiled, without compiling:"),
        ("evmaot build --check out/", "A gate for CI: fails where the store lacks something:"),
        (
            "evmaot build --rpc http://127.0.0.1:8545 --follow-proxies --address @hot.txt",
            "What is deployed, with the code behind proxies:",
        ),
        ("evmaot build --output dist/evm out/", "A portable directory, say in CI, that another machine uses:"),
        ("evmaot build --rank --limit 100 block.json", "The 100 codes that a block's trace met most often:"),
    ),
    "fetch": (
        ("evmaot fetch --rpc http://127.0.0.1:8545 @hot.txt -o codes.jsonl", "The code of the accounts in a list:"),
        ("evmaot build codes.jsonl", "A build from it, without the node:"),
        (
            "EVMAOT_RPC_URL=https://HOST/KEY evmaot fetch --block 21000000 0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48",
            "Of one block, with the key out of sight of other users:",
        ),
    ),
    "ls": (
        ("evmaot ls", "A row for each profile and fork:"),
        ("evmaot ls --contracts --sort length --limit 10", "The ten longest contracts:"),
        ("evmaot ls --stale", "What other versions of the compiler made:"),
        ("evmaot ls --contracts --fork osaka --jsonl", "One JSON record a line, for programs:"),
    ),
    "show": (
        ("evmaot show 0x1a2b3c4d", "A contract by the first digits of its code hash:"),
        ("evmaot show 5e6f7a8b --json", "A pack by the first digits of its name, as JSON:"),
        ("evmaot show 0x1a2b3c4d --disasm", "The machine code of a contract, from its library:"),
    ),
    "explain": (
        ("evmaot explain 0x1a2b3c4d --fork osaka", "Why a contract is found or not, by the first digits of its hash:"),
        ("evmaot explain token.hex --fork prague", "For a code that may not be stored at all:"),
    ),
    "stats": (
        ("evmaot stats", "What the store holds, and what it takes:"),
        ("evmaot stats --json", "For a monitor:"),
    ),
    "preload": (
        ("evmaot preload --check", "What a program would load, and how long it takes:"),
        ("evmaot preload --check -v", "With what is for other machines and versions:"),
    ),
    "doctor": (("evmaot doctor", "Everything, with what to do:"),),
    "verify": (
        ("evmaot verify", "Hash every library and check every document:"),
        ("evmaot verify --level meta --json", "Documents only, for programs:"),
        ("evmaot verify --repair", "Compile what is damaged again:"),
        ("evmaot verify --level rebuild --sample 2", "Whether this compiler makes the very bytes of two libraries:"),
    ),
    "gc": (
        ("evmaot gc --dry-run", "What would be removed under the limits of the configuration:"),
        ("evmaot gc --max-size 5GiB --keep-free 10%", "With other limits, once:"),
        ("evmaot gc --repack", "Merge small packs, at the cost of a build:"),
        ("evmaot gc --stale", "What earlier versions of the compiler left, after an upgrade:"),
    ),
    "pin": (
        ("evmaot pin release-1 --all", "Keep everything that is stored now:"),
        ("evmaot pin tokens 'src/Token*' --fork osaka", "Keep some contracts for a fork:"),
        ("evmaot build --pin nightly out/", "Keep what a build needs; the next build moves the pin:"),
    ),
    "unpin": (("evmaot unpin release-1", "Let what it kept be collected:"),),
    "pins": (("evmaot pins", "See what is kept, and what of it is missing:"),),
    "clear": (
        ("evmaot clear --fork london --dry-run", "What would go with a fork:"),
        ("evmaot clear --all --yes", "Empty the store, without a question:"),
    ),
    "export": (
        ("evmaot export --sign ~/ci.key packs.tar.zst", "Everything that is stored, compressed and signed:"),
        ("evmaot export --pin release-1 --codes --sign ~/ci.key release-1.tar", "What a pin keeps, with its bytecode:"),
        ("evmaot export --directory --sign ~/ci.key /srv/www/packs", "Files for a web server:"),
    ),
    "import": (
        ("evmaot import --key ci.key.pub packs.tar.zst", "What the owner of a key has signed:"),
        ("evmaot import --allow-unsigned packs.tar", "A file that you made yourself, without a signature:"),
    ),
    "pull": (
        ("evmaot pull --key ci.key.pub https://packs.example.org/", "What a directory has that is not here yet:"),
        ("evmaot pull --key ci.key.pub https://packs.example.org/packs.tar.zst", "A single file:"),
    ),
    "keygen": (("evmaot keygen ~/ci.key", "A key for --sign, and ~/ci.key.pub for those who import:"),),
    "path": (('cd "$(evmaot path)"', "Go to the store:"),),
    "run": (
        ("evmaot run 0x5f355f5260205ff3 --calldata 0x2a", "Code on the command line:"),
        ("evmaot run token.bin --fork cancun --calldata 0x18160ddd --json", "A file, with a result for programs:"),
        ("evmaot run --transaction snailtracer.json --fork prague", "The transaction of a state test or benchmark:"),
    ),
    "bench": (
        ("evmaot bench 0x5f355f5260205ff3 --calldata 0x2a", "Code on the command line, beside what is installed:"),
        ("evmaot bench token.bin --opt fast --opt optimised --against none", "The two tiers side by side:"),
        ("evmaot bench --transaction snailtracer.json --fork prague --count 20 --json", "A benchmark, for programs:"),
    ),
    "dump": (
        ("evmaot dump token.bin --stage program", "Blocks and sections:"),
        ("evmaot dump token.bin --stage cfg | dot -Tsvg > cfg.svg", "The control flow as a picture:"),
    ),
    "forks": (
        ("evmaot forks show cancun", "One fork, with every price and parameter:"),
        ("evmaot forks diff london shanghai", "What two forks differ in:"),
    ),
    "config": (("evmaot config show --origin", "Every setting, and where it comes from:"),),
    "completion": (
        ("evmaot completion bash > ~/.local/share/bash-completion/completions/evmaot", "bash:"),
        ('evmaot completion zsh > "${fpath[1]}/_evmaot"', "zsh:"),
        ("evmaot completion fish > ~/.config/fish/completions/evmaot.fish", "fish:"),
    ),
    "man": (("evmaot man build | man -l -", "Read a page:"),),
}
"""By verb: (command, what it is for)."""

ENVIRONMENT: Final = (
    ("EVMAOT_CONFIG", "A configuration file that is read instead of all others."),
    ("HTTP_PROXY, HTTPS_PROXY, NO_PROXY", "Proxies to a node (--rpc), and the hosts that are asked without one."),
    ("NO_COLOR", "No colours, where it is not empty."),
    ("FORCE_COLOR", "Colours also in a pipe, where it is neither empty nor 0."),
    ("TERM", "With the value dumb: no colours, no moving progress display."),
    ("COLUMNS", "Width of the terminal."),
    ("CI", "Where it is not empty: progress as one line every 10 seconds."),
    ("EVMAOT_KEY_PASSWORD", "Password of the secret key of export --sign; a key of evmaot keygen has none."),
    ("SOURCE_DATE_EPOCH", "Seconds since 1970 that a signature names as its time."),
    ("XDG_CACHE_HOME, XDG_CONFIG_HOME, XDG_CONFIG_DIRS", "Where the store and the configuration files are."),
)
"""Variables beside those of the settings."""

FILES: Final = (
    ("~/.cache/evmaot/store", "The artifact store of the user; see evmaot-store(5)."),
    ("evmaot.toml", "Configuration of a project: in the working directory or above it, up to the repository's root."),
    ("~/.config/evmaot/config.toml", "Configuration of the user."),
    ("/etc/xdg/evmaot/config.toml", "Configuration of the system."),
)

SECURITY: Final = """\
A store holds machine code. Whoever can write to it runs code as everyone who loads from it. Keep it in a
directory that only you, or root, can write to; evmaot refuses a store that belongs to someone else or that
others can write to.

A project's evmaot.toml comes with the project's code. It can name inputs, forks, targets and limits, but
neither the store, nor the linker, nor keys.

An export holds machine code too: import and pull take only what a key signed that you named with --key or in
share.trusted_keys of your own configuration, unless --allow-unsigned is given on that one command. A signature says who
made the code, not that the code is right: trust the key of a builder as you trust the builder.

Signatures are of exports, not of the files of a store. import and pull note in each manifest whose signature was
checked; with share.require_signed (EVMAOT_REQUIRE_SIGNED) what was imported without one is not used, and
verify --level trust says so. The note helps against what was once allowed with --allow-unsigned. It proves nothing
against who can write to the store: that is what owners and modes are for.

Inputs are data: no input is executed by build, and a contract that exhausts time or memory costs only itself.
The code hash under which an artifact is found is computed from the code, never taken from the input.
"""

STORE_SECTIONS: Final[Mapping[str, str]] = {
    "DESCRIPTION": """\
The artifact store is a directory that holds compiled contracts. It is a cache: it can be removed at any time,
and evmaot build makes it again. Several versions of evmaot share one store; each ignores what it does not
know.

Contracts are stored in packs. A pack is one shared library with up to 256 contracts, and a manifest that
lists them. There is no database: the manifests are the only truth, and whatever no manifest names is not
there.
""",
    "PROFILES AND KEYS": """\
A profile is everything besides code and fork that machine code depends on: the compiler's sources, the
versions of LLVM and llvmlite, the fingerprint of the native interface, target, and options. Its preimage is
in profile.json, and the first 16 digits of the preimage's SHA-256 are the directory's name.

The rules digest covers every price and rule of a fork that the opcodes of a contract consult, and no other.
Forks that a contract cannot tell apart share one artifact.

The unit key is the digest of profile, rules digest, and SHA-256 and length of the code.
""",
    "PUBLICATION": """\
A library is written to v1/tmp, checked, made read-only, and renamed to its SHA-256. Its manifest is written
and renamed after it: that rename is the commit point. A process that is killed at any moment leaves at most
files that no manifest names. Published files are never written again.
""",
    "LOADING": """\
A library is loaded only if its size and SHA-256 are those of its manifest, and if its ELF structure obeys the
rules: no initialisers, no text relocations, no run paths, no executable stack, no foreign dependencies.
Anything else is a miss with a named reason; the contract is then interpreted or compiled, never run wrongly.

A library says itself what it holds: its table names each code by SHA-256 and rules digest. A look-up that has the code
at hand compares its SHA-256, so whatever a manifest says, it finds code compiled from these very bytes or none. A
look-up by code hash alone relies on the manifest, for a library knows no keccak hashes: who can write the manifest
decides what such a look-up finds. Hosts and executor of evmaot always have the code; evmaot verify compares the hashes
with the bytecode that the pack keeps.
""",
}
"""Hand-written sections of evmaot-store(5)."""

VERB_SECTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "build": {
        "PORTABLE DIRECTORY": """\
--output DIR builds a store that is not the user's: evmaot-store(5) describes it, everybody may read it, and
index.json lists its packs. The user's store and the layers are neither read nor written, so DIR holds all that the
inputs need. A directory that is neither empty nor a store is refused. Use it in one of these ways:

  evmaot --store DIR ls               copied with its modes (tar, rsync -a, cp -a), as the store itself
  EVMAOT_STORE_PATH=DIR               as a layer below the user's store
  evmaot pull URL                     from a web server that serves DIR; only what is missing is fetched
  evmaot --store DIR export --sign KEYFILE FILE      as one signed file

Who uses a copy must own it, or root must, and nobody else may write to it. Where modes were lost on the way, as CI
uploads lose them, evmaot --store DIR verify --repair sets them again. index.json is that of the last build: after gc or
clear in DIR, build again before it is served.
""",
    },
    "verify": {
        "LEVELS": """\
meta: documents, names, sizes, owners and modes. hash: the bytes of every library too; and of every artifact whose
bytecode the pack keeps, code hash, length and holes, and that its forks, opcodes and rules digest belong together.
trust: owners and modes of everything in the store and of the directories above it, whether its file system lets
code run, and imports that no key had signed, or one that is not trusted any more: notes, or errors (exit 5) with
share.require_signed. elf: what a loader would follow in a library, and that the library's own table has every code
and rules digest that the manifest lists. Each does what those before it do.

load: every library is loaded in another process, with limits, as the runtime does. rebuild: every pack of this
compiler is compiled again from the bytecode that the store keeps, and compared byte for byte, and its manifest member
by member. exec: compiled code
runs against the reference host on generated calls. These look at the libraries that passed the levels up to elf.
""",
    },
    "explain": {
        "REASONS": """\
The look-up goes through these in order; the first that applies is the answer.

  store_missing, store_untrusted, format_newer   the store as a whole
  not_in_store          no artifact of this code, under no fork and profile
  negative:REASON       it failed to compile when it was tried last
  profile_other         made by another version of the compiler
  abi_mismatch          machine code for another version of the native interface
  architecture:NAME     machine code for another processor
  isa_missing:FEATURE   machine code for a better processor
  unsigned              imported without a trusted signature, and share.require_signed is set
  code_mismatch         the same hash, other code: somebody tampers
  template              a template is stored under this hash, which serves codes with other hashes
  rules_differ          the fork prices an opcode of the code otherwise
  object_missing, size_mismatch, hash_mismatch, elf_rule:RULE, noexec_mount,
  dlopen_failed, table_mismatch                  the library is refused
  loaded                a hit

A build looks for exactly its own profile. Its answer is cached, one of the above, or profile_differs with the
first field that differs: native ABI, target, CPU, versions of LLVM and llvmlite, compiler sources, tier, linker.
""",
    },
    "import": {
        "REFUSALS": """\
The whole file is refused, and nothing is stored:

  no_trusted_key        no key is named, and --allow-unsigned is not given (exit 77)
  unsigned, untrusted_key, bad_signature         (exit 5)
  export_damaged, format_newer                   not a file of evmaot export, or cut off (exit 4)

A single pack is refused, and the others are stored (exit 3; 4 where none is left):

  profile_mismatch, manifest_mismatch, manifest_REASON    its documents contradict each other
  elf_rule:RULE         its library breaks a rule for libraries; see evmaot-store(5)
  table_mismatch        its library does not hold what its manifest says
  code_hash_mismatch    a code hash or length is not that of the bytecode that travels with it
  member_mismatch       neither are opcodes, rules digest or forks; or a fork is named that no version knows
  architecture:NAME     for a machine that this version of evmaot does not know

What is right, but for another machine or version, is stored; ls and explain say why it is not loaded.
""",
    },
    "pull": {
        "TRANSFER": """\
A URL whose path ends in .tar or .zst is a file of evmaot export, with its signature at the same URL with .minisig
behind the path. Any other is a directory of evmaot export --directory: URL/index.json is fetched with its signature,
then the packs that the store does not have yet, so that a second pull costs little.

A transfer that breaks is continued where it broke, if the server allows it (Range with ETag or Last-Modified), and else
begins again, --retries times with growing pauses. A server that sends next to nothing within --timeout is given up.
Redirects are followed, but not from https to http. HTTP_PROXY, HTTPS_PROXY and NO_PROXY are honoured.
What is refused is that of evmaot-import(1); exit 3 also where the server does not answer.
""",
    },
    "export": {
        "FORMAT": """\
A tar of index.json (schema evmaot.export/1: name, SHA-256 and size of each file) and the files of a store that it
lists: v1/profiles/ID/profile.json, v1/profiles/ID/packs/SHA256.json, v1/objects/XX/SHA256.so and, with --codes,
v1/codes/XX/SHA256.codes. Order, owners, modes and times are fixed, so equal packs give equal bytes. With --directory
the same files lie in a directory.

FILE.minisig signs the whole file, index.json.minisig the list of a directory, which has the SHA-256 of every other
file. Both are checked by minisign -V too. The time in the signature is that of SOURCE_DATE_EPOCH, where it is set.

A secret key of minisign -G with a password asks for it on the terminal, or takes it from EVMAOT_KEY_PASSWORD.
""",
    },
    "stats": {
        "TERMS": """\
Stale: made by another version of the compiler. The runtime passes such artifacts over unless it was told to take
those of any version; evmaot build makes new ones beside them, and evmaot gc --stale removes them.

Not used: libraries whose manifests this version cannot use, as those of a newer format; no other sum has them.

Unreferenced: libraries that no manifest names, left by an interrupted process or by what was removed.

Failures: codes that could not be compiled. A build does not try them again under the same limits.
""",
    },
}
"""Hand-written sections of the page of a verb, by verb and heading."""
