"""FAISS's flat inner-product index (Douze et al., "The Faiss library", 2024), searched exactly to the last tie."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from recall.index.base import BaseIndex, BaseIndexConfig
from recall.index.exact import ExactSearch, faiss
from reccore import ArtefactError, Bundle, Candidates, Exclusions
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter

FILE = "index.faiss"


def read_faiss(path: Path) -> Any:
    """The FAISS index in a file.

    Raises:
        ArtefactError: it holds none.
    """
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise ArtefactError(f"{path} is not a FAISS index: {error}") from error


class FlatConfig(BaseIndexConfig):
    """``FlatIndex`` has no options."""

    kind: Literal["flat"] = "flat"


class FlatIndex(BaseIndex):
    """``ExactSearch`` over the vectors of a ``faiss.IndexFlatIP``."""

    name: ClassVar[str] = "flat"
    Config: ClassVar[type[BaseIndexConfig]] = FlatConfig

    def is_exact(self) -> bool:
        return True

    @property
    def n_bytes(self) -> int:
        return int(self._vectors.nbytes) + self._exact.n_bytes

    def _build(self, vectors: FloatArray, seed: int) -> None:
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        self._use(index)

    def _use(self, index: Any) -> None:
        self._index = index
        # A view of FAISS's own memory, not a copy; valid as long as the index is.
        self._vectors: FloatArray = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(-1, index.d)
        self._exact = ExactSearch(self._vectors)

    def _search(self, queries: FloatArray, k: int, exclude: Exclusions) -> Candidates:
        return self._exact.search(queries, k, exclude)

    def _write_vectors(self, bundle: BundleWriter) -> None:
        bundle.path(FILE).write_bytes(faiss.serialize_index(self._index).tobytes())

    def _read_vectors(self, bundle: Bundle) -> tuple[int, int]:
        path = bundle.file(FILE)
        index = read_faiss(path)
        if not isinstance(index, faiss.IndexFlatIP):
            raise ArtefactError(f"{path} holds a {type(index).__name__}, an IndexFlatIP is needed")
        self._use(index)
        return int(index.ntotal), int(index.d)
