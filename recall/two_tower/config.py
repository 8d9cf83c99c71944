"""Options of the two-tower channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from dataprep.tmdb import MetadataName
from recall.index.choose import create_index
from reccore import ComponentConfig


class TwoTowerConfig(ComponentConfig):
    """Options of ``TwoTower``.

    Attributes:
        embedding_size: dimension D of ids, towers and index.
        hidden_size: width of the hidden layer of either tower, and of those of a transformer's blocks.
        user_encoder: ``mlp`` pools the history, ``transformer`` reads it in order by causal self-attention.
        blocks: of the transformer.
        heads: of each block's attention; they share out ``embedding_size``.
        dropout: in the transformer's blocks.
        query_time: read also when a query is asked, in training the time of the event to predict: how long that is
            after the latest event of the history, and when.
        tags: the item tower reads the tags that users of the fit split gave; an error where there are none.
        title_vectors: it reads a fixed vector of the title, alike for alike spellings; an error where there is none.
        metadata: it reads these features of TMDb (``dataprep.tmdb``), such as ``director``, ``keywords``, ``overview``;
            an error where they were not prepared. ``vote_average``, ``vote_count``, ``popularity`` and ``revenue`` are
            of the day TMDb was asked, later than the events to predict: a leak in time.
        use_gcn: mix item vectors with those of their neighbours in an item–item graph.
        gcn_layers: steps over the graph that neighbours may be away.
        gcn_neighbours: edges that each item brings into the graph of co-occurrence, the heaviest.
        gcn_window: items occur together where they lie at most so many events apart in a history.
        item_adj: file with a graph to take instead, as it is (``graph_files.read_item_graph``); None = none.
        history_length: the latest so many events of a history are read.
        half_lives: the history is pooled once per entry, an event counting half for every so many later ones.
        id_dropout: share of movie ids replaced by the unknown id in training, so that content carries new films.
        user_dropout: the same for user ids, which the mlp alone reads.
        history_dropout: share of history events left out at random in training.
        temperature: τ; scores are cosines divided by it.
        temperature_bounds: τ is learned between these two, starting at ``temperature``; None = it is fixed.
        logq: ``counts`` subtracts log Q of the sampling distribution from every logit, ``streaming`` the same
            with Q estimated while training from the gaps between appearances, ``none`` does not.
        streaming_hashes: m of the streaming estimate, independent pairs of arrays.
        streaming_buckets: H, buckets of each of those arrays.
        streaming_alpha: α, weight of the newest gap.
        streaming_initial_gap: batches between two appearances of an item, before any was seen.
        streaming_warm_up: average an item's first 1/α gaps evenly, so that the estimate is of use from the first epoch.
        corrected_logq: leave the positive uncorrected and weight the example by 1 − P̂ (RecSys 2025).
        dedup: keep each item of a batch once, and correct by the chance that a batch holds it.
        negatives: ``sampled`` takes the targets of the batch and what is drawn beside them, ``catalogue`` every item
            there is: the softmax that the sampled ones estimate. Nothing is drawn then, and nothing to be corrected.
        uniform_negatives: negatives drawn uniformly from the catalogue for each batch, beside the in-batch ones.
        bank_size: vectors of the latest targets that serve as further negatives of the queries; items learn from the
            softmax without them. 0 = none.
        bank_warmup_steps: batches before they do.
        mined_negatives: negatives drawn for each batch from what the index retrieves for training queries; 0 = none.
        mined_queries: training queries to ask, chosen at random.
        mined_depth: items taken of each answer, those in the user's own history left out.
        mined_every: batches between two minings, each of which builds the index anew.
        hardest_negatives: only so many negatives of each example count, the items with the largest terms in the
            softmax's corrected sum, all their draws together (each on its own without mask_accidental_hits, and each
            vector of a bank); 0 = all.
        mask_accidental_hits: hide negatives that are the example's own target.
        mask_own: hide negatives that are in the part of the ``history`` that the query reads, or ``all`` items of
            the example's user, later ones too.
        reward: what an example counts, ``none`` 1, ``rating`` the target's rating as a share of the highest.
        softmax: ``plain`` writes out all logits of a batch; ``fused`` forms loss and gradients in chunks of rows,
            in bf16 where the machine has it; ``auto`` is fused where batches have above 2²¹
            logits.
        batch_size: examples of a training step.
        epochs: passes over the training events.
        learning_rate: of Adam, falling to zero along a cosine.
        weight_decay: decoupled, on everything.
        patience: stop after so many epochs without a better validation NDCG@10; the best epoch is kept.
        index: how the item vectors are searched; ``auto`` is flat for up to 100,000 items and ivf for more. See
            ``scripts/build_index.py``, which measures before it chooses.
        index_options: of that index, such as ``{"nprobe": 32}``.
    """

    embedding_size: int = Field(default=64, ge=1)
    hidden_size: int = Field(default=128, ge=1)
    user_encoder: Literal["mlp", "transformer"] = "mlp"
    blocks: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    query_time: bool = False
    tags: bool = False
    title_vectors: bool = False
    metadata: tuple[MetadataName, ...] = ()
    use_gcn: bool = False
    gcn_layers: int = Field(default=1, ge=1)
    gcn_neighbours: int = Field(default=20, ge=1)
    gcn_window: int = Field(default=50, ge=1)
    item_adj: Path | None = None
    history_length: int = Field(default=50, ge=1)
    half_lives: tuple[PositiveFloat, ...] = Field(default=(2.0, 10.0, 50.0), min_length=1)
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    user_dropout: float = Field(default=0.5, ge=0, le=1)
    history_dropout: float = Field(default=0.2, ge=0, lt=1)
    temperature: float = Field(default=0.1, gt=0)
    temperature_bounds: tuple[PositiveFloat, PositiveFloat] | None = None
    logq: Literal["none", "counts", "streaming"] = "counts"
    streaming_hashes: int = Field(default=4, ge=1)
    streaming_buckets: int = Field(default=65_536, ge=1)
    streaming_alpha: float = Field(default=0.01, gt=0, lt=1)
    streaming_initial_gap: float = Field(default=100.0, ge=1)
    streaming_warm_up: bool = True
    corrected_logq: bool = False
    dedup: bool = False
    negatives: Literal["sampled", "catalogue"] = "sampled"
    uniform_negatives: int = Field(default=1024, ge=0)
    bank_size: int = Field(default=0, ge=0)
    bank_warmup_steps: int = Field(default=0, ge=0)
    mined_negatives: int = Field(default=0, ge=0)
    mined_queries: int = Field(default=1000, ge=1)
    mined_depth: int = Field(default=100, ge=1)
    mined_every: int = Field(default=500, ge=1)
    hardest_negatives: int = Field(default=0, ge=0)
    mask_accidental_hits: bool = True
    mask_own: Literal["none", "history", "all"] = "none"
    reward: Literal["none", "rating"] = "none"
    softmax: Literal["auto", "plain", "fused"] = "auto"
    batch_size: int = Field(default=1024, ge=2)
    epochs: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    patience: int = Field(default=4, ge=1)
    index: Literal["flat", "brute_force", "ivf", "hnsw", "pq", "auto"] = "flat"
    index_options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        catalogue = self.negatives == "catalogue"
        for wrong, why in (
            (
                self.user_encoder != "mlp" and self._sets("half_lives", "user_dropout"),
                "half_lives and user_dropout need user_encoder = mlp",
            ),
            (
                self.user_encoder != "transformer" and self._sets("blocks", "heads", "dropout"),
                "blocks, heads and dropout need user_encoder = transformer",
            ),
            (
                self.embedding_size % self.heads > 0 and self.user_encoder == "transformer",
                f"embedding_size {self.embedding_size} does not share out among {self.heads} heads",
            ),
            (not self.use_gcn and self._sets("gcn_"), "gcn_… options need use_gcn"),
            (not self.use_gcn and self.item_adj is not None, "item_adj needs use_gcn"),
            (
                self.item_adj is not None and self._shapes_graph(),
                "item_adj is taken as it is: no gcn_neighbours, gcn_window",
            ),
            (self.logq != "streaming" and self._sets("streaming_"), "streaming_… options need logq = streaming"),
            (self.corrected_logq and self.logq == "none", "corrected_logq needs logq = counts or streaming"),
            (self.corrected_logq and self.dedup, "corrected_logq is about draws, dedup keeps none twice: choose one"),
            (self.corrected_logq and not self.mask_accidental_hits, "corrected_logq needs mask_accidental_hits"),
            (self.corrected_logq and self.mask_own != "none", "corrected_logq hides the target alone, not mask_own"),
            (self.corrected_logq and self.hardest_negatives > 0, "corrected_logq sums over all: no hardest_negatives"),
            (self.corrected_logq and self.softmax == "fused", "softmax = fused does not take corrected_logq"),
            (self.dedup and not self.mask_accidental_hits, "dedup leaves no accidental hits to show as negatives"),
            (self.dedup and self.bank_size > 0, "dedup keeps an item once, and a bank has it again: choose one"),
            (self.bank_warmup_steps > 0 and self.bank_size == 0, "bank_warmup_steps needs bank_size above 0"),
            (self.mined_negatives == 0 and self._sets("mined_"), "mined_… options need mined_negatives above 0"),
            (catalogue and self.logq != "none", "negatives = catalogue samples nothing to correct: set logq = none"),
            (catalogue and self.uniform_negatives > 0, "negatives = catalogue has every item: uniform_negatives = 0"),
            (catalogue and self.bank_size > 0, "negatives = catalogue has every item: no bank_size"),
            (catalogue and self.mined_negatives > 0, "negatives = catalogue has every item: no mined_negatives"),
            (catalogue and self.dedup, "negatives = catalogue has every item once: no dedup"),
            (catalogue and not self.mask_accidental_hits, "negatives = catalogue has no accidental hits to show"),
        ):
            if wrong:
                raise ValueError(why)
        if self.temperature_bounds is not None:
            low, high = self.temperature_bounds
            if not low < self.temperature < high:
                raise ValueError(f"temperature {self.temperature} must lie inside temperature_bounds {low} … {high}")
        create_index(self.index, 1, self.index_options)  # a wrong option is an error before hours of training
        return self

    def _shapes_graph(self) -> bool:
        """Whether any option of the graph of co-occurrence differs from its default."""
        return self._sets("gcn_neighbours") or self._sets("gcn_window")

    def _sets(self, *prefixes: str) -> bool:
        """Whether any option whose name starts so differs from its default."""
        fields = type(self).model_fields
        return any(getattr(self, name) != fields[name].default for name in fields if name.startswith(prefixes))
