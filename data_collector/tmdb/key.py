"""The TMDb key: read from the environment, sent with requests, and removed from messages and logs."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from urllib.parse import quote

from dotenv import dotenv_values

from reccore.errors import ConfigError

VARIABLE = "TMDB_API_KEY"
SETTINGS_PAGE = "https://www.themoviedb.org/settings/api"
HIDDEN = "***"
_IN_URL = re.compile(r"(api_key=)[^&\s\"']+")


class Key:
    """A v3 key, sent in the query of a URL, or a v4 bearer token, sent in a header.

    ``repr`` and ``str`` show only ``Key(v3)`` or ``Key(v4)``; ``redact`` removes the key from any text.
    """

    def __init__(self, value: str) -> None:
        """Check the key.

        Raises:
            ConfigError: it is empty or has invalid characters; the message does not show it.
        """
        if not re.fullmatch(r"[\x21-\x7e]+", value):
            raise ConfigError(f"{VARIABLE} contains spaces or unusual characters; copy it again from {SETTINGS_PAGE}")
        self._value = value
        # A v4 token is a JSON web token: three parts of base64, of which the first is a JSON object.
        self.is_bearer = value.startswith("eyJ") and value.count(".") == 2

    def __repr__(self) -> str:
        return f"Key({'v4' if self.is_bearer else 'v3'})"

    def __reduce__(self) -> str:
        raise TypeError("a key cannot be pickled")

    @property
    def headers(self) -> dict[str, str]:
        """Headers with the key; empty for v3."""
        return {"Authorization": f"Bearer {self._value}"} if self.is_bearer else {}

    @property
    def parameters(self) -> dict[str, str]:
        """Query parameters with the key; empty for v4."""
        return {} if self.is_bearer else {"api_key": self._value}

    def redact(self, text: str) -> str:
        """Replace the key in a text, plain or URL-encoded."""
        for form in {self._value, quote(self._value, safe="")}:
            text = text.replace(form, HIDDEN)
        return _IN_URL.sub(rf"\1{HIDDEN}", text)


def read_key(env_file: Path = Path(".env")) -> Key:
    """Read the key from the environment, else from ``.env``.

    Raises:
        ConfigError: there is no key, or ``.env`` cannot be read.
    """
    value = (os.environ.get(VARIABLE) or "").strip()
    if not value and env_file.is_file():
        try:
            value = (dotenv_values(env_file).get(VARIABLE) or "").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read {env_file}: {error.__class__.__name__}; see .env.example") from None
    if not value:
        raise ConfigError(
            f"{VARIABLE} is not set: create a free account at https://www.themoviedb.org, copy the API key or read "
            f"access token from {SETTINGS_PAGE}, and write {VARIABLE}=<it> into {env_file} (see .env.example)"
        )
    return Key(value)


class _Redacting(logging.Filter):
    """Removes the key from log records of the HTTP library, for example URLs with malformed headers."""

    def __init__(self, key: Key) -> None:
        super().__init__()
        self._key = key

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._key.redact(record.getMessage()), ()
        record.exc_info = record.exc_text = None
        return True


def hide_from_logs(key: Key) -> None:
    """Remove the key from the log of the HTTP library at every level."""
    for name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.response", "urllib3.util.retry"):
        logger = logging.getLogger(name)
        for old in [known for known in logger.filters if isinstance(known, _Redacting)]:
            logger.removeFilter(old)
        logger.addFilter(_Redacting(key))
