"""Configuration: flags, environment and files to one frozen `Settings`, each value with its origin.

Job: one row per setting (`Settings`' fields carry file key, variable, type and document).
Order, the first that speaks wins:

    flags > EVMAOT_* > project evmaot.toml (safe keys only) > user file > system file > defaults

Invariants: an unknown key is an error with a suggestion; a project's file, which comes with code
that others wrote, can set neither the store, nor locks, nor the linker, nor where outputs go.
Only the command line reads this module.  May import: `evmaot.config_values`, `evmaot.errors`.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from evmaot.config_values import (
    choice_parser,
    choices_parser,
    integer_parser,
    none_or,
    parse_boolean,
    parse_duration,
    parse_keys,
    parse_path,
    parse_paths,
    parse_room,
    parse_size,
    parse_some_texts,
    parse_text,
    parse_text_or_none,
    parse_texts,
    spell_duration,
    spell_size,
)
from evmaot.errors import UsageError

PROJECT_FILE = "evmaot.toml"
_MAX_FILE_BYTES = 1 << 20

_max_size, _max_age, _keep_free = none_or(parse_size), none_or(parse_duration), none_or(parse_room)

LINKERS = ("own", "ld", "lld", "cc", "zig")
TIERS = ("fast", "optimised")
COLORS = ("auto", "always", "never")


@dataclass(frozen=True, slots=True)
class Row:
    """What a setting is: everything about it is said here and nowhere else."""

    key: str
    """Dotted name in files, for example ``build.timeout``."""
    variable: str
    """Environment variable."""
    parse: Callable[[object], Any]
    document: str
    in_project: bool = True
    """Whether a project's file may set it."""
    secret: bool = False
    """Whether it is a URL, where keys of access may stand: `config show` shows no more of it than the host."""


def _row(key: str, variable: str, parse: Callable[[object], Any], document: str, **more: bool) -> dict[str, Row]:
    return {"row": Row(key, variable, parse, document, **more)}


