"""The key to TMDb: read from the environment, put on requests, and kept out of everything else."""

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
    """A v3 key, which goes into the query of a URL, or a v4 bearer token, which goes into a header.

    It has no text form but ``Key(v3)`` or ``Key(v4)``; ``redact`` takes it out of any other text.
    """

    def __init__(self, value: str) -> None:
        """Take the key as it is.

        Raises:
            ConfigError: it is empty or has characters that no key has; the message does not show it.
        """
        if not re.fullmatch(r"[\x21-\x7e]+", value):
            raise ConfigError(f"{VARIABLE} holds spaces or unusual characters; copy the key anew from {SETTINGS_PAGE}")
        self._value = value
        # A v4 token is a JSON web token: three parts of base64, of which the first is a JSON object.
        self.is_bearer = value.startswith("eyJ") and value.count(".") == 2

    def __repr__(self) -> str:
        return f"Key({'v4' if self.is_bearer else 'v3'})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not stored")

    @property
    def headers(self) -> dict[str, str]:
        """What a request's headers need."""
        return {"Authorization": f"Bearer {self._value}"} if self.is_bearer else {}

    @property
    def parameters(self) -> dict[str, str]:
        """What a URL's query needs."""
        return {} if self.is_bearer else {"api_key": self._value}

    def redact(self, text: str) -> str:
        """The text without the key, as it is or as it stands in a URL."""
        for form in {self._value, quote(self._value, safe="")}:
            text = text.replace(form, HIDDEN)
        return _IN_URL.sub(rf"\1{HIDDEN}", text)


def read_key(env_file: Path = Path(".env")) -> Key:
    """The key from the environment, else from ``.env``.

    Raises:
        ConfigError: there is none, or ``.env`` cannot be read.
    """
    value = (os.environ.get(VARIABLE) or "").strip()
    if not value and env_file.is_file():
        try:
            value = (dotenv_values(env_file).get(VARIABLE) or "").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read {env_file}: {error.__class__.__name__}; see .env.example") from None
    if not value:
        raise ConfigError(
            f"{VARIABLE} is not set: make a free account at https://www.themoviedb.org, copy the API key or read "
            f"access token from {SETTINGS_PAGE}, and write {VARIABLE}=<it> into {env_file} (see .env.example)"
        )
    return Key(value)


class _Redacting(logging.Filter):
    """Takes the key out of what the HTTP library logs, such as a URL whose answer has odd headers."""

    def __init__(self, key: Key) -> None:
        super().__init__()
        self._key = key

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._key.redact(record.getMessage()), ()
        record.exc_info = record.exc_text = None
        return True


def hide_from_logs(key: Key) -> None:
    """Keep the key out of the log of the HTTP library, whatever its level."""
    for name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.response", "urllib3.util.retry"):
        logger = logging.getLogger(name)
        for old in [known for known in logger.filters if isinstance(known, _Redacting)]:
            logger.removeFilter(old)
        logger.addFilter(_Redacting(key))
