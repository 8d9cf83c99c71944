"""Base of channels, rankers and rerankers: a config, a name, saving and loading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from reccore.bundle import Bundle, BundleWriter, write_bundle
from reccore.config import ComponentConfig
from reccore.errors import ArtefactError, ConfigError, NotFittedError
from reccore.vocabulary import Vocabulary

C = TypeVar("C", bound=ComponentConfig)


class Component(ABC, Generic[C]):
    """A configured object that can be saved, and loaded in a fresh process without training data.

    Subclasses set ``kind`` (once, in the base of their room), ``name`` and ``Config``, and implement
    ``_write`` and ``_read``.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    Config: ClassVar[type[ComponentConfig]]

    def __init__(self, config: C | Mapping[str, Any] | None = None) -> None:
        if isinstance(config, ComponentConfig):
            if not isinstance(config, self.Config):
                raise ConfigError(f"{self.name} takes a {self.Config.__name__}, got a {type(config).__name__}")
            self.config: C = config
        else:
            self.config = self.Config.parse(config or {})  # type: ignore[assignment]
        self._vocabulary: Vocabulary | None = None

    @property
    def is_fitted(self) -> bool:
        return self._vocabulary is not None

    @property
    def vocabulary(self) -> Vocabulary:
        """Users and items this component was fitted on.

        Raises:
            NotFittedError: before ``fit`` or ``load``.
        """
        if self._vocabulary is None:
            raise NotFittedError(f"{self.name} is not fitted; call fit() or load() first")
        return self._vocabulary

    def save(self, path: Path | str, **facts: Any) -> None:
        """Write a bundle; ``facts`` (``seed``, ``metrics``, ``data`` …) go into its manifest."""
        vocabulary = self.vocabulary
        config = self.config.model_dump(mode="json")
        with write_bundle(Path(path), kind=self.kind, component=self.name, config=config, **facts) as bundle:
            bundle.vocabulary(vocabulary)
            self._write_common(bundle)
            self._write(bundle)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a bundle of this class.

        Raises:
            ArtefactError: not a bundle of this class, or damaged.
        """
        bundle = Bundle.open(path, kind=cls.kind)
        if bundle.manifest["component"] != cls.name:
            raise ArtefactError(f"{path} holds {bundle.manifest['component']!r}, not {cls.name!r}")
        return cls.from_bundle(bundle)

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Self:
        """Build from an opened bundle of this class."""
        component = cls(bundle.manifest["config"])
        component._vocabulary = bundle.vocabulary()
        component._read_common(bundle)
        component._read(bundle)
        return component

    def _write_common(self, bundle: BundleWriter) -> None:
        """Write what every component of this kind stores; nothing by default."""

    def _read_common(self, bundle: Bundle) -> None:
        """Restore what ``_write_common`` wrote."""

    @abstractmethod
    def _write(self, bundle: BundleWriter) -> None:
        """Write fitted state."""

    @abstractmethod
    def _read(self, bundle: Bundle) -> None:
        """Restore fitted state; ``self.vocabulary`` is already set."""


T = TypeVar("T", bound=Component[Any])


class Registry(Generic[T]):
    """The classes of one kind by name. A class is imported when it is taken; names are listed without any import.

    Args:
        kind: of the components, such as ``recall``.
        classes: name → ``module:class``.
    """

    def __init__(self, kind: str, classes: Mapping[str, str]) -> None:
        self.kind = kind
        self._classes = dict(classes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __getitem__(self, name: str) -> type[T]:
        """Import and return a class.

        Raises:
            ConfigError: no class of that name.
        """
        if name not in self._classes:
            raise ConfigError(f"unknown {self.kind} {name!r}; known: {', '.join(self._classes)}")
        module, _, attribute = self._classes[name].partition(":")
        cls: type[T] = getattr(import_module(module), attribute)
        return cls

    def with_option(self, key: str) -> tuple[str, ...]:
        """Names of the classes whose configuration has an option of this dotted key; imports all classes."""
        return tuple(name for name in self if self[name].Config.has_option(key))

    def load(self, path: Path | str) -> T:
        """Load a bundle by the registered class that wrote it."""
        bundle = Bundle.open(path, kind=self.kind)
        return self[bundle.manifest["component"]].from_bundle(bundle)
