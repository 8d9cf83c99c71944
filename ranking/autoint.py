"""AutoInt: crosses of fields by multi-head self-attention over their vectors.

Song et al.: AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural Networks, CIKM 2019. Equations
(5)-(8) for a layer, (9) for the logit; section 5.5 for AutoInt+, the joint training with a deep network, as it is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from ranking.config import NeuralRankerConfig
from ranking.features import FeatureEncoder, RankingInputs
from ranking.layers import MLP, lookup, number_vectors
from ranking.network import FieldNetwork, Fields
from ranking.neural import NeuralRanker


class AutoIntConfig(NeuralRankerConfig):
    """Options of AutoInt, besides those of every neural ranker.

    Attributes:
        attention_layers: interacting layers; each raises the order of the crosses.
        heads: of each layer.
        head_size: d', size of a head's vectors.
        pair_fields: what is a field among the numbers of query and item together. ``sources``: all numbers that come
            from one, such as one channel, by the sum of value × vector; ``numbers``: each one, as in the paper. Six
            channels give a hundred numbers, with which that takes eight times as long.
    """

    attention_layers: PositiveInt = 2
    heads: PositiveInt = 2
    head_size: PositiveInt = 8
    pair_fields: Literal["sources", "numbers"] = "sources"


def fields_by_source(names: Sequence[str]) -> list[int]:
    """The field of each number, numbered from 0: numbers whose names begin alike have the same.

    ``recall.itemcf.score`` and ``recall.itemcf.latest1.match`` come from ``recall.itemcf``, ``cross.genre_match`` from
    ``cross``.
    """
    sources = [".".join(name.split(".")[:-1][:2]) for name in names]
    places = {source: place for place, source in enumerate(dict.fromkeys(sources))}
    return [places[source] for source in sources]


class InteractingLayer(nn.Module):
    """Self-attention between the M fields, joined heads, and a residual connection.

    α_mk = softmax_k ⟨W_q e_m, W_k e_k⟩ in each head (5, 6); ẽ_m = Σ_k α_mk W_v e_k (7), heads joined;
    e'_m = ReLU(ẽ_m + W_res e_m) (8). As in the paper the products are not scaled.
    """

    def __init__(self, in_size: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.heads, self.head_size = heads, head_size
        self.projections = nn.Linear(in_size, 4 * heads * head_size, bias=False)  # W_q, W_k, W_v, W_res

    def forward(self, vectors: Tensor) -> Tensor:
        """(N, M, d) to (N, M, H·d')."""
        n, m, _ = vectors.shape
        *projected, residual = self.projections(vectors).chunk(4, dim=2)  # (N, M, H·d') each
        query, key, value = (part.view(n, m, self.heads, self.head_size).transpose(1, 2) for part in projected)
        attended = nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)  # (N, H, M, d')
        return torch.relu(attended.transpose(1, 2).reshape(n, m, -1) + residual)


class AutoIntNetwork(FieldNetwork):
    """Linear part + interacting layers + deep part. The numbers of the pair make fields too, by value × vector.

    Cost grows with the square of the number M of fields, for every candidate: B·K·M²·H·d' per layer.
    """

    pair_field: Tensor

    def __init__(self, encoder: FeatureEncoder, config: AutoIntConfig) -> None:
        super().__init__(encoder, config.embedding_size)
        d, width = config.embedding_size, config.heads * config.head_size
        self.pair = number_vectors(self.n_pair, d)
        names = [field.name for field in encoder.schema.of("pair", "number")]
        of_number = list(range(self.n_pair)) if config.pair_fields == "numbers" else fields_by_source(names)
        self.register_buffer("pair_field", torch.tensor(of_number, dtype=torch.int64), persistent=False)
        self.n_pair_fields = len(set(of_number))
        sizes = [d] + [width] * (config.attention_layers - 1)
        self.attention = nn.Sequential(*(InteractingLayer(size, config.heads, config.head_size) for size in sizes))
        n_fields = self.query.n_fields + self.item.n_fields + self.n_pair_fields
        self.out = nn.Linear(n_fields * width, 1, bias=False)
        nn.init.zeros_(self.out.weight)  # as in the deep part: untrained, the order of recall stays
        self.first = self.over_fields(config.hidden[0])
        self.deep = MLP(config.hidden, config.dropout)

    def pair_vectors(self, numbers: Tensor) -> Tensor:
        """Numbers of the pair (B, K, P) to the vectors of its fields (B, K, Fp, d)."""
        n, d = self.pair.shape
        spread = self.pair.new_zeros(n, self.n_pair_fields, d)  # each number's vector in the place of its field
        spread = spread.index_put((torch.arange(n, device=spread.device), self.pair_field), self.pair)
        vectors: Tensor = (numbers @ spread.flatten(1)).unflatten(2, (self.n_pair_fields, d))
        return vectors

    def interacting(self, fields: Fields) -> Tensor:
        """Logits (B, K) of the interacting layers."""
        b, k = fields.at.shape
        query = fields.query[:, None].expand(-1, k, -1, -1)  # (B, K, Fq, d)
        item = lookup(fields.item.flatten(1), fields.at).view(b, k, *fields.item.shape[1:])  # (B, K, Fi, d)
        vectors = torch.cat([query, item, self.pair_vectors(fields.pair)], dim=2)  # (B, K, M, d)
        logits: Tensor = self.out(self.attention(vectors.flatten(0, 1)).flatten(1))  # (B·K, 1)
        return logits.view(b, k)

    def forward(self, inputs: RankingInputs) -> Tensor:
        """B queries with K candidates to logits (B, K)."""
        items, at = self.distinct_items(inputs.item_row)
        fields = self.embed(inputs, items, at)
        deep = self.deep(fields.through(self.first))
        logits: Tensor = self.linear(inputs, items, at) + self.interacting(fields) + deep
        return logits


class AutoInt(NeuralRanker):
    """AutoInt over user, item, cross and recall features."""

    name: ClassVar[str] = "autoint"
    Config: ClassVar[type[AutoIntConfig]] = AutoIntConfig
    Network = AutoIntNetwork
