"""Propagation over the item graph against its dense formula, in values, gradients and neighbourhoods."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from recall.graph import propagation
from recall.graph.item_graph import ItemGraph
from recall.graph.propagation import GraphPropagation, sparse_product

# A triangle 0-1-2 with weights 1, 2, 3, a tail 2-3-4-5, a pair 6-7, and 8 alone.
EDGES = [(0, 1, 1.0), (0, 2, 2.0), (1, 2, 3.0), (2, 3, 1.0), (3, 4, 0.5), (4, 5, 4.0), (6, 7, 1.0)]
N_ITEMS, SIZE = 9, 5


def adjacency() -> np.ndarray:
    dense = np.zeros((N_ITEMS, N_ITEMS))
    for a, b, weight in EDGES:
        dense[a, b] = dense[b, a] = weight
    return dense


def normalised(dense: np.ndarray) -> np.ndarray:
    degree = dense.sum(axis=1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1e-300)), 0.0)
    return scale[:, None] * dense * scale[None, :]


def dense_formula(vectors: Tensor, logits: Tensor) -> Tensor:
    """Σ softmax(logits)_l Â^l X, normalised, by autograd over dense float64 matrices."""
    matrix = torch.from_numpy(normalised(adjacency()))
    shares, x = torch.softmax(logits, dim=0), vectors
    mixed = shares[0] * x
    for layer in range(1, len(logits)):
        x = matrix @ x
        mixed = mixed + shares[layer] * x
    return mixed / mixed.norm(dim=1, keepdim=True)


def module(n_layers: int, seed: int = 0) -> GraphPropagation:
    """With uneven shares, in float64."""
    made = GraphPropagation(ItemGraph.of(sparse.csr_matrix(adjacency())), n_layers).double()
    # The graph keeps float32; the formula is compared with what it means.
    made.weights = torch.from_numpy(sparse.csr_matrix(normalised(adjacency())).data)
    with torch.no_grad():
        made.logits.copy_(torch.randn(n_layers + 1, generator=torch.Generator().manual_seed(seed)))
    return made


def table() -> nn.Embedding:
    torch.manual_seed(1)
    rows = nn.Embedding(N_ITEMS, SIZE, dtype=torch.float64)
    with torch.no_grad():
        rows.weight.copy_(F.normalize(rows.weight, dim=-1))
    return rows


@pytest.mark.parametrize("n_layers", [0, 1, 2, 3, 6])
def test_the_whole_catalogue_is_the_dense_formula(n_layers: int) -> None:
    vectors, made = table().weight, module(n_layers)
    expected = dense_formula(vectors, made.logits)
    torch.testing.assert_close(made.whole(vectors), expected)
    torch.testing.assert_close(made(torch.arange(N_ITEMS), table()), expected)


@pytest.mark.parametrize("n_layers", [0, 1, 2, 3, 6])
@pytest.mark.parametrize("asked", [[5], [8], [0, 8], [7, 3, 3, 0, 7], [4, 2, 0, 1, 8, 8]])
def test_a_neighbourhood_gives_what_the_whole_catalogue_gives(n_layers: int, asked: list[int]) -> None:
    vectors, made = table(), module(n_layers)
    wanted = torch.tensor(asked)
    torch.testing.assert_close(made(wanted, vectors), made.whole(vectors.weight)[wanted])


@pytest.mark.parametrize(
    ("n_layers", "asked", "reached"),
    [(0, [5], {5}), (1, [5], {4, 5}), (2, [5, 8], {3, 4, 5, 8}), (3, [5], {2, 3, 4, 5}), (1, [2], {0, 1, 2, 3})],
)
def test_only_the_items_within_reach_are_encoded_and_each_once(
    n_layers: int, asked: list[int], reached: set[int]
) -> None:
    seen: list[int] = []

    def encode(item_idx: Tensor) -> Tensor:
        seen.extend(item_idx.tolist())
        return table()(item_idx)

    module(n_layers)(torch.tensor([*asked, *asked]), encode)
    assert sorted(seen) == sorted(reached)


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("asked", [[5], [7, 3, 3, 0, 8], list(range(N_ITEMS))])
def test_gradients_are_those_of_the_dense_formula(n_layers: int, asked: list[int]) -> None:
    vectors, made = table(), module(n_layers)
    other, logits = vectors.weight.detach().clone().requires_grad_(), made.logits.detach().clone().requires_grad_()
    upstream = torch.randn(len(asked), SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    made(torch.tensor(asked), vectors).backward(upstream)
    dense_formula(other, logits)[torch.tensor(asked)].backward(upstream)
    torch.testing.assert_close(vectors.weight.grad, other.grad)
    torch.testing.assert_close(made.logits.grad, logits.grad)


def test_two_items_by_hand() -> None:
    """6 and 7 have each other alone, so Â swaps them: one layer mixes .75 of one with .25 of the other."""
    made = GraphPropagation(ItemGraph.of(sparse.csr_matrix(adjacency())), 1)
    with torch.no_grad():
        made.logits.copy_(torch.tensor([0.75, 0.25]).log())
    vectors = F.normalize(torch.randn(N_ITEMS, 2, generator=torch.Generator().manual_seed(0)), dim=-1)
    vectors[6:8] = torch.eye(2)
    expected = torch.tensor([[0.75, 0.25], [0.25, 0.75]]) / 0.625**0.5
    torch.testing.assert_close(made.whole(vectors)[6:8], expected)


def test_isolated_items_keep_their_vector() -> None:
    vectors, made = table(), module(3)
    torch.testing.assert_close(made(torch.tensor([8]), vectors), vectors.weight[[8]])
    nobody = GraphPropagation(ItemGraph.of(sparse.csr_matrix((N_ITEMS, N_ITEMS))), 2).double()
    torch.testing.assert_close(nobody(torch.tensor([3, 1]), vectors), vectors.weight[[3, 1]])
    torch.testing.assert_close(nobody.whole(vectors.weight), vectors.weight)


def test_training_starts_near_the_tower_alone() -> None:
    for n_layers in (1, 2, 5):
        shares = GraphPropagation(ItemGraph.of(sparse.csr_matrix(adjacency())), n_layers).shares()
        assert shares[0].item() == pytest.approx(propagation.OWN_SHARE)
        torch.testing.assert_close(shares[1:], torch.full((n_layers,), (1 - propagation.OWN_SHARE) / n_layers))


@pytest.mark.parametrize("by", ["bags", "index_add"])
def test_sparse_products_are_dense_ones(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "index_add":
        monkeypatch.setattr(propagation, "_weighted_sums", propagation._sums_by_index_add)
    dense = sparse.random(7, 11, density=0.3, random_state=3).toarray()
    dense[2] = dense[:, 4] = 0.0  # a row and a column without an entry
    matrix = sparse.csr_matrix(dense)
    offsets, columns = (torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices))
    vectors = torch.randn(11, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.from_numpy(matrix.data)
    product = sparse_product(offsets, columns, weights, vectors)
    torch.testing.assert_close(product, torch.from_numpy(dense) @ vectors)
    assert torch.autograd.gradcheck(lambda x: sparse_product(offsets, columns, weights, x), vectors)
    few = sparse_product(offsets[:4], columns, weights, vectors)  # the edges of later rows are not read
    torch.testing.assert_close(few, product[:3])


def test_equal_input_gives_equal_output() -> None:
    rng = np.random.default_rng(0)
    graph = ItemGraph.of(sparse.random(500, 500, density=0.05, random_state=1))
    wanted = torch.from_numpy(rng.integers(0, 500, 200))
    results = []
    for _ in range(2):
        rows = nn.Embedding(500, 16, _weight=torch.from_numpy(np.random.default_rng(2).normal(size=(500, 16))).float())
        vectors = GraphPropagation(graph, 2)(wanted, rows)
        (vectors**3).sum().backward()
        results.append((vectors.detach(), rows.weight.grad))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
