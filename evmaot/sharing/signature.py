"""Signatures of files in minisign's format: Ed25519 over BLAKE2b-512 of the whole file.

Job: read and make keys, sign, verify.  What is written here verifies with `minisign -V`, and the other way round.
Invariants: nothing is said about a signature whose key is not among those given; the trusted comment is covered by a
signature of its own and is checked with it; a secret key is used only where nobody else can read its file.
The format: https://jedisct1.github.io/minisign/#signature-format.  May import: `evmaot.errors`; `cryptography` (extra
`evmaot[sign]`), when it is needed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from evmaot.errors import EvmaotError, SignatureError, TrustError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_KEY_BYTES: Final = 4096
_READ_BYTES: Final = 1 << 20
_ALGORITHM, _PREHASHED = b"Ed", b"ED"
_NO_PASSWORD, _SCRYPT, _CHECKSUM = b"\x00\x00", b"Sc", b"B2"
_PUBLIC_BYTES, _SIGNATURE_BYTES, _SECRET_BYTES = 42, 74, 158
_MAX_SCRYPT_MEMORY_BYTES: Final = (1 << 31) - 1
_TRUSTED = "trusted comment: "
_UNTRUSTED = "untrusted comment: "
_KEY_TEXT: Final = re.compile(r"[A-Za-z0-9+/]{56}")
"""A public key as one writes it into a configuration: 42 bytes in base64."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that signatures are checked with."""

    id: bytes
    point: bytes

    @property
    def name(self) -> str:
        """The key's number as minisign shows it."""
        return f"{int.from_bytes(self.id, 'little'):016X}"

    @property
    def text(self) -> str:
        """The key in base64, as a configuration takes it."""
        return base64.b64encode(_ALGORITHM + self.id + self.point).decode()


@dataclass(frozen=True, slots=True, repr=False)
class SecretKey:
    """A key that signs.  Never shown."""

    id: bytes
    seed: bytes

    @property
    def public(self) -> PublicKey:
        """The key that others check with."""
        return PublicKey(self.id, _private(self.seed).public_key().public_bytes_raw())


def _private(seed: bytes) -> Ed25519PrivateKey:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise _no_library(error) from error
    return Ed25519PrivateKey.from_private_bytes(seed)


def _public(point: bytes) -> Ed25519PublicKey:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise _no_library(error) from error
    return Ed25519PublicKey.from_public_bytes(point)


def _no_library(error: ImportError) -> UsageError:
    return UsageError(
        "extra_missing",
        "signatures need the extra evmaot[sign]",
        cause=str(error),
        hint="python -m pip install 'evmaot[sign]'",
    )


def _bad_key(what: str, cause: str, subject: str) -> UsageError:
    hint = "evmaot keygen makes a pair of keys, and so does minisign -G"
    return UsageError("bad_key", f"not {what}", context={"subject": subject}, cause=cause, hint=hint)


def is_key_text(text: str) -> bool:
    """Whether a text is a public key, and not the path of its file."""
    return _KEY_TEXT.fullmatch(text) is not None


def parse_public_key(text: str, subject: str) -> PublicKey:
    """A public key: its base64, or the text of its file.  Raises UsageError ``bad_key``; `subject` names it there."""
    lines = [line for line in text.strip().splitlines() if not line.startswith(_UNTRUSTED)]
    data = _decoded(lines[0].strip()) if len(lines) == 1 else None
    if data is None or len(data) != _PUBLIC_BYTES or data[:2] != _ALGORITHM:
        raise _bad_key("a public key of minisign", "it has not one line of 42 bytes in base64", subject)
    return PublicKey(data[2:10], data[10:])


def read_public_key(text: str) -> PublicKey:
    """The public key that a text is or whose file it names.  Raises UsageError ``bad_key``, ``unreadable_file``."""
    if is_key_text(text):
        return parse_public_key(text, text)
    return parse_public_key(_text_of(Path(text), "the public key"), text)


