"""Random walks on the bipartite graph of users and items.

Perozzi et al., "DeepWalk: online learning of social representations", KDD 2014, section 4.2.1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reccore import Interactions


def bipartite_walks(events: Interactions, walks: int, length: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Walks from every node, each step to a neighbour drawn with equal probability.

    Item i is node i and user u node N + u; an edge joins a user and an item of the user's history, however often. All
    walks of a round take a step at a time, so that a step is one array operation. A compiled loop over one walk after
    another is three times slower on MovieLens-1M's size, since each of its steps waits for the memory of the step
    before. Takes O(walks · length · nodes) time and as many int32.

    Args:
        events: of the fit split.
        walks: rounds; in each, one walk starts from every node that has an edge, in random order.
        length: nodes of a walk, its first included.
        rng: of starts and steps.

    Returns:
        (walks · nodes with edges, length) nodes.
    """
    by_user = events.to_csr()
    by_item = by_user.T.tocsr()
    n_items = events.n_items
    neighbours = np.concatenate([by_item.indices + n_items, by_user.indices]).astype(np.int32)
    start = np.concatenate([by_item.indptr[:-1], by_item.nnz + by_user.indptr[:-1]]).astype(np.int64)
    degree = np.concatenate([np.diff(by_item.indptr), np.diff(by_user.indptr)])
    nodes = np.flatnonzero(degree)
    found = np.empty((walks, len(nodes), length), dtype=np.int32)
    for steps in found:
        steps[:, 0] = rng.permutation(nodes)
        for at in range(1, length):
            node = steps[:, at - 1]
            steps[:, at] = neighbours[start[node] + rng.integers(degree[node])]
    return found.reshape(-1, length)
