"""Average of the scores of several rankers: seeds of one kind, several kinds, or both.

Caruana et al.: Ensemble Selection from Libraries of Models, ICML 2004; here all members are taken, with given weights.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, PositiveInt, model_validator

from ranking import RANKERS
from ranking.base import BaseRanker
from ranking.config import RankerConfig
from reccore import (
    Bundle,
    Candidates,
    ComponentConfig,
    ItemTable,
    QueryBatch,
    RankingSamples,
    RunOptions,
    UserTable,
    Vocabulary,
)
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter, read_manifest
from training.checkpointing import Checkpoints, drop_checkpoint

SPREAD_QUERIES = 2048
"""Spreads are measured on at most this many queries, evenly spaced."""


class MemberConfig(ComponentConfig):
    """One kind of ranker in an ensemble. All keys besides these are options of that ranker.

    Attributes:
        model: registered name of the ranker.
        seeds: how many of it, each with a seed of its own.
        weight: of the member in the average, shared equally by its seeds.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    model: str
    seeds: PositiveInt = 1
    weight: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _is_a_ranker(self) -> Self:
        known = [name for name in RANKERS if name != Ensemble.name]
        if self.model not in known:
            raise ValueError(f"no ranker that can be a member: {self.model!r}; known: {', '.join(known)}")
        self.build()
        return self

    def build(self) -> BaseRanker:
        """An unfitted ranker.

        Raises:
            ConfigError: the options are not those of the ranker.
        """
        return RANKERS[self.model](self.model_extra)


class EnsembleConfig(RankerConfig):
    """Options of an ensemble.

    Attributes:
        members: the rankers to average.
        scale: ``spread`` divides each ranker's scores by their mean deviation within a query, as measured once at
            fitting, so that kinds of different scales count alike, while a query about which a ranker is undecided
            keeps its small differences. ``none`` takes the scores as they are, as for seeds of one kind.
    """

    members: tuple[MemberConfig, ...] = Field(
        default=(MemberConfig.model_construct(model="deepfm"), MemberConfig.model_construct(model="lambdamart")),
        min_length=1,
    )
    scale: Literal["spread", "none"] = "spread"

    @property
    def liked_from(self) -> float | None:
        """Least rating of an item that counts as liked for all members that learn it; None if none does."""
        return next(iter(self._thresholds), None)

    @property
    def _thresholds(self) -> list[float]:
        each = (member.build().liked_from for member in self.members)
        return list(dict.fromkeys(value for value in each if value is not None))

    @model_validator(mode="after")
    def _likes_agree(self) -> Self:
        if len(self._thresholds) > 1:
            raise ValueError(
                f"members: liked_from must be one for all, got {', '.join(f'{v:g}' for v in self._thresholds)}"
            )
        return self


