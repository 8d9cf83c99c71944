"""Every option of the two-tower: it changes the answers, goes with the others, or is refused."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
import torch

from recall.neural.losses import softmax
from recall.two_tower import TwoTower, TwoTowerConfig
from reccore import ComponentConfig, ConfigError, RunOptions, TrainingData
from tests.helpers import nested
from tests.recall.neural.tiny import fitted
from training.kernels.fused_softmax import fused_sampled_softmax

STREAMING: dict[str, Any] = {"negatives__logq__kind": "streaming"}
TRANSFORMER: dict[str, Any] = {"encoder__kind": "transformer"}
PARTS = ("blocks", "heads", "dropout", "block", "positions", "position_bias", "time_bias")
CATALOGUE: dict[str, Any] = {"negatives": {"kind": "catalogue"}}
CORRECTED: dict[str, Any] = {"loss__kind": "corrected_softmax"}
UNCORRECTED: dict[str, Any] = {"negatives__logq__kind": "none"}
CHANGED: list[tuple[str, Any]] = [
    ("embedding_size", 9),
    ("item__hidden_size", 9),
    ("item__id_dropout", 0.2),
    ("item__graph", {}),
    ("item__graph__layers", 2),
    ("item__graph__neighbours", 3),
    ("item__graph__window", 1),
    ("item__warm_start", {}),
    ("item__warm_start__epochs", 2),
    ("item__warm_start__reg", 5.0),
    ("item__warm_start__alpha", 50.0),
    ("encoder__kind", "transformer"),
    ("encoder__hidden_size", 9),
    ("encoder__query_time", True),
    ("encoder__history_length", 3),
    ("encoder__history_dropout", 0.3),
    ("encoder__half_lives", (1.0, 3.0)),
    ("encoder__user_dropout", 0.6),
    ("encoder__blocks", 1),
    ("encoder__heads", 4),
    ("encoder__dropout", 0.5),
    ("encoder__block", "ligr"),
    ("encoder__positions", False),
    ("encoder__position_bias", True),
    ("encoder__time_bias", True),
    ("temperature", 0.2),
    ("temperature__start", 0.2),
    ("temperature__bounds", (0.01, 1.0)),
    ("popularity_prior", {}),
    ("popularity_prior__default", 0.5),
    ("negatives__kind", "distinct"),
    ("negatives", {"kind": "catalogue"}),
    ("negatives__in_batch", False),
    ("negatives__uniform", 9),
    ("negatives__popular__per_batch", 20),
    ("negatives__popular__power", 3.0),
    ("negatives__logq__kind", "none"),
    ("negatives__logq__kind", "streaming"),
    ("negatives__logq__hashes", 1),
    ("negatives__logq__buckets", 11),
    ("negatives__logq__alpha", 0.2),
    ("negatives__logq__initial_gap", 3.0),
    ("negatives__logq__warm_up", False),
    ("negatives__bank__size", 100),
    ("negatives__bank__warmup_steps", 10),
    ("negatives__mined__per_batch", 20),
    ("negatives__mined__queries", 3),
    ("negatives__mined__depth", 1),
    ("negatives__mined__every", 3),
    ("loss__kind", "corrected_softmax"),
    ("loss__mask_accidental_hits", False),
    ("loss__mask_positives", "history"),
    ("loss__mask_positives", "all"),
    ("loss__hardest", 3),
    ("loss__kind", "bce"),
    ("loss__negatives", 5),
    ("loss__calibration", 0.5),
    ("loss__kind", "bpr"),
    ("loss__kind", "bpr_max"),
    ("loss__score_reg", 0.5),
    ("loss__kind", "top1_max"),
    ("loss__kind", "ccl"),
    ("loss__margin", -0.2),
    ("loss__negative_weight", 5.0),
    ("reward", "rating"),
    ("batch_size", 48),
    ("epochs", 3),
    ("learning_rate", 0.01),
    ("schedule", "constant"),
    ("weight_decay", 0.1),
    ("average__decay", 0.8),
    ("average__every", 1),
]
FEW = {**STREAMING, "batch_size": 8}  # films that share a bucket matter where batches hold few of them
BESIDE: dict[str, dict[str, Any]] = {
    "negatives__logq__hashes": {**FEW, "negatives__logq__buckets": 11},
    "negatives__logq__buckets": FEW,
    "negatives__logq__alpha": STREAMING,
    "negatives__logq__initial_gap": {**STREAMING, "negatives__logq__warm_up": False},
    "negatives__logq__warm_up": STREAMING,
    "negatives": {"negatives": {"logq": {"kind": "none"}, "uniform": 0}},
    "negatives__in_batch": UNCORRECTED,
    "negatives__popular__power": {"negatives__popular__per_batch": 20},
    "loss__negatives": {"loss__kind": "bce"},
    "loss__calibration": {"loss__kind": "bce", "loss__negatives": 5},
    **{f"loss__{name}": {"loss__kind": "ccl", **UNCORRECTED} for name in ("margin", "negative_weight")},
    "loss__score_reg": {"loss__kind": "bpr_max", **UNCORRECTED},
    "average__every": {"average__decay": 0.8},
    "negatives__bank__warmup_steps": {"negatives__bank__size": 100},
    **{f"encoder__{name}": TRANSFORMER for name in PARTS},
    **{f"item__graph__{name}": {"item__graph": {}} for name in ("layers", "neighbours", "window")},
    **{f"item__warm_start__{name}": {"item__warm_start": {}} for name in ("epochs", "reg", "alpha")},
    "popularity_prior__default": {"popularity_prior": {}},
    **{f"negatives__mined__{name}": {"negatives__mined__per_batch": 20} for name in ("queries", "depth", "every")},
}
TRIED_ELSEWHERE = {
    "patience": "test_training.py",
    "popularity_prior__strengths": "test_popularity_prior.py",
    "index__kind": "test_index.py",
    "loss__implementation": "test_the_fused_softmax_is_used_and_trains_the_same",
    "item__tags": "test_item_encoder.py",
    "item__title_vectors": "test_item_encoder.py",
    "item__metadata": "test_metadata.py",
    "item__features": "test_own_features.py",
    "encoder__features": "test_own_features.py",
}


def models_in(annotation: Any) -> list[type[ComponentConfig]]:
    """Configurations among the types of a field, such as the members of a union by kind."""
    if isinstance(annotation, type) and issubclass(annotation, ComponentConfig):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def options_of(config: type[ComponentConfig]) -> set[str]:
    found = set()
    for name, field in config.model_fields.items():
        parts = models_in(field.annotation)
        found |= {f"{name}__{option}" for part in parts for option in options_of(part)} if parts else {name}
    return found


def test_every_option_is_tried() -> None:
    known = {name for name in options_of(TwoTowerConfig) if not name.startswith("index__")} | {"index__kind"}
    tables = {"item__graph", "item__warm_start", "temperature", "popularity_prior", "negatives"}
    assert {name for name, _ in CHANGED} - tables | set(TRIED_ELSEWHERE) == known


@pytest.fixture(scope="module")
def plain(board: TrainingData) -> TwoTower:
    return fitted(board, RunOptions(device="cpu", progress=False, threads=1))


@pytest.mark.parametrize(("option", "value"), CHANGED)
def test_every_option_changes_the_answers(
    board: TrainingData, options: RunOptions, plain: TwoTower, option: str, value: Any
) -> None:
    queries = board.interactions.queries()
    beside = BESIDE.get(option)
    if option == "loss__kind" and value in ("bpr_max", "top1_max", "ccl"):
        beside = UNCORRECTED
    before = plain if beside is None else fitted(board, options, **beside)
    changed = fitted(board, options, **{**(beside or {}), option: value})
    difference = changed.retrieve(queries, 5).score - before.retrieve(queries, 5).score
    assert np.abs(difference).max() > 1e-4


def test_the_streaming_correction_is_not_that_of_the_counts(
    board: TrainingData, options: RunOptions, plain: TwoTower
) -> None:
    streaming = fitted(board, options, **STREAMING)
    assert np.abs(streaming.encode_items() - plain.encode_items()).max() > 1e-4


@pytest.mark.parametrize("logq", ["none", "counts", "streaming"])
@pytest.mark.parametrize("implementation", ["plain", "fused"])
@pytest.mark.parametrize("uniform", [0, 8])
@pytest.mark.parametrize(
    "other",
    [
        {"negatives__kind": "distinct", "loss__mask_positives": "all"},
        {"negatives__bank__size": 70, "loss__mask_positives": "history"},
    ],
)
def test_options_go_together(
    board: TrainingData, options: RunOptions, logq: str, implementation: str, uniform: int, other: dict[str, Any]
) -> None:
    config: dict[str, Any] = {
        "negatives__logq__kind": logq,
        "negatives__uniform": uniform,
        "negatives__mined__per_batch": 5,
        "loss__implementation": implementation,
        "loss__hardest": 7,
        "reward": "rating",
    }
    assert np.isfinite(fitted(board, options, epochs=1, **config, **other).log.loss).all()


LOSSES = {
    "softmax": [{}, {"loss__hardest": 3}],
    "corrected_softmax": [{}],
    "bce": [{}, {"loss__calibration": 0.5}],
    "bpr": [{}],
    "bpr_max": [{}],
    "top1_max": [{}],
    "ccl": [{}],
}
NEGATIVES: list[dict[str, Any]] = [
    {"negatives__kind": "sampled", "negatives__bank__size": 70},
    {"negatives__kind": "sampled", "negatives__in_batch": False},
    {"negatives__kind": "distinct"},
    {"negatives__kind": "distinct", "negatives__in_batch": False},
    CATALOGUE,
]
FURTHER: dict[str, Any] = {"negatives__popular__per_batch": 5, "negatives__mined": {"per_batch": 5, "queries": 3}}
LOGQ = ["none", "counts", "streaming"]
MASKS: list[dict[str, Any]] = [
    {"loss__mask_positives": "all"},
    {"loss__mask_positives": "history", "loss__mask_accidental_hits": False},
]


def admitted() -> list[dict[str, Any]]:
    """The combinations of loss, negatives, correction and masks that the configuration does not refuse."""
    found = []
    for kind, options in LOSSES.items():
        masks = [{}] if kind == "corrected_softmax" else MASKS
        for own, negatives, logq, mask in product(options, NEGATIVES, LOGQ, masks):
            drawn = {} if negatives is CATALOGUE else {**FURTHER, "negatives__logq__kind": logq}
            config = {"loss__kind": kind, **own, **negatives, **drawn, **mask}
            if negatives is CATALOGUE and logq != "none":
                continue
            try:
                TwoTower(nested(config))
            except ConfigError:
                continue
            found.append(config)
    return found


ADMITTED = admitted()


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("encoder", ["mlp", "transformer"])
def test_every_loss_trains_with_all_negatives_that_go_with_it(
    board: TrainingData, options: RunOptions, kind: str, encoder: str
) -> None:
    """A step for few users each, since there are so many."""
    some = TrainingData(
        board.interactions.first(np.where(np.arange(60) < 6, 8, 0)), board.items, board.users, board.vocabulary
    )
    configs = [config for config in ADMITTED if config["loss__kind"] == kind]
    for config in configs:
        log = fitted(some, options, **{"encoder__kind": encoder, "epochs": 1, "reward": "rating"}, **config).log
        assert np.isfinite(log.loss).all(), config


def test_how_many_combinations_there_are() -> None:
    per_kind = {kind: sum(config["loss__kind"] == kind for config in ADMITTED) for kind in LOSSES}
    # Masks of two kinds on sampled negatives and of one elsewhere, and each logQ that has an effect: 3 with in-batch
    # negatives, 2 without, 1 where the loss reads none.
    assert per_kind == {
        "softmax": 2 * (2 * 3 + 2 * 2 + 3 + 2 + 1),
        "corrected_softmax": 2 + 1,
        "bce": 2 * (2 * 3 + 2 * 2 + 1 + 1 + 1),
        "bpr": 2 * 3 + 2 * 2 + 3 + 2 + 1,
        **dict.fromkeys(("bpr_max", "top1_max", "ccl"), 2 + 2 + 1 + 1 + 1),
    }


@pytest.mark.parametrize("logq", ["counts", "streaming"])
@pytest.mark.parametrize("uniform", [0, 8])
def test_the_2025_correction_goes_with_bank_mining_and_rewards(
    board: TrainingData, options: RunOptions, logq: str, uniform: int
) -> None:
    config: dict[str, Any] = {
        "negatives__logq__kind": logq,
        "negatives__uniform": uniform,
        "negatives__mined__per_batch": 5,
        "negatives__bank__size": 70,
        "reward": "rating",
    }
    assert np.isfinite(fitted(board, options, epochs=1, **CORRECTED, **config).log.loss).all()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({**CORRECTED, "negatives__logq__kind": "none"}, "corrected_softmax needs negatives.kind = sampled with a"),
        ({**CORRECTED, "negatives__kind": "distinct"}, "corrected_softmax needs negatives.kind = sampled with a"),
        ({**CORRECTED, **CATALOGUE}, "corrected_softmax needs negatives.kind = sampled with a"),
        ({**CATALOGUE, "loss__mask_accidental_hits": False}, "with catalogue there are no accidental hits"),
        (
            {"negatives__kind": "distinct", "loss__mask_accidental_hits": False},
            "with distinct there are no accidental hits",
        ),
        ({"loss__kind": "ccl", **UNCORRECTED, "temperature": 0.1}, "ccl reads plain cosines: leave temperature out"),
        ({"loss__kind": "ccl"}, "ccl has no logQ correction; set negatives.logq.kind = none"),
        ({"loss__kind": "bpr_max"}, "bpr_max has no logQ correction"),
        ({"loss__kind": "top1_max", **STREAMING}, "top1_max has no logQ correction"),
        ({"loss__kind": "bce", "negatives__kind": "distinct"}, "which negatives.kind = distinct does not have"),
        ({"negatives__in_batch": False}, "softmax reads differences of log Q, and these negatives are all uniform"),
        ({"negatives__in_batch": False, "loss__kind": "bpr"}, "bpr reads differences of log Q"),
        ({"negatives__in_batch": False, "negatives__uniform": 0}, "in_batch = false needs other negatives"),
        ({"negatives__in_batch": False, **STREAMING}, "streaming estimates in-batch draws"),
        ({"negatives__in_batch": False, "negatives__bank__size": 9}, "bank holds targets of earlier batches"),
        (
            {"negatives__in_batch": False, **UNCORRECTED, "loss__implementation": "fused"},
            "loss.implementation = fused needs negatives.in_batch = true",
        ),
        ({**TRANSFORMER, "embedding_size": 10, "encoder__heads": 4}, "10 is not divisible by encoder.heads = 4"),
        ({"temperature__bounds": (0.2, 0.4)}, "temperature 0.1 must lie inside its bounds 0.2 … 0.4"),
        ({"temperature__bounds": (0.4, 0.05)}, "must lie inside its bounds"),
        ({"temperature__bounds": (0.0, 0.5)}, "temperature.bounds"),
        ({"temperature__bounds": 0.5}, "temperature.bounds"),
    ],
)
def test_contradictions(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        TwoTower(nested(wrong))


@pytest.mark.parametrize(
    ("wrong", "unknown"),
    [
        ({"negatives__logq__alpha": 0.1}, "negatives.sampled.logq.counts.alpha"),
        ({"negatives__logq": {"kind": "none", "hashes": 2}}, "negatives.sampled.logq.none.hashes"),
        ({**CORRECTED, "loss__mask_accidental_hits": False}, "loss.corrected_softmax.mask_accidental_hits"),
        ({**CORRECTED, "loss__mask_positives": "history"}, "loss.corrected_softmax.mask_positives"),
        ({**CORRECTED, "loss__hardest": 5}, "loss.corrected_softmax.hardest"),
        ({**CORRECTED, "loss__implementation": "fused"}, "loss.corrected_softmax.implementation"),
        *((({"loss__kind": kind, "loss__hardest": 5}), f"loss.{kind}.hardest") for kind in ("bce", "bpr", "ccl")),
        ({"loss__kind": "bpr", "loss__margin": 0.1}, "loss.bpr.margin"),
        ({"loss__kind": "top1_max", "loss__score_reg": 0.1}, "loss.top1_max.score_reg"),
        ({"loss__kind": "ccl", "loss__negatives": 10}, "loss.ccl.negatives"),
        ({**CATALOGUE, "negatives__popular__per_batch": 9}, "negatives.catalogue.popular"),
        ({**CATALOGUE, "negatives__in_batch": False}, "negatives.catalogue.in_batch"),
        ({"negatives__kind": "distinct", "negatives__bank__size": 9}, "negatives.distinct.bank"),
        ({**CATALOGUE, "negatives__logq__kind": "counts"}, "negatives.catalogue.logq"),
        ({**CATALOGUE, "negatives__uniform": 9}, "negatives.catalogue.uniform"),
        ({**CATALOGUE, "negatives__bank__size": 9}, "negatives.catalogue.bank"),
        ({**CATALOGUE, "negatives__mined__per_batch": 9}, "negatives.catalogue.mined"),
        ({**TRANSFORMER, "encoder__half_lives": (1.0,)}, "encoder.transformer.half_lives"),
        ({**TRANSFORMER, "encoder__user_dropout": 0.1}, "encoder.transformer.user_dropout"),
        ({"encoder__kind": "mlp", "encoder__blocks": 3}, "encoder.mlp.blocks"),
        ({"encoder__kind": "mlp", "encoder__dropout": 0.0}, "encoder.mlp.dropout"),
        ({"item__window": 3}, "item.window"),  # an option of the graph
        ({"hidden_size": 8}, "hidden_size"),  # of which encoder?
        ({"user_encoder": "mlp"}, "user_encoder"),
    ],
)
def test_a_kind_lacks_the_options_of_another(wrong: dict[str, Any], unknown: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{unknown}: no such option"):
        TwoTower(nested(wrong))


def test_the_fused_softmax_is_used_and_trains_the_same(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.precision.cpu_has_bf16", lambda: False)
    plain = fitted(board, options, loss__implementation="plain")
    calls: list[int] = []

    def counted(queries: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        calls.append(len(queries))
        return fused_sampled_softmax(queries, *rest, **more)

    monkeypatch.setattr(softmax, "fused_sampled_softmax", counted)
    fused = fitted(board, options, loss__implementation="fused")
    assert calls
    np.testing.assert_allclose(fused.log.loss, plain.log.loss, rtol=1e-4)
    np.testing.assert_allclose(fused.encode_items(), plain.encode_items(), atol=1e-2)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"batch_size": 1}, "batch_size: "),
        ({"schedule": "linear"}, "schedule: "),
        ({"temperature": 0}, "temperature.start: "),
        ({"item__id_dropout": 1}, "item.id_dropout: "),
        ({"encoder__half_lives": [0]}, "encoder.mlp.half_lives.0: "),
        ({"encoder__kind": "rnn"}, "encoder.kind: unknown kind 'rnn'; known: 'mlp', 'transformer'"),
        ({"negatives__kind": "all"}, "negatives.kind: unknown kind 'all'"),
        ({"negatives__bank__size": 0}, "negatives.sampled.bank.size: "),
        ({"negatives__mined__per_batch": 0}, "negatives.sampled.mined.per_batch: "),
        ({**STREAMING, "negatives__logq__initial_gap": 0.5}, "negatives.sampled.logq.streaming.initial_gap: "),
        ({**STREAMING, "negatives__logq__alpha": 1.0}, "negatives.sampled.logq.streaming.alpha: "),
        ({"loss__kind": "hinge"}, "loss.kind: unknown kind 'hinge'"),
        ({"loss__hardest": 0}, "loss.softmax.hardest: "),
        ({"index__kind": "scann"}, "index.kind: unknown kind 'scann'"),
        ({"loss__kind": "bce", "loss__calibration": 1.1}, "loss.bce.calibration: "),
        ({"loss__kind": "bce", "loss__negatives": 0}, "loss.bce.negatives: "),
        ({"loss__kind": "ccl", "loss__margin": 1.0}, "loss.ccl.margin: "),
        ({"negatives__popular__power": -1}, "negatives.sampled.popular.power: "),
    ],
)
def test_values_out_of_range(wrong: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError, match=f"^{where}"):
        TwoTower(nested(wrong))


def test_the_seed_decides(board: TrainingData, options: RunOptions, plain: TwoTower) -> None:
    torch.rand(7)  # whatever happened before
    np.testing.assert_array_equal(fitted(board, options).encode_items(), plain.encode_items())
    other = fitted(board, RunOptions(seed=1, device="cpu", progress=False, threads=1))
    assert np.abs(other.encode_items() - plain.encode_items()).max() > 0.01
