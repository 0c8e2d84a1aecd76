"""Where key material comes from and how it is kept from being seen.

A `Secret` prints stars wherever Python would print it, refuses to be pickled, and gives its text only to `reveal()`,
which is called when a credential header is written. A fingerprint (HMAC-SHA256, salted per installation) names the
material in logs and finds the same material registered twice; it cannot be turned back.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

from apikeyrouter.errors import InvalidConfigurationError, MissingConfigurationError, MissingDependencyError

SHORTEST: Final = 10
LONGEST: Final = 4096
_BRACED: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Secret:
    """Key material. Two are equal when their material is."""

    __slots__ = ("_text",)

    def __init__(self, text: str, *, name: str = "the key") -> None:
        given: object = text
        if not isinstance(given, str):
            raise InvalidConfigurationError(f"The material of {name} is no text; pass the key as the provider gave it.")
        text = text.strip()
        if not SHORTEST <= len(text) <= LONGEST:
            raise InvalidConfigurationError(
                f"The material of {name} has {len(text)} characters; between {SHORTEST} and {LONGEST:,} are expected."
            )
        if not text.isascii() or not text.isprintable() or " " in text:
            raise InvalidConfigurationError(
                f"The material of {name} has characters that no HTTP header carries; check how it was copied."
            )
        self._text = text

    def reveal(self) -> str:
        return self._text

    def fingerprint(self, salt: bytes) -> str:
        """Twelve hexadecimal digits that name the material, for this salt only."""
        return hmac.new(salt, self._text.encode(), hashlib.sha256).hexdigest()[:12]

    def __repr__(self) -> str:
        return "Secret('*****')"

    def __str__(self) -> str:
        return "*****"

    def __format__(self, spec: str) -> str:
        return format("*****", spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text, other._text)

    def __hash__(self) -> int:
        return hash(("Secret", self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled; pass the source it was read from instead")


def resolve(source: str, *, name: str = "the key", environ: Mapping[str, str] | None = None) -> Secret:
    """The secret a configuration names: `env:NAME`, `file:/path`, `keyring:name`, text with `${NAME}`, or itself.

    `environ` replaces the process's environment. Raises MissingConfigurationError, naming the variable or file and
    never its content.
    """
    variables = os.environ if environ is None else environ
    scheme, colon, rest = source.partition(":")
    if colon and scheme == "env":
        return Secret(_from_environment(rest, name, variables), name=name)
    if colon and scheme == "file":
        return Secret(_from_file(rest, name), name=name)
    if colon and scheme == "keyring":
        return Secret(_from_keyring(rest, name), name=name)
    return Secret(_BRACED.sub(lambda m: _from_environment(m.group(1), name, variables), source), name=name)


def _from_environment(variable: str, name: str, environ: Mapping[str, str]) -> str:
    found = environ.get(variable)
    if not found:
        raise MissingConfigurationError(
            f"{_titled(name)} is read from the environment variable {variable}, which is not set; export it first."
        )
    return found


def _from_file(path: str, name: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise MissingConfigurationError(f"{_titled(name)} is read from the file {path}: {reason}.") from None


def _from_keyring(entry: str, name: str) -> str:
    try:
        import keyring
    except ImportError:
        raise MissingDependencyError(
            f"{_titled(name)} is kept in the keyring; install it with: pip install 'apikeyrouter[secrets]'"
        ) from None
    found = keyring.get_password("apikeyrouter", entry)
    if not found:
        raise MissingConfigurationError(
            f"{_titled(name)} is not in the keyring; add it with: keyring set apikeyrouter {entry}"
        )
    return str(found)


def _titled(name: str) -> str:
    return name[:1].upper() + name[1:]
