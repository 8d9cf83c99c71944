"""Evaluation jobs: channels against each other, and the pipeline stage by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dataprep.prepare import Prepared, prepare_file, read_holdout
from dataprep.splits import parse_protocol
from evaluation.beyond_accuracy import intra_list_diversity, mean_of_answered
from evaluation.evaluate import ORDER_BY, Comparison, Evaluation, compare, evaluate_candidates, leaderboard
from evaluation.metrics import check_ks, metric_name
from evaluation.plots import plot_accuracy_against, plot_curves, plot_funnel, plot_intervals, plot_trade_off
from evaluation.report import Protocol, Report, metric_label
from pipeline.builder import PIPELINE, load, load_channels
from pipeline.fitting import MERGED, check_protocol
from pipeline.inference import Pipeline
from pipeline.stages import RerankSelector
from pipeline.trace import Trace
from recall.merge import MergeConfig, merge
from reccore import ArtefactError, Candidates, DataError, Exclusions, Holdout, ItemTable, NotReadyError, Workspace
from reccore.arrays import IntArray
from reccore.bundle import read_manifest
from reccore.workspace import require
from rerank.mmr import MMR

RECALL_KS = (10, 20, 50, 100, 200, 500)
TRADE_OFF_K = 10
TRADE_OFFS = (1.0, 0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)


@dataclass(frozen=True, eq=False)
class Measured:
    """Result of an evaluation job.

    Attributes:
        evaluations: best NDCG@10 first.
        comparisons: paired differences.
        protocol: how they came about.
        report: Markdown file.
        data: the JSON report's content.
        trace: of the pipeline, or None.
    """

    evaluations: Sequence[Evaluation]
    comparisons: Sequence[Comparison]
    protocol: Protocol
    report: Path
    data: dict[str, Any]
    trace: Trace | None = None


def trained(workspace: Workspace, kind: str) -> tuple[str, ...]:
    """Names of the trained models of one kind, sorted.

    Raises:
        NotReadyError: there is none.
    """
    folders = sorted(path for path in workspace.models.glob("[!.]*") if path.is_dir())
    names = tuple(path.name for path in folders if (read_manifest(path) or {}).get("kind") == kind)
    if not names:
        command = "train_recall.py --model popularity" if kind == "recall" else "train_ranking.py"
        raise NotReadyError(
            f"no {kind} model under {workspace.models}; run first: PYTHONPATH=. python scripts/{command}"
        )
    return names


def data_of(workspace: Workspace, names: Sequence[str]) -> Prepared:
    """The data that the given models were fitted on, under the protocol they were fitted with.

    Raises:
        ArtefactError: they were not fitted on one and the same.
        DataError: the file they were fitted on is gone.
    """
    facts = (read_manifest(workspace.model(names[0])) or {}).get("data")
    if facts is None:
        raise ArtefactError(
            f"the manifest of {names[0]} does not say what it was fitted on; train it by train_recall.py"
        )
    protocol = parse_protocol(facts["protocol"])
    if facts["input"] is not None:
        prepared = prepare_file(Path(facts["input"]), workspace, protocol)
    else:
        prepared = Prepared.load(require(workspace.prepared, "prepared data", "prepare_two_tower_data.py"))
        if prepared.split.protocol != protocol.name:
            prepared = prepared.resplit(protocol)
    check_protocol(workspace, tuple(names), prepared)
    return prepared


def choose_holdout(prepared: Prepared, split: str, test_file: Path | None) -> tuple[Holdout, str]:
    """The queries to evaluate on, and how to call them in a report.

    Raises:
        DataError: the protocol leaves nothing to evaluate on.
    """
    if test_file is not None:
        return read_holdout(test_file, prepared), f"{prepared.split.protocol}, tested on {test_file.name}"
    holdout = prepared.split.test() if split == "test" else prepared.split.valid()
    if len(holdout) == 0:
        raise DataError(
            f"protocol {prepared.split.protocol} leaves no {split} events; train with --protocol leave_one_out, "
            "or evaluate the channels on a held-out file: evaluate_recall.py --test FILE"
        )
    return holdout, f"{prepared.split.protocol} ({split})"


def evaluate_recall(
    workspace: Workspace,
    *,
    names: Sequence[str] | None = None,
    split: str = "test",
    test_file: Path | None = None,
    include_seen: bool = False,
    merging: MergeConfig | None = None,
    ks: Sequence[int] = RECALL_KS,
    seed: int = 0,
) -> Measured:
    """Compare trained channels and their merge; writes ``reports/recall.*``."""
    ks, by = check_ks(ks), order_by(ks)
    names = tuple(names) if names else trained(workspace, "recall")
    channels = load_channels(workspace, names)
    prepared = data_of(workspace, names)
    holdout, label = choose_holdout(prepared, split, test_file)
    exclude = Exclusions.nothing(len(holdout)) if include_seen else Exclusions.of_history(holdout.queries)
    data = prepared.training_data()
    offers = {name: channel.retrieve(holdout.queries, max(ks), exclude=exclude) for name, channel in channels.items()}
    if len(offers) > 1:
        fill = "popularity" if "popularity" in offers else None
        offers[MERGED] = merge(merging or MergeConfig(), offers, max(ks), fill=fill)
    evaluations = leaderboard(
        (
            _evaluate(name, offer, holdout, data.items, data.interactions.item_counts(), ks, seed)
            for name, offer in offers.items()
        ),
        by,
    )
    comparisons = [compare(evaluations[0], other, by, seed=seed) for other in evaluations[1:]]
    protocol = Protocol(
        dataset=str(prepared.source["dataset"]),
        split=label,
        users=len(holdout),
        seen_filtered=not include_seen,
        tied_share=evaluations[0].tied_share,
        seed=seed,
    )
    report = Report(
        title="Recall channels",
        protocol=protocol,
        evaluations=evaluations,
        comparisons=comparisons,
        figures=_recall_figures(workspace.reports, evaluations, ks),
    )
    markdown, _ = report.write(workspace.reports, "recall")
    return Measured(evaluations, comparisons, protocol, markdown, report.to_dict())


def order_by(ks: Sequence[int]) -> str:
    """What systems are ordered and compared by: NDCG@10, or at the smallest K where 10 is not measured."""
    return ORDER_BY if 10 in ks else metric_name("ndcg", min(ks))


def _evaluate(
    name: str, offer: Candidates, holdout: Holdout, items: ItemTable, counts: IntArray, ks: Sequence[int], seed: int
) -> Evaluation:
    vectors = items.genre_matrix() if items.n_genres else None
    return evaluate_candidates(name, offer, holdout, item_counts=counts, item_vectors=vectors, ks=ks, seed=seed)


def _recall_figures(folder: Path, evaluations: Sequence[Evaluation], ks: Sequence[int]) -> list[tuple[str, str]]:
    first = min(ks)
    by_name = {evaluation.name: evaluation for evaluation in sorted(evaluations, key=lambda e: e.name)}
    plot_curves(
        {name: e.curve("hit_rate") for name, e in by_name.items()},
        folder / "recall_hit_rate.png",
        ylabel="HitRate@K",
        title="How often the held-out film is among the first K",
    )
    plot_intervals(
        {name: e.metrics[f"ndcg@{first}"] for name, e in by_name.items()},
        folder / "recall_ndcg.png",
        xlabel=f"NDCG@{first}",
        title="Channels with 95% intervals over users",
    )
    plot_accuracy_against(
        {name: (e.lists[f"popularity@{first}"], e.mean(f"hit_rate@{first}")) for name, e in by_name.items()},
        folder / "recall_popularity.png",
        xlabel=f"mean popularity of the {first} films offered (events in the fit split)",
        ylabel=f"HitRate@{first}",
        title="Accuracy against popularity bias",
    )
    return [
        ("HitRate against K", "recall_hit_rate.png"),
        ("NDCG with intervals", "recall_ndcg.png"),
        ("Accuracy against popularity bias", "recall_popularity.png"),
    ]


def evaluate_pipeline(
    workspace: Workspace, *, split: str = "test", ks: Sequence[int] = (10, 20, 50, 100, 200), seed: int = 0
) -> Measured:
    """Measure the pipeline after every stage, beside its channels; writes ``reports/pipeline.*``."""
    ks, by = check_ks(ks), order_by(ks)
    pipeline = load(workspace.model(PIPELINE))
    config = pipeline.config
    prepared = data_of(workspace, [*config.channels, *([config.ranker] if config.ranker else [])])
    holdout, label = choose_holdout(prepared, split, None)
    data = prepared.training_data()
    counts = data.interactions.item_counts()

    def measure(name: str, offer: Candidates) -> Evaluation:
        return _evaluate(name, offer, holdout, data.items, counts, ks, seed)

    exclude = Exclusions.of_history(holdout.queries)
    channels = [measure(source.name, source.fetch(holdout.queries, exclude)) for source in pipeline.sources]
    stages, before_select = _after_each_stage(pipeline, holdout, max(ks))
    evaluated = {name: measure(name, offer) for name, offer in stages.items()}
    best = leaderboard(channels, by)[0]
    last = list(evaluated.values())
    comparisons = [compare(evaluation, best, by, seed=seed) for evaluation in last]
    comparisons += [compare(later, earlier, by, seed=seed) for earlier, later in pairwise(last)]
    _, trace = pipeline.run(holdout.queries, min(ks))

    funnel = _funnel(stages, holdout, min(ks))
    curve = _trade_off_curve(pipeline, before_select, holdout, data.items, counts, seed)
    figures = _pipeline_figures(workspace.reports, pipeline, [*channels, *last], by, funnel, curve)
    protocol = Protocol(
        dataset=str(prepared.source["dataset"]),
        split=label,
        users=len(holdout),
        tied_share=best.tied_share,
        seed=seed,
    )
    report = Report(
        title="The pipeline, stage by stage",
        protocol=protocol,
        evaluations=[*last, *channels],
        comparisons=comparisons,
        sections=[
            ("The funnel", _funnel_table(funnel)),
            *([("The reranker's trade-off", _trade_off_table(curve))] if curve else []),
            ("One pass over all users", f"```\n{trace}\n```"),
        ],
        figures=figures,
        facts={
            "best_channel": best.name,
            "funnel": [{"stage": stage, "kept": kept} for stage, kept in funnel],
            "trade_off": curve,
            "trace": trace.to_dict(),
        },
    )
    markdown, _ = report.write(workspace.reports, "pipeline")
    return Measured([*last, *channels], comparisons, protocol, markdown, report.to_dict(), trace)


def _after_each_stage(pipeline: Pipeline, holdout: Holdout, k: int) -> tuple[dict[str, Candidates], Candidates]:
    """Candidates after recall, ranking and reranking, and what the last stage was given."""
    queries, exclude = holdout.queries, Exclusions.of_history(holdout.queries)
    candidates = pipeline.recall(queries, exclude, Trace(len(queries)))
    stages = {"after recall": candidates}
    before = candidates
    for stage in pipeline.stages:
        before = candidates
        candidates = stage.apply(queries, candidates, exclude, min(k, candidates.k))
        if stage.stage == "score":
            stages["after ranking"] = candidates
        elif isinstance(stage, RerankSelector):
            stages["after reranking"] = candidates
    return stages, before


def _funnel(stages: dict[str, Candidates], holdout: Holdout, k: int) -> list[tuple[str, int]]:
    """Test positives there were, those among the merged candidates, and those in the first k after each stage."""
    targets = Exclusions(holdout.target_offsets, holdout.target_idx)

    def kept(offer: Candidates) -> int:
        return int(targets.contains(offer.item_idx).sum())

    funnel = [("held out", len(holdout.target_idx))]
    funnel.append((f"recalled ({stages['after recall'].k} candidates)", kept(stages["after recall"])))
    return funnel + [(f"first {k} {name}", kept(offer.head(k))) for name, offer in stages.items()]


def _funnel_table(funnel: Sequence[tuple[str, int]]) -> str:
    total = max(funnel[0][1], 1)
    rows = [f"| {stage} | {count:,} | {count / total:.1%} |" for stage, count in funnel]
    return "\n".join(["| stage | positives kept | share |", "|---|---:|---:|", *rows])


def _trade_off_curve(
    pipeline: Pipeline, ranked: Candidates, holdout: Holdout, items: ItemTable, counts: IntArray, seed: int
) -> list[dict[str, float]]:
    """NDCG@10 and diversity of the pipeline's MMR over λ, by genres and by the vectors it compares itself."""
    selector = next((stage for stage in pipeline.stages if isinstance(stage, RerankSelector)), None)
    if selector is None or not isinstance(selector.reranker, MMR):
        return []
    curve = []
    for trade_off in sorted({*TRADE_OFFS, selector.reranker.config.trade_off}, reverse=True):
        reranker = copy(selector.reranker)
        reranker.config = selector.reranker.config.model_copy(update={"trade_off": trade_off})
        offer = reranker.rerank(holdout.queries, ranked, TRADE_OFF_K)
        measured = _evaluate("mmr", offer, holdout, items, counts, (TRADE_OFF_K,), seed)
        by_vectors = intra_list_diversity(offer, selector.reranker.vectors, TRADE_OFF_K)
        point = {"lambda": trade_off, "ndcg": measured.mean(f"ndcg@{TRADE_OFF_K}")}
        point["vector_diversity"] = mean_of_answered(by_vectors)
        if items.n_genres:
            point["genre_diversity"] = measured.mean(f"diversity@{TRADE_OFF_K}")
        curve.append(point)
    return curve


