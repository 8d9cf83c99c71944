"""Errors a user can act on. Commands print their message as one sentence and exit with code 2."""


class RecommenderError(Exception):
    """Base of every error this project raises on purpose."""


class DataError(RecommenderError):
    """The data given is missing, malformed or inconsistent."""


class ConfigError(RecommenderError):
    """An option or a configuration value is unknown or out of range."""


class ArtefactError(RecommenderError):
    """A saved bundle is missing, damaged, of another format, or does not fit its neighbours."""


class ResumeError(RecommenderError):
    """A training cannot go on from the checkpoint that is there: damaged, of another version or another training."""


class NotReadyError(RecommenderError):
    """A command was run before the one it depends on; the message names that command."""


class NotFittedError(RecommenderError):
    """A component was asked for an answer before ``fit`` or ``load``."""