def default_store() -> Path:
    """The user's store: ``<user cache dir>/evmaot/store``."""
    from platformdirs import user_cache_path

    return user_cache_path("evmaot") / "store"


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, resolved.  Sizes are bytes, times are seconds."""

    store: Path = field(
        default_factory=default_store,
        metadata=_row("store.path", "EVMAOT_STORE", parse_path, "directory of the artifact store", in_project=False),
    )
    store_layers: tuple[Path, ...] = field(
        default=(),
        metadata=_row("store.layers", "EVMAOT_STORE_PATH", parse_paths, "stores below it, only read", in_project=False),
    )
    read_only: bool = field(
        default=False,
        metadata=_row("store.read_only", "EVMAOT_READ_ONLY", parse_boolean, "write nothing", in_project=False),
    )
    lock_timeout_seconds: float = field(
        default=30.0,
        metadata=_row(
            "store.lock_timeout", "EVMAOT_LOCK_TIMEOUT", parse_duration, "wait for other processes", in_project=False
        ),
    )
    inputs: tuple[str, ...] = field(
        default=(), metadata=_row("build.inputs", "EVMAOT_INPUTS", parse_texts, "inputs of a build that names none")
    )
    forks: tuple[str, ...] = field(
        default=("osaka",), metadata=_row("build.forks", "EVMAOT_FORK", parse_texts, "forks or ranges of forks")
    )
    input_format: str = field(
        default="auto", metadata=_row("build.format", "EVMAOT_FORMAT", parse_text, "format of the inputs")
    )
    tiers: tuple[str, ...] = field(
        default=("optimised",), metadata=_row("build.opt", "EVMAOT_OPT", choices_parser(*TIERS), "compiler tiers")
    )
    targets: tuple[str, ...] = field(
        default=("host",), metadata=_row("build.target", "EVMAOT_TARGET", parse_some_texts, "machines to compile for")
    )
    linker: str = field(
        default="own",
        metadata=_row(
            "build.linker", "EVMAOT_LINKER", choice_parser(*LINKERS), "what links libraries", in_project=False
        ),
    )
    jobs: int = field(
        default=0,
        metadata=_row("build.jobs", "EVMAOT_JOBS", integer_parser(0, 1024), "worker processes; 0: one per CPU"),
    )
    scheduler: str = field(
        default="",
        metadata=_row(
            "build.scheduler", "EVMAOT_SCHEDULER", parse_text_or_none, "Dask scheduler that compiles", in_project=False
        ),
    )
    timeout_seconds: float = field(
        default=300.0,
        metadata=_row("build.timeout", "EVMAOT_TIMEOUT", parse_duration, "limit of one contract's compilation"),
    )
    memory_limit_bytes: int = field(
        default=4 << 30,
        metadata=_row("build.memory_limit", "EVMAOT_MEMORY_LIMIT", parse_size, "limit of one worker process"),
    )
    pack_size: int = field(
        default=256,
        metadata=_row("build.pack_size", "EVMAOT_PACK_SIZE", integer_parser(1, 4096), "contracts in one library"),
    )
    keep_going: bool = field(
        default=True,
        metadata=_row("build.keep_going", "EVMAOT_KEEP_GOING", parse_boolean, "go on when an input fails"),
    )
    rpc_url: str = field(
        default="",
        metadata=_row(
            "rpc.url",
            "EVMAOT_RPC_URL",
            parse_text_or_none,
            "node that is asked for code",
            in_project=False,
            secret=True,
        ),
    )
    rpc_timeout_seconds: float = field(
        default=30.0,
        metadata=_row("rpc.timeout", "EVMAOT_RPC_TIMEOUT", parse_duration, "limit of one request", in_project=False),
    )
    rpc_retries: int = field(
        default=4,
        metadata=_row(
            "rpc.retries",
            "EVMAOT_RPC_RETRIES",
            integer_parser(0, 20),
            "further attempts of a request",
            in_project=False,
        ),
    )
    rpc_batch: int = field(
        default=100,
        metadata=_row(
            "rpc.batch", "EVMAOT_RPC_BATCH", integer_parser(1, 1000), "calls in one request", in_project=False
        ),
    )
    rpc_rate: int = field(
        default=0,
        metadata=_row(
            "rpc.rate",
            "EVMAOT_RPC_RATE",
            integer_parser(0, 100_000),
            "calls in a second; 0: no limit",
            in_project=False,
        ),
    )
    trusted_keys: tuple[str, ...] = field(
        default=(),
        metadata=_row(
            "share.trusted_keys", "EVMAOT_TRUSTED_KEYS", parse_keys, "keys whose exports are taken", in_project=False
        ),
    )
    require_signed: bool = field(
        default=False,
        metadata=_row(
            "share.require_signed",
            "EVMAOT_REQUIRE_SIGNED",
            parse_boolean,
            "use no imported pack without a signature",
            in_project=False,
        ),
    )
    gc_automatic: bool = field(
        default=True,
        metadata=_row(
            "gc.automatic", "EVMAOT_GC_AUTOMATIC", parse_boolean, "collect daily after a build", in_project=False
        ),
    )
    gc_max_size_bytes: int | None = field(
        default=10 << 30,
        metadata=_row("gc.max_size", "EVMAOT_GC_MAX_SIZE", _max_size, "size of the store, or none", in_project=False),
    )
    gc_max_age_seconds: float | None = field(
        default=90 * 86400.0,
        metadata=_row("gc.max_age", "EVMAOT_GC_MAX_AGE", _max_age, "time without use, or none", in_project=False),
    )
    gc_keep_free: int | float | None = field(
        default=0.05,
        metadata=_row("gc.keep_free", "EVMAOT_GC_KEEP_FREE", _keep_free, "room on the disk, or none", in_project=False),
    )
    color: str = field(
        default="auto", metadata=_row("output.color", "EVMAOT_COLOR", choice_parser(*COLORS), "coloured words")
    )
    plain: bool = field(
        default=False, metadata=_row("output.plain", "EVMAOT_PLAIN", parse_boolean, "no boxes, no cursor movement")
    )
    progress: bool = field(
        default=True, metadata=_row("output.progress", "EVMAOT_PROGRESS", parse_boolean, "show progress")
    )

    @property
    def tier(self) -> str:
        """The tier of a command that compiles one code: the first."""
        return self.tiers[0]

    @property
    def target(self) -> str:
        """The target of a command that compiles one code: the first."""
        return self.targets[0]


ROWS: dict[str, Row] = {item.name: item.metadata["row"] for item in fields(Settings)}
"""The row of each field of `Settings`."""


def spelled(name: str, value: Any) -> str:
    """The value of the setting `name` as one would write it in an option."""
    parse = ROWS[name].parse
    if ROWS[name].secret and value:
        # What does not read as a host may be a part of a password: a / in it ends the host too early.
        host = re.match(r"(\w+)://(?:[^/?#]*@)?((?:\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::\d+)?)(?=[/?#]|$)", value)
        return f"{host[1]}://{host[2]}/..." if host else "..."
    if value is None:
        return "none"
    if parse is _keep_free and isinstance(value, float):
        return f"{100 * value:g}%"
    if parse in (parse_size, _max_size, _keep_free):
        return spell_size(value)
    if parse in (parse_duration, _max_age):
        return spell_duration(value)
    if isinstance(value, tuple):
        return (os.pathsep if parse is parse_paths else ",").join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


_FIELD_OF_KEY = {row.key: name for name, row in ROWS.items()}
_OTHER_NAMES = {"build.tier": "build.opt", "build.tiers": "build.opt"}
"""Keys that people write for others."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from."""

    kind: str
    """``flag``, ``environment``, ``project``, ``user``, ``system``, ``file`` (--config) or ``default``."""
    detail: str = ""
    """The variable or the file."""

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}".strip()


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and where each came from."""

    settings: Settings
    origins: Mapping[str, Origin]
    """By field name of `Settings`."""
    files: tuple[Origin, ...]
    """The files that were read, strongest first."""


_UNREADABLE_HINT = "check the file's path and permissions; --config FILE names another"


def _fault(reference: str, message: str, origin: Origin, hint: str, cause: str | None = None) -> UsageError:
    return UsageError(reference, message, context={"subject": origin.detail}, cause=cause, hint=hint)


def _read_toml(origin: Origin) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    path = Path(origin.detail)
    try:
        data = path.read_bytes()
    except OSError as error:
        cause = error.strerror
        raise _fault("config_unreadable", "cannot read the configuration", origin, _UNREADABLE_HINT, cause) from error
    if len(data) > _MAX_FILE_BYTES:
        raise _fault("config_too_large", "the configuration is over 1 MiB", origin, "is this the right file?")
    try:
        return tomllib.loads(data.decode())
    except ValueError as error:
        hint = "correct the line that is named; see: evmaot man config"
        raise _fault("config_syntax", "the configuration is not TOML", origin, hint, str(error)) from error


def _flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def unknown_key(key: str, origin: Origin | None) -> UsageError:
    """The failure of a key that no setting has, with the nearest one as the hint."""
    import difflib

    close = [_OTHER_NAMES[key]] if key in _OTHER_NAMES else difflib.get_close_matches(key, _FIELD_OF_KEY, 1, 0.5)
    hint = f"did you mean {close[0]!r}?" if close else "see: evmaot config show"
    return _fault("config_unknown_key", f"unknown key {key!r}", origin or Origin("flag"), hint)


def _file_values(origin: Origin) -> dict[str, Any]:
    """The settings of one file, by field name.  Relative paths are relative to the file."""
    values: dict[str, Any] = {}
    for key, raw in _flatten(_read_toml(origin)).items():
        name = _FIELD_OF_KEY.get(key)
        if name is None:
            raise unknown_key(key, origin)
        if origin.kind == "project" and not ROWS[name].in_project:
            raise _fault(
                "config_unsafe_key",
                f"{key!r} cannot be set in a project's {PROJECT_FILE}",
                origin,
                f"set it in your own configuration, or with {ROWS[name].variable}",
                "a project's file comes with its code, and must not choose stores, locks or programs",
            )
        values[name] = _anchored(_parsed(name, raw, origin, key), Path(origin.detail).parent)
    if "inputs" in values:
        directory = Path(origin.detail).parent
        values["inputs"] = tuple(_anchored_input(text, directory) for text in values["inputs"])
    return values


def _anchored(value: Any, directory: Path) -> Any:
    if isinstance(value, Path):
        return directory / value
    if isinstance(value, tuple) and value and isinstance(value[0], Path):
        return tuple(directory / path for path in value)
    return value


def _anchored_input(text: str, directory: Path) -> str:
    if text == "-":
        return text
    return f"@{directory / text[1:]}" if text.startswith("@") else str(directory / text)


def _parsed(name: str, raw: object, origin: Origin, spelled: str) -> Any:
    try:
        return ROWS[name].parse(raw)
    except ValueError as error:
        hint = f"{spelled}: {ROWS[name].document}"
        raise _fault("config_bad_value", f"bad value for {spelled}", origin, hint, str(error)) from error


def project_file(directory: Path, home: Path | None = None) -> Path | None:
    """The nearest evmaot.toml of `directory` and its parents, up to a repository's root or the home directory."""
    home = home or Path(os.path.expanduser("~"))
    for folder in (directory, *directory.parents):
        # A directory that may not be looked into has no file for us: os.path says False where pathlib raises.
        if os.path.isfile(folder / PROJECT_FILE):
            return folder / PROJECT_FILE
        if os.path.exists(folder / ".git") or folder == home:
            return None
    return None