def _text_of(path: Path, what: str) -> str:
    try:
        with open(path, "rb") as stream:
            return stream.read(MAX_KEY_BYTES).decode("utf-8", "replace")
    except OSError as error:
        cause = error.strerror or str(error)
        context = {"path": str(path)}
        raise UsageError(
            "unreadable_file", f"cannot read {what}", context=context, cause=cause, hint="check the path"
        ) from error


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


# Secret keys.


def new_secret_key() -> SecretKey:
    """A key of the system's randomness."""
    return SecretKey(secrets.token_bytes(8), secrets.token_bytes(32))


def secret_key_text(key: SecretKey) -> str:
    """The file of a key without password, as `minisign -G -W` writes it."""
    pair = key.id + key.seed + key.public.point
    check = hashlib.blake2b(_ALGORITHM + pair, digest_size=32).digest()
    data = _ALGORITHM + _NO_PASSWORD + _CHECKSUM + bytes(48) + pair + check
    return f"{_UNTRUSTED}minisign secret key {key.public.name}\n{base64.b64encode(data).decode()}\n"


def public_key_text(key: PublicKey) -> str:
    """The file of a public key."""
    return f"{_UNTRUSTED}minisign public key {key.name}\n{key.text}\n"


def write_key_pair(path: Path, key: SecretKey) -> Path:
    """Write a new key to `path` (mode 0600) and its public part beside it; answers the path of that.

    Raises UsageError ``key_exists``, OSError.
    """
    public = path.with_name(path.name + ".pub")
    if os.path.lexists(path):
        # Before the public part is written: beside an older secret key it would be taken for that one's.
        raise _key_exists(path)
    # The public part first: a secret key without it would be found by nobody, and not be made again.
    for target, text, mode in ((public, public_key_text(key.public), 0o644), (path, secret_key_text(key), 0o600)):
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError:
            raise _key_exists(target) from None
        except OSError as error:
            hint = "name a file in a directory that you can write to"
            context, cause = {"path": str(target)}, error.strerror or str(error)
            raise UsageError("cannot_write", "cannot write a key", context=context, cause=cause, hint=hint) from error
        with open(descriptor, "w", encoding="ascii") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    return public


def _key_exists(path: Path) -> UsageError:
    hint = "choose another name; who trusts the old key trusts no new one"
    return UsageError("key_exists", "a key is not overwritten", context={"path": str(path)}, hint=hint)


def read_secret_key(path: Path, password: Callable[[], str]) -> SecretKey:
    """The key in a file of minisign's; `password` is asked where it has one.

    Raises UsageError ``bad_key``, ``unreadable_file``; TrustError ``key_exposed`` where others can read the file.
    """
    text = _text_of(path, "the secret key")
    _require_private(path)
    lines = text.strip().splitlines()
    data = _decoded(lines[-1].strip()) if lines else None
    if data is None or len(data) != _SECRET_BYTES or data[:2] != _ALGORITHM or data[4:6] != _CHECKSUM:
        raise _bad_key("a secret key of minisign", "it has no line of 158 bytes in base64", str(path))
    body = data[54:]
    if data[2:4] == _SCRYPT:
        body = _decrypted(body, password(), data[6:38], data[38:46], data[46:54], path)
    elif data[2:4] != _NO_PASSWORD:
        raise _bad_key("a secret key of minisign", "it is encrypted in a way that is not known", str(path))
    if hashlib.blake2b(_ALGORITHM + body[:72], digest_size=32).digest() != body[72:]:
        cause = "the password is wrong" if data[2:4] == _SCRYPT else "its checksum is wrong"
        raise _bad_key("a usable secret key", cause, str(path))
    return SecretKey(body[:8], body[8:40])


def _require_private(path: Path) -> None:
    status = os.stat(path)
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise TrustError(
            "key_exposed",
            "the secret key is not used",
            context={"path": str(path)},
            cause=f"its mode {stat.S_IMODE(status.st_mode):04o} lets others read it",
            hint=f"chmod 600 {path}; if others may have read it, make another key",
        )


