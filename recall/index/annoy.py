"""A forest of random projection trees: Spotify's Annoy (Bernhardsson, https://github.com/spotify/annoy)."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from recall.index.approximate import ApproximateConfig, ApproximateIndex
from recall.index.base import BaseIndexConfig
from reccore import ArtefactError, Bundle, ConfigError
from reccore.arrays import FloatArray, IntArray
from reccore.bundle import BundleWriter

FILE = "index.ann"


class AnnoyConfig(ApproximateConfig):
    """Options of ``AnnoyIndex``.

    Attributes:
        n_trees: trees of the forest; more find more in the same time and take more memory.
        search_k: items that a search collects from the leaves of all trees before it compares their scores.
    """

    kind: Literal["annoy"] = "annoy"
    n_trees: int = Field(default=50, ge=1)
    search_k: int = Field(default=5000, ge=1)


class AnnoyIndex(ApproximateIndex):
    """Random projection trees, searched together by one priority queue.

    Needs the extra ``annoy``. One thread builds the trees, so that a seed gives the same forest each time. The file is
    memory-mapped by several processes at once. Queries are searched one by one.
    """

    name: ClassVar[str] = "annoy"
    Config: ClassVar[type[BaseIndexConfig]] = AnnoyConfig
    parameter: ClassVar[str] = "search_k"
    config: AnnoyConfig

    @property
    def least_effort(self) -> int:
        return self.config.list_length

    def _build_structure(self, vectors: FloatArray, seed: int) -> Any:
        index = _empty_forest(vectors.shape[1])
        index.set_seed(seed)
        for item, vector in enumerate(vectors):
            index.add_item(item, vector)
        index.build(self.config.n_trees, n_jobs=1)
        # Annoy reports its size in no other way, and goes on with the file it saved.
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            index.save(str(Path(folder) / FILE))
            self._n_bytes = (Path(folder) / FILE).stat().st_size
        return index

    def _structure_bytes(self) -> int:
        return self._n_bytes

    def _most_effort(self) -> int:
        return self.n_items * int(self._index.get_n_trees())

    def _nearest(self, queries: FloatArray, n: int, effort: int) -> IntArray:
        item_idx = np.full((len(queries), n), -1, dtype=np.int64)
        for row, query in enumerate(queries):
            found = self._index.get_nns_by_vector(query, n, effort)
            item_idx[row, : len(found)] = found
        return item_idx

    def _write_structure(self, bundle: BundleWriter) -> None:
        self._index.save(str(bundle.path(FILE)))

    def _read_structure(self, bundle: Bundle) -> Any:
        path = bundle.file(FILE)
        n_items, dimension = self._vectors.shape
        index = _empty_forest(dimension)
        try:
            index.load(str(path))
        except OSError as error:
            raise ArtefactError(f"{path} is not an Annoy index of vectors of {dimension} entries: {error}") from error
        if index.get_n_items() != n_items:
            raise ArtefactError(f"{path} is damaged: {index.get_n_items()} items for {n_items} vectors")
        self._n_bytes = path.stat().st_size
        return index


def _empty_forest(dimension: int) -> Any:
    try:
        from annoy import AnnoyIndex as Forest
    except ImportError as error:
        raise ConfigError(
            "index annoy needs the package annoy: pip install 'movielens-rec[annoy]' (from a checkout "
            "pip install -e '.[annoy]'), or take another index, such as ivf or hnsw"
        ) from error
    return Forest(dimension, "dot")
