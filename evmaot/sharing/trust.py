"""Whose exports are taken: the policy of `import` and `pull`.

Job: from trusted keys and a signature to who signed, or a refusal.  Invariants: nothing is taken without a trusted key
unless that was allowed for this one command; a signature of a trusted key that is wrong is refused even then, because
somebody changed what was signed.  May import: `evmaot.errors`, `evmaot.sharing.signature`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from evmaot.errors import SignatureError, TrustError
from evmaot.sharing.signature import PublicKey, verify


@dataclass(frozen=True, slots=True)
class Policy:
    """What is asked of an export."""

    keys: tuple[PublicKey, ...]
    allow_unsigned: bool = False

    def require_usable(self) -> None:
        """Raise TrustError ``no_trusted_key`` where nothing could be taken anyway."""
        if not self.keys and not self.allow_unsigned:
            raise TrustError(
                "no_trusted_key",
                "nothing is imported: no key is trusted",
                cause="an export holds machine code, which runs as you",
                hint="name the signer's key: --key FILE, or share.trusted_keys in your own configuration; without a"
                " signature, if you trust where it comes from: --allow-unsigned",
            )


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed; nothing of it is known where an unsigned export was allowed."""

    key: str | None = None
    """Number of the key, as minisign shows it."""
    public: str = ""
    """The whole key, in base64."""
    comment: str | None = None
    """The trusted comment."""


def signer(policy: Policy, stream: BinaryIO, signature: str | None, subject: str) -> Signer:
    """Who signed what a stream holds.

    Raises TrustError ``no_trusted_key``; SignatureError ``unsigned``, ``untrusted_key``, ``bad_signature``.
    """
    policy.require_usable()
    if signature is None or not policy.keys:
        if policy.allow_unsigned:
            return Signer()
        raise SignatureError(
            "unsigned",
            "there is no signature",
            context={"subject": subject},
            cause=f"{subject}.minisig is missing",
            hint="ask its maker for it (evmaot export --sign KEY), or take it as it is: --allow-unsigned",
        )
    try:
        key, comment = verify(stream, signature, policy.keys, subject)
    except SignatureError as error:
        if error.reference == "untrusted_key" and policy.allow_unsigned:
            return Signer()
        raise
    return Signer(key.name, key.text, comment)
