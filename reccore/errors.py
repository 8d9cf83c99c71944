"""Errors that a user can act on. Commands print the message as one sentence and exit with code 2."""


class RecommenderError(Exception):
    """Base class of these errors."""


class DataError(RecommenderError):
    """The data given is missing, malformed or inconsistent.

    Args:
        message: one sentence.
        field: path of the argument of a request that is wrong, such as ``history.1.time``; None elsewhere.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ConfigError(RecommenderError):
    """An option or a configuration value is unknown or out of range."""


class ArtefactError(RecommenderError):
    """A saved bundle is missing, damaged, of another format, or does not match the other bundles."""


class ResumeError(RecommenderError):
    """A checkpoint cannot be resumed: it is damaged, of another version or of another training."""


class NotReadyError(RecommenderError):
    """A command was run before the one it depends on; the message names that command."""


class NotFittedError(RecommenderError):
    """A component was used before ``fit`` or ``load``."""
