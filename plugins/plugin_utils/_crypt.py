# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords as crypt(3) stores them with SHA-512 (the scheme C($6$)).

Python 3.13 has no C(crypt) module any more, and no further package is worth these lines.
"""

from __future__ import annotations

import hashlib
from typing import Final

ROUNDS: Final = 5000  # the scheme's own number: nginx computes it for each request
_ALPHABET: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def sha512_crypt(password: str, salt: str) -> str:
    """Return the hash of a password with a salt of 1 to 16 characters of C([./0-9A-Za-z])."""
    if not 1 <= len(salt) <= 16 or set(salt) - set(_ALPHABET):
        raise ValueError("a salt has 1 to 16 characters of ./0-9A-Za-z")
    key, seed = password.encode(), salt.encode()
    other = hashlib.sha512(key + seed + key).digest()
    start = hashlib.sha512(key + seed + _stretched(other, len(key)))
    bits = len(key)
    while bits:
        start.update(other if bits & 1 else key)
        bits >>= 1
    digest = start.digest()
    keys = _stretched(hashlib.sha512(key * len(key)).digest(), len(key))
    seeds = _stretched(hashlib.sha512(seed * (16 + digest[0])).digest(), len(seed))
    for number in range(ROUNDS):
        step = keys if number & 1 else digest
        if number % 3:
            step += seeds
        if number % 7:
            step += keys
        step += digest if number & 1 else keys
        digest = hashlib.sha512(step).digest()
    return f"$6${salt}${_encoded(digest)}"


def stable_salt(password: str, *context: str) -> str:
    """Return a salt that is always the same for a password in its place, so that a second run changes nothing.

    It is derived slowly, because it stands beside the hash: guessing by it is no quicker than by that.
    """
    raw = hashlib.scrypt(password.encode(), salt="\0".join(context).encode(), n=2**12, r=8, p=1, dklen=12)
    return "".join(_ALPHABET[byte & 63] for byte in raw)


def _stretched(digest: bytes, length: int) -> bytes:
    return (digest * (length // len(digest) + 1))[:length]


def _encoded(digest: bytes) -> str:
    """Six bits a character, the bytes in the order that the scheme prescribes."""
    text = ""
    for number in range(21):
        triple = [number, number + 21, number + 42]
        turn = number % 3
        high, middle, low = (digest[position] for position in triple[turn:] + triple[:turn])
        text += _characters(high << 16 | middle << 8 | low, 4)
    return text + _characters(digest[63], 2)


def _characters(value: int, count: int) -> str:
    return "".join(_ALPHABET[value >> 6 * position & 63] for position in range(count))


__all__ = ["ROUNDS", "sha512_crypt", "stable_salt"]
