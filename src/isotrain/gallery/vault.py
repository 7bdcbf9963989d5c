"""Encryption at rest: what a gallery keeps about people, readable only with a passphrase.

Sealed by AES-256-GCM: names, vectors, crops, landmarks, photo paths and digests, provenance, and who agreed. Not
sealed: how many people, faces and photos there are, which face is whose (by number), boxes, scores, dates, the basis
of a consent and the model's name. Names and photos are found again by a keyed digest (HMAC-SHA-256).

The data is sealed with a random key, and only that key with one made of the passphrase (scrypt, RFC 7914), so that a
passphrase can be changed without touching the data. A gallery without a passphrase takes the same way with nothing
sealed, and its key in the open.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Iterable
from typing import Any

from isotrain.errors import BadData, BadOption, MissingExtra

COST = {"n": 2**17, "r": 8, "p": 1}
"""scrypt's, 128 MiB and about half a second: OWASP's first choice (Password Storage Cheat Sheet)."""
# A crafted file must not ask for all of the memory.
LARGEST_COST = {"n": 2**20, "r": 16, "p": 8}
KEY, NONCE = 32, 12


class Vault:
    """Seals and unseals bytes, and makes digests of them.

    Args:
        keys: 64 bytes: the first half seals, the second makes digests.
        sealed: whether anything is sealed at all.
    """

    def __init__(self, keys: bytes, sealed: bool) -> None:
        self.sealed = sealed
        self._keys = keys
        self._cipher = _cipher(keys[:KEY]) if sealed else None

    def seal(self, kind: str, plain: bytes) -> bytes:
        """The bytes as they are written; `kind` keeps a name from passing for a path when it is unsealed."""
        if self._cipher is None:
            return plain
        nonce = os.urandom(NONCE)
        return nonce + bytes(self._cipher.encrypt(nonce, plain, kind.encode()))

    def unseal(self, kind: str, written: bytes) -> bytes:
        """What was sealed.

        Raises:
            BadData: the bytes were changed since.
        """
        return self.unseal_all(kind, [written])[0]

    def unseal_all(self, kind: str, written: Iterable[bytes]) -> list[bytes]:
        """What was sealed, of many.

        Raises:
            BadData: some bytes were changed since.
        """
        if self._cipher is None:
            return list(written)
        from cryptography.exceptions import InvalidTag

        decrypt, bound = self._cipher.decrypt, kind.encode()
        try:
            return [decrypt(item[:NONCE], item[NONCE:], bound) for item in written]
        except (InvalidTag, ValueError) as error:
            raise BadData(f"a {kind} in the gallery does not unseal: the file was changed. Restore a copy.") from error

    def seal_words(self, kind: str, words: dict[str, Any]) -> bytes:
        """A small record, sealed."""
        return self.seal(kind, json.dumps(words).encode())

    def unseal_words(self, kind: str, written: bytes) -> dict[str, Any]:
        """What `seal_words` sealed."""
        words: dict[str, Any] = json.loads(self.unseal(kind, written))
        return words

    def digest(self, kind: str, plain: bytes) -> bytes:
        """32 bytes by which the same thing is found again, and from which nobody without the key learns it.

        >>> vault = Vault(bytes(64), sealed=False)
        >>> vault.digest("name", b"Ada") == vault.digest("path", b"Ada")
        False
        """
        return hmac.digest(self._keys[KEY:], kind.encode() + b"\0" + plain, "sha256")

    def written(self, passphrase: str | None) -> bytes:
        """What the gallery file has to hold for this vault to be opened again, with a passphrase or without."""
        if passphrase is None:
            return json.dumps({"keys": self._keys.hex()}).encode()
        salt, nonce = os.urandom(16), os.urandom(NONCE)
        wrapped = _cipher(_stretched(passphrase, salt, COST)).encrypt(nonce, self._keys, b"keys")
        return json.dumps(
            {"salt": salt.hex(), "scrypt": COST, "nonce": nonce.hex(), "sealed keys": wrapped.hex()}
        ).encode()


def new_vault(passphrase: str | None) -> Vault:
    """A vault with new random keys.

    Raises:
        BadOption: the passphrase is empty.
    """
    if passphrase is not None:
        check_passphrase(passphrase)
    return Vault(os.urandom(2 * KEY), sealed=passphrase is not None)


def opened_vault(written: bytes, passphrase: str | None, where: str) -> Vault:
    """The vault that `Vault.written` describes.

    Raises:
        BadOption: the passphrase is wrong, missing, or given to a gallery without one.
        BadData: the description is damaged.
    """
    damaged = f"gallery {where}: its keys are damaged. Restore a copy."
    try:
        words = json.loads(written)
        keys = bytes.fromhex(words["keys"]) if "keys" in words else b""
        if not keys:
            cost = {name: int(words["scrypt"][name]) for name in COST}
            salt, nonce, wrapped = (bytes.fromhex(words[name]) for name in ("salt", "nonce", "sealed keys"))
    except (ValueError, KeyError, TypeError) as error:
        raise BadData(damaged) from error
    if keys:
        if passphrase is not None:
            raise BadOption(
                f"gallery {where} is not encrypted, so that no passphrase opens it: leave it out, or make a new "
                "gallery with it."
            )
        return Vault(keys, sealed=False)
    if any(not 1 <= cost[name] <= largest for name, largest in LARGEST_COST.items()):
        raise BadData(f"gallery {where} asks for a scrypt cost of {cost}: {LARGEST_COST} at most is accepted.")
    if passphrase is None:
        raise BadOption(f"gallery {where} is encrypted: give its passphrase.")
    from cryptography.exceptions import InvalidTag

    try:
        keys = _cipher(_stretched(passphrase, salt, cost)).decrypt(nonce, wrapped, b"keys")
    except InvalidTag as error:
        raise BadOption(f"the passphrase does not open gallery {where}. Nothing was changed.") from error
    return Vault(keys, sealed=True)


def check_passphrase(passphrase: str) -> None:
    """See that there is one.

    Raises:
        BadOption: it is empty.
    """
    if not passphrase:
        raise BadOption("the passphrase is empty: give one, or none at all for a gallery that is not encrypted.")


def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise MissingExtra(
            "an encrypted gallery needs the package cryptography: pip install 'isotrain[faces]'."
        ) from error
    return AESGCM(key)


def _stretched(passphrase: str, salt: bytes, cost: dict[str, int]) -> bytes:
    try:
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError as error:
        raise MissingExtra(
            "an encrypted gallery needs the package cryptography: pip install 'isotrain[faces]'."
        ) from error
    return Scrypt(salt, KEY, **cost).derive(passphrase.encode("utf-8", "surrogatepass"))