def _decrypted(body: bytes, password: str, salt: bytes, operations: bytes, memory: bytes, path: Path) -> bytes:
    """What libsodium's `crypto_pwhash_scryptsalsa208sha256` does with its two limits."""
    limit, room = max(int.from_bytes(operations, "little"), 32768), int.from_bytes(memory, "little")
    if limit < room // 32:
        cost, parallel = _power(limit // 32), 1
    else:
        cost = _power(room // 1024)
        parallel = max(1, min((limit // 4) // cost, 0x3FFFFFFF) // 8)
    try:
        stream = hashlib.scrypt(
            password.encode(), salt=salt, n=cost, r=8, p=parallel, maxmem=_MAX_SCRYPT_MEMORY_BYTES, dklen=len(body)
        )
    except (ValueError, MemoryError) as error:
        raise _bad_key("a usable secret key", f"its password takes too much work: {error}", str(path)) from error
    return bytes(one ^ other for one, other in zip(body, stream, strict=True))


def _power(maximum: int) -> int:
    """The first power of two above the half of `maximum`."""
    power = 2
    while power <= maximum // 2 and power < 1 << 62:
        power *= 2
    return power


# Signatures.


def sign(stream: BinaryIO, key: SecretKey, comment: str) -> str:
    """The text of a signature of all that a stream holds; `comment`, one line, is signed too."""
    private = _private(key.seed)
    signature = private.sign(_prehash(stream))
    both = private.sign(signature + comment.encode())
    head = base64.b64encode(_PREHASHED + key.id + signature).decode()
    tail = base64.b64encode(both).decode()
    return f"{_UNTRUSTED}signature of evmaot, key {key.public.name}\n{head}\n{_TRUSTED}{comment}\n{tail}\n"


def verify(stream: BinaryIO, signature: str, keys: Iterable[PublicKey], subject: str) -> tuple[PublicKey, str]:
    """Who of the keys signed what a stream holds, and the trusted comment.

    Raises SignatureError ``bad_signature`` or ``untrusted_key``; `subject` names the file there.
    """
    lines = signature.splitlines()
    data = _decoded(lines[1]) if len(lines) == 4 else None
    both = _decoded(lines[3]) if len(lines) == 4 else None
    whole = data is not None and both is not None and len(data) == _SIGNATURE_BYTES and len(both) == 64
    if not whole or data is None or both is None or not lines[2].startswith(_TRUSTED):
        raise _bad_signature(subject, "it is not a signature of minisign")
    if data[:2] != _PREHASHED:
        raise _bad_signature(subject, "it is of minisign's old format; sign it again, with minisign 0.10 or later")
    key = next((key for key in keys if key.id == data[2:10]), None)
    if key is None:
        number = PublicKey(data[2:10], b"").name
        raise SignatureError(
            "untrusted_key",
            "signed with a key that is not trusted",
            context={"subject": subject, "key": number},
            cause=f"the signature names the key {number}",
            hint="if you know whose key it is: --key FILE, or share.trusted_keys in your own configuration",
        )
    comment = lines[2].removeprefix(_TRUSTED)
    from cryptography.exceptions import InvalidSignature

    public = _public(key.point)
    try:
        public.verify(data[10:], _prehash(stream))
        public.verify(both, data[10:] + comment.encode())
    except InvalidSignature:
        raise _bad_signature(subject, f"the key {key.name} did not sign these bytes") from None
    return key, comment


def _bad_signature(subject: str, cause: str) -> EvmaotError:
    return SignatureError(
        "bad_signature",
        "the signature is not right",
        context={"subject": subject},
        cause=cause,
        hint="fetch the file and its .minisig again; if that does not help, somebody changed it",
    )


def _prehash(stream: BinaryIO) -> bytes:
    stream.seek(0)
    digest = hashlib.blake2b(digest_size=64)
    while chunk := stream.read(_READ_BYTES):
        digest.update(chunk)
    return digest.digest()
