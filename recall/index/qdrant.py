"""Qdrant's vector store, embedded in the process: https://github.com/qdrant/qdrant (Qdrant Edge)."""

from __future__ import annotations

import tarfile
import zlib
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
from reccore.threads import n_threads

FILE = "qdrant.tar.gz"
POINTS_PER_UPDATE = 1000


class QdrantConfig(ApproximateConfig):
    """Options of ``QdrantIndex``.

    Attributes:
        neighbours: M, links of an item on each level of the graph.
        ef_construction: candidates for the links of a new item.
        ef_search: candidates that a search keeps; at least the number of fetched items.
        exact: search every vector of the store; ``ef_search`` then changes nothing.
    """

    kind: Literal["qdrant"] = "qdrant"
    neighbours: int = Field(default=24, ge=4, le=256)
    ef_construction: int = Field(default=100, ge=4)
    ef_search: int = Field(default=200, ge=1)
    exact: bool = False


class QdrantIndex(ApproximateIndex):
    """A shard of the store in a folder of its own, searched through its HNSW graph.

    Needs the extra ``qdrant``. The store keeps its own copy of the vectors on disk, mapped into memory. A bundle holds
    the shard as one compressed file, which every process that loads it unpacks into a temporary folder, since a store
    writes to its files. One thread builds the graph, at the lowest priority: a busy machine takes long. The store draws
    at random without a seed, so two builds may differ. Queries are searched one by one. Exclusions do not become a
    filter of the store, with which its graph finds fewer items (docs/scale.md).
    """

    name: ClassVar[str] = "qdrant"
    Config: ClassVar[type[BaseIndexConfig]] = QdrantConfig
    parameter: ClassVar[str] = "ef_search"
    config: QdrantConfig
    _folder: TemporaryDirectory[str]

    def is_exact(self) -> bool:
        return self.config.exact

    def _build_structure(self, vectors: FloatArray, seed: int) -> Any:
        store = _package()
        self._folder = _own_folder()
        shard = store.EdgeShard.create(self._folder.name, self._store_config(vectors.shape[1]))
        for start in range(0, len(vectors), POINTS_PER_UPDATE):
            part = vectors[start : start + POINTS_PER_UPDATE].tolist()
            points = [store.Point(start + row, vector) for row, vector in enumerate(part)]
            shard.update(store.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
        return shard

    def _store_config(self, dimension: int) -> Any:
        store = _package()
        return store.EdgeConfig(
            vectors=store.EdgeVectorParams(size=dimension, distance=store.Distance.Dot),
            hnsw_config=store.HnswIndexConfig(
                m=self.config.neighbours,
                ef_construct=self.config.ef_construction,
                full_scan_threshold=1,  # KB: the graph is searched whatever the size
                max_indexing_threads=1,
            ),
            optimizers=store.EdgeOptimizersConfig(indexing_threshold=1, default_segment_number=1),
            max_search_threads=n_threads(),
            wal_enabled=False,
        )

    def _structure_bytes(self) -> int:
        """Of the shard's files as they lie on disk, some of which are mostly holes."""
        return sum(512 * file.stat().st_blocks for file in Path(self._folder.name).rglob("*") if file.is_file())

    def _most_effort(self) -> int:
        return self.n_items

    def _nearest(self, queries: FloatArray, n: int, effort: int) -> IntArray:
        store = _package()
        params = store.SearchParams(hnsw_ef=max(n, effort), exact=self.config.exact)
        item_idx = np.full((len(queries), n), -1, dtype=np.int64)
        for row, query in enumerate(queries.tolist()):
            found = self._index.query(store.QueryRequest(limit=n, query=store.Query.Nearest(query), params=params))
            item_idx[row, : len(found)] = [point.id for point in found]
        return item_idx

    def _write_structure(self, bundle: BundleWriter) -> None:
        self._index.flush()
        with tarfile.open(bundle.path(FILE), "w:gz", compresslevel=1) as archive:
            archive.add(self._folder.name, arcname=".")

    def _read_structure(self, bundle: Bundle) -> Any:
        store, path = _package(), bundle.file(FILE)
        self._folder = _own_folder()
        try:
            with tarfile.open(path, "r:gz") as archive:
                archive.extractall(self._folder.name, filter="data")
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise ArtefactError(f"{path} cannot be unpacked to {self._folder.name}: {error}") from error
        n_items, dimension = self._vectors.shape
        try:
            shard = store.EdgeShard.load(self._folder.name, self._store_config(dimension))
            held = shard.info().points_count
        except Exception as error:  # the store's errors have no class of their own
            raise ArtefactError(f"{path} is no shard of vectors of {dimension} entries: {error}") from error
        if held != n_items:
            raise ArtefactError(f"{path} is damaged: {held} points for {n_items} vectors")
        return shard


def _own_folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="qdrant-", ignore_cleanup_errors=True)


def _package() -> Any:
    try:
        import qdrant_edge
    except ImportError as error:
        raise ConfigError(
            "index qdrant needs the package qdrant-edge-py: pip install 'movielens-rec[qdrant]' (from a checkout "
            "pip install -e '.[qdrant]'), or take another index, such as ivf or hnsw"
        ) from error
    return qdrant_edge