def _trade_off_table(curve: Sequence[Mapping[str, float]]) -> str:
    """The curve with changes against λ = 1."""
    base = curve[0]
    names = [name for name in base if name != "lambda"]
    lines = ["| λ | " + " | ".join(name.replace("_", " ") for name in names) + " |", "|---" * (len(names) + 1) + "|"]
    for point in curve:
        cells = [f"{point[n]:.4f} ({point[n] / base[n] - 1:+.1%})" if base[n] else f"{point[n]:.4f}" for n in names]
        lines.append(f"| {point['lambda']:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _pipeline_figures(
    folder: Path,
    pipeline: Pipeline,
    evaluations: Sequence[Evaluation],
    metric: str,
    funnel: Sequence[tuple[str, int]],
    curve: Sequence[Mapping[str, float]],
) -> list[tuple[str, str]]:
    plot_funnel(funnel, folder / "pipeline_funnel.png", title="What each stage keeps of the held-out films")
    plot_intervals(
        {evaluation.name: evaluation.metrics[metric] for evaluation in evaluations},
        folder / "pipeline_ndcg.png",
        xlabel=metric_label(metric),
        title="Stages and channels with 95% intervals over users",
    )
    figures = [
        ("The funnel", "pipeline_funnel.png"),
        (f"{metric_label(metric)} of stages and channels", "pipeline_ndcg.png"),
    ]
    if curve:
        chosen = MMR.Config.parse(pipeline.config.rerank).model_dump()["trade_off"]
        title = "Reranking: diversity bought with accuracy"
        points = [(point["lambda"], point["ndcg"], point["vector_diversity"]) for point in curve]
        plot_trade_off(points, folder / "pipeline_trade_off.png", chosen=chosen, title=title)
        figures.append(("The reranker's trade-off over λ", "pipeline_trade_off.png"))
    return figures