def _is_there(origin: Origin) -> bool:
    """Whether a file of the user or the system is there.

    Raises UsageError where that can't be known: it may say whom to trust, and is not passed over in silence.
    """
    try:
        return stat.S_ISREG(os.stat(origin.detail).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else str(error)
        raise _fault("config_unreadable", "cannot read the configuration", origin, _UNREADABLE_HINT, cause) from error


def _files(directory: Path, config_file: Path | None) -> tuple[Origin, ...]:
    """The files to read, strongest first; --config replaces them all."""
    if config_file is not None:
        return (Origin("file", str(config_file)),)
    from platformdirs import site_config_path, user_config_path

    project = project_file(directory)
    found = [Origin("project", str(project))] if project else []
    for kind, folder in (("user", user_config_path("evmaot")), ("system", site_config_path("evmaot"))):
        origin = Origin(kind, str(folder / "config.toml"))
        if _is_there(origin):
            found.append(origin)
    return tuple(found)


def load(
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    directory: Path,
    config_file: Path | None = None,
) -> Configuration:
    """Resolve every setting.

    `flags` holds the options that were given, by field name, already of their type; `directory` is
    where the search for a project's file begins.  Raises UsageError `config_*`.
    """
    if config_file is None and environment.get("EVMAOT_CONFIG"):
        config_file = Path(environment["EVMAOT_CONFIG"]).expanduser()
    files = _files(directory, config_file)
    from_files = [(origin, _file_values(origin)) for origin in files]
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for name, row in ROWS.items():
        if name in flags:
            values[name], origins[name] = flags[name], Origin("flag")
        elif environment.get(row.variable):
            origins[name] = Origin("environment", row.variable)
            values[name] = _parsed(name, environment[row.variable], origins[name], row.variable)
        else:
            origins[name] = Origin("default")
            for origin, found in from_files:
                if name in found:
                    values[name], origins[name] = found[name], origin
                    break
    return Configuration(Settings(**values), origins, files)
