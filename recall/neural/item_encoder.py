"""The item tower: from a film's id and content to a point of the unit sphere."""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from dataprep.own_features import own_to_read
from dataprep.tags import TAG
from dataprep.title_vectors import TITLE
from dataprep.tmdb import MetadataName, metadata_to_read
from recall.graph.propagation import sparse_product
from recall.neural.item_content import ItemContent
from recall.neural.warm_start import WarmStartConfig
from reccore import ComponentConfig, DataError, ItemTable
from reccore.arrays import FloatArray
from training.kernels.embedding_table import EmbeddingTable
from training.ranks import uniform

EMBEDDING_SCALE = 0.05


class GraphConfig(ComponentConfig):
    """Propagation of item vectors over an item–item graph (LightGCN).

    ``TrainingData.item_graph`` is taken as it is where it is given; else the graph of co-occurrence in the fit split.

    Attributes:
        layers: steps over the graph.
        neighbours: edges that each item brings into the graph of co-occurrence, the heaviest.
        window: items co-occur where they are at most so many events apart in a history.
    """

    layers: int = Field(default=1, ge=1)
    neighbours: int = Field(default=20, ge=1)
    window: int = Field(default=50, ge=1)


class ItemEncoderConfig(ComponentConfig):
    """Options of ``ItemEncoder``.

    Attributes:
        hidden_size: width of the hidden layer.
        id_dropout: share of ids replaced by the unknown id in training, so that content represents new films.
        tags: read the tags that users of the fit split gave; an error where there are none.
        title_vectors: read a fixed vector of the title, similar for similar spellings; an error where there is none.
        metadata: features of TMDb to read (``dataprep.tmdb``), such as ``director``, ``keywords``, ``overview``; an
            error where they were not prepared. ``vote_average``, ``vote_count``, ``popularity`` and ``revenue`` date
            from the crawl, later than the events to predict: a leak in time.
        features: own columns of the items to read (``dataprep.own_features``); an error where there are none of the
            name.
        graph: mix item vectors with those of their neighbours; None = do not.
        warm_start: let the vectors of ids start from the factors of ALS, where most items have few events; None = at
            random.
    """

    hidden_size: int = Field(default=128, ge=1)
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    tags: bool = False
    title_vectors: bool = False
    metadata: tuple[MetadataName, ...] = ()
    features: tuple[str, ...] = ()
    graph: GraphConfig | None = None
    warm_start: WarmStartConfig | None = None

    def columns_of(self, items: ItemTable) -> ItemTable:
        """The table without the optional columns that are not read, so that no bundle carries them.

        Raises:
            DataError: tags, title vectors or metadata are to be read, and the table has none.
            ConfigError: an own column is to be read, and the table lacks it.
        """
        again = "prepare it again with PYTHONPATH=. python scripts/prepare_two_tower_data.py"
        if self.tags and not items.labels.get(TAG):
            raise DataError(
                "tags = true needs tags, and this data has none that are frequent enough in the fit split; where the "
                f"data set has tags, {again}, else set tags = false"
            )
        if self.title_vectors and TITLE not in items.vectors:
            raise DataError(
                "title_vectors = true needs vectors of the titles, and this data has none; where the data set has "
                f"titles, {again}, else set title_vectors = false"
            )
        metadata = metadata_to_read(items, self.metadata)
        own = own_to_read(items, self.features, "item.features")
        return items.with_columns([*[TAG] * self.tags, *[TITLE] * self.title_vectors, *metadata, *own])


def embedding(n: int, size: int) -> nn.Embedding:
    """An embedding table with small random rows."""
    table = nn.Embedding(n, size)
    nn.init.normal_(table.weight, std=EMBEDDING_SCALE)
    return table


def large_embedding(n: int, size: int) -> EmbeddingTable:
    """An embedding table with small random rows, of which a batch reads few."""
    table = EmbeddingTable(n, size)
    nn.init.normal_(table.weight, std=EMBEDDING_SCALE)
    return table


class ItemEncoder(nn.Module):
    """movieId, multi-label genres, codes (year, popularity, mean rating), further labels and vectors → unit vector.

    Row N of the id table is the unknown film: it replaces ids dropped in training.
    """

    def __init__(self, n_items: int, content: ItemContent, config: ItemEncoderConfig, size: int) -> None:
        super().__init__()
        self.n_items = n_items
        self.id_dropout = config.id_dropout
        self.ids = large_embedding(n_items + 1, size)
        self.genres = nn.Linear(content.genres.shape[1], size, bias=False) if content.genres.shape[1] else None
        self.codes = nn.ModuleList(embedding(n, size) for n in content.sizes)
        self.labels = nn.ParameterList(embedding(n, size).weight for n in content.label_sizes)
        self.vectors = nn.Linear(content.vectors.shape[1], size, bias=False) if content.vectors.shape[1] else None
        self.hidden = nn.Linear(size, config.hidden_size)
        self.out = nn.Linear(config.hidden_size, size)
        nn.init.zeros_(self.out.weight)  # starts as the plain sum of embeddings
        nn.init.zeros_(self.out.bias)

    @torch.no_grad()
    def start_ids_at(self, vectors: FloatArray) -> None:
        """Give ids the directions of ``vectors`` (N, D) of mean length 1, at the mean length of random rows.

        Ids whose vector is 0 keep their random row.
        """
        rows = np.flatnonzero(vectors.any(axis=1))
        mean_length = EMBEDDING_SCALE * math.sqrt(vectors.shape[1])
        self.ids.weight[torch.from_numpy(rows)] = torch.from_numpy(vectors[rows] * np.float32(mean_length))

    def forward(self, item_idx: Tensor, content: ItemContent, generator: torch.Generator | None) -> Tensor:
        """Unit vectors (M, D) of M items.

        Args:
            item_idx: (M,) int64, N = unknown.
            content: of these M items, in this order.
            generator: draws the ids to drop in training.
        """
        if self.training and self.id_dropout > 0:
            dropped = uniform(len(item_idx), generator=generator).to(item_idx.device) < self.id_dropout
            item_idx = torch.where(dropped, self.n_items, item_idx)
        x = self.ids(item_idx)  # (M, D)
        if self.genres is not None:
            x = x + self.genres(content.genres)
        for column, table in enumerate(self.codes):
            x = x + table(content.codes[:, column])
        for table, labels in zip(self.labels, content.labels, strict=True):
            x = x + mean_rows(table, labels)
        if self.vectors is not None:
            x = x + self.vectors(content.vectors)
        x = x + self.out(F.gelu(self.hidden(x)))
        return F.normalize(x, dim=-1)


def mean_rows(table: Tensor, idx: Tensor) -> Tensor:
    """(M, D) mean of the rows of ``table`` (T, D) that ``idx`` (M, P) names, -1 = none; 0 without any."""
    kept = (idx >= 0).to(table.dtype)
    weights = kept / kept.sum(dim=1, keepdim=True).clamp(min=1.0)
    offsets = torch.arange(0, idx.numel() + 1, idx.shape[1], device=idx.device)
    return sparse_product(offsets, idx.clamp(min=0).flatten(), weights.flatten(), table)