class Ensemble(BaseRanker):
    """Weighted mean of the scores of its members, which are fitted one after the other on the same samples.

    A score depends on its candidate alone, as those of the members do. It is Σ wᵢ·sᵢ·(σ̄/σᵢ), with weights that sum
    to 1, spreads σᵢ and their weighted mean σ̄: an ensemble of one scores as its member.

    Attributes:
        members: the fitted rankers, seeds of one kind next to each other.
    """

    name: ClassVar[str] = "ensemble"
    Config: ClassVar[type[EnsembleConfig]] = EnsembleConfig
    config: EnsembleConfig

    members: list[BaseRanker]
    _factors: list[float]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of all members."""
        return tuple(dict.fromkeys(task for member in self.config.members for task in member.build().tasks))

    def fit(
        self,
        samples: RankingSamples,
        *,
        items: ItemTable,
        users: UserTable,
        vocabulary: Vocabulary,
        valid: RankingSamples | None = None,
        options: RunOptions | None = None,
    ) -> Self:
        """As ``BaseRanker.fit``; every member chooses its own epoch on ``valid``."""
        super().fit(samples, items=items, users=users, vocabulary=vocabulary, valid=valid, options=options)
        for member in self.members:
            member._vocabulary = vocabulary  # ``_fit`` takes none
            member._calibration = None if valid is None else member._calibrate(valid)
        return self

    def _fit(
        self,
        samples: RankingSamples,
        items: ItemTable,
        users: UserTable,
        valid: RankingSamples | None,
        options: RunOptions,
    ) -> None:
        self.members = [member.build() for member in self.config.members for _ in range(member.seeds)]
        checkpoints = self._open_checkpoints(options)
        for number, (member, own) in enumerate(zip(self.members, self._options(options), strict=True)):
            if checkpoints is not None:
                checkpoints.write({"member": number}, f"member {number + 1} of {len(self.members)}")
            member._fit(samples, items, users, valid, own)
        self._factors = self._factors_of(samples if valid is None or len(valid) == 0 else valid, items.n_items)
        for folder in self._checkpoint_folders(options):
            drop_checkpoint(folder)

    def _options(self, options: RunOptions) -> list[RunOptions]:
        """Options of each member: a seed, a checkpoint and curves of its own."""
        seeds = options.generator("members").integers(2**31 - 1, size=len(self.members)).tolist()
        folders: list[Path | None] = [*self._checkpoint_folders(options)] or [None] * len(seeds)
        return [
            replace(
                options,
                seed=seed,
                checkpoint_dir=folder,
                log_dir=None if options.log_dir is None else options.log_dir / _folder(number),
            )
            for number, (seed, folder) in enumerate(zip(seeds, folders, strict=True))
        ]

    def _checkpoint_folders(self, options: RunOptions) -> list[Path]:
        """Of each member, beside that of the ensemble; none without checkpoints."""
        if options.checkpoint_dir is None:
            return []
        own = options.checkpoint_dir
        return [own.with_name(f"{own.name}.{_folder(number)}") for number in range(len(self.members))]

    def _open_checkpoints(self, options: RunOptions) -> Checkpoints | None:
        """The ensemble's own checkpoint, which says which member is being fitted; members write theirs beside it."""
        if options.checkpoint_dir is None:
            return None
        checkpoints = Checkpoints(
            options.checkpoint_dir,
            component=self.name,
            identity={"config": self.config.model_dump(mode="json"), "seed": options.seed},
            every_minutes=options.checkpoint_minutes,
        )
        if not options.resume or checkpoints.read() is None:
            checkpoints.set_aside()
            for folder in self._checkpoint_folders(options):
                drop_checkpoint(folder)
        return checkpoints

    def _factors_of(self, samples: RankingSamples, n_items: int) -> list[float]:
        """What the scores of each member are multiplied by."""
        each = [member.weight / member.seeds for member in self.config.members for _ in range(member.seeds)]
        weights = np.array(each) / sum(each)
        if self.config.scale == "none":
            return [float(weight) for weight in weights]
        rows = np.unique(np.linspace(0, len(samples) - 1, min(len(samples), SPREAD_QUERIES)).astype(np.int64))
        part = samples.select(rows)
        queries = part.queries.known_items_only(n_items)
        spreads = np.array(
            [_spread(member._score(queries, part.candidates), part.candidates) for member in self.members]
        )
        return [float(factor) for factor in weights * (weights @ spreads / spreads)]

    def _score(self, queries: QueryBatch, candidates: Candidates) -> FloatArray:
        total = np.zeros(candidates.item_idx.shape)
        for factor, member in zip(self._factors, self.members, strict=True):
            total += factor * np.where(candidates.mask, member._score(queries, candidates), 0.0)
        return total.astype(np.float32)

    def missing_columns(self, candidates: Candidates) -> list[str]:
        """Those of all members."""
        return list(dict.fromkeys(column for member in self.members for column in member.missing_columns(candidates)))

    def _contributions(self, queries: QueryBatch, candidates: Candidates) -> dict[str, FloatArray]:
        """Sums of the members' contributions, each times what the member's scores are multiplied by."""
        found: dict[str, FloatArray] = {}
        for factor, member in zip(self._factors, self.members, strict=True):
            for name, values in member._contributions(queries, candidates).items():
                found[name] = found.get(name, np.float32(0)) + np.float32(factor) * values
        return found

    def _grow(self, items: ItemTable, users: UserTable, vocabulary: Vocabulary) -> None:
        self.members = [member.grown(items, users, vocabulary) for member in self.members]

    def _write(self, bundle: BundleWriter) -> None:
        """Each member as a bundle of its own, which can be loaded alone."""
        for number, member in enumerate(self.members):
            member.save(bundle.path(_folder(number)))
        manifests = [read_manifest(bundle.path(_folder(number))) or {} for number in range(len(self.members))]
        bundle.manifest["training"] = [manifest.get("training") for manifest in manifests]
        bundle.manifest["factors"] = self._factors

    def _read(self, bundle: Bundle) -> None:
        self._factors = list(bundle.manifest["factors"])
        self.members = [RANKERS.load(bundle.path / _folder(number)) for number in range(len(self._factors))]


def _folder(number: int) -> str:
    return f"member{number}"


def _spread(scores: FloatArray, candidates: Candidates) -> float:
    """Mean over the queries of the deviation among a query's candidates; 1 where all are equal."""
    mask = candidates.mask[candidates.counts > 1]
    values = np.where(mask, scores[candidates.counts > 1], 0.0).astype(np.float64)
    counts = mask.sum(axis=1, keepdims=True)
    centred = np.where(mask, values - values.sum(axis=1, keepdims=True) / counts, 0.0)
    deviations = np.sqrt((centred**2).sum(axis=1) / counts[:, 0])
    spread = deviations.mean() if len(deviations) else 0.0
    return float(spread) if spread > 0 else 1.0
