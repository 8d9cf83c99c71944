"""The click-through models beside the same architectures in torch-rechub: same rows, same fields, same run.

    PYTHONPATH=. python benchmarks/ctr_reference.py --data_dir data
    PYTHONPATH=. python benchmarks/ctr_reference.py --data_dir data --models deepfm,din --seeds 0,1,2,3,4

Rows and labels are those of scripts/compare_ctr.py, whose prepared data it reads. Both sides have vectors of 16, a deep
part of 64 and 32 with dropout 0.2, batches of 1,024 rows in random order, a learning rate of 0.001, and keep the epoch
with the best validation AUC. torch-rechub trains by its own ``CTRTrainer`` (Adam); its L2 weight is chosen among
``--weight_decays`` by the validation AUC of the first seed, ours is that of compare_ctr.py.

torch-rechub is no dependency of this project: pip install --no-deps torch-rechub. Without it only our models run.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

if sys.path[0] == str(Path(__file__).parent):
    sys.path.remove(sys.path[0])  # Python puts it first, and benchmarks/ranking.py would hide the package of its name

import numpy as np
import torch
from loguru import logger

from dataprep.prepare import Prepared, load_prepared
from dataprep.protocols import LeaveLastN
from evaluation.pointwise import auc
from evaluation.report import markdown_table, without_nan
from experiments.ctr import (
    HISTORY,
    SHARED,
    CTRData,
    CTRDifference,
    CTRResult,
    CTRRun,
    ImpressionRows,
    impressions,
    train_model,
)
from ranking import RANKERS
from reccore import IdMap, Interactions, ItemTable, RunOptions, UserTable, Vocabulary, Workspace

MODELS = ("deepfm", "dcnv2", "autoint", "din")
LIBRARY = "torch-rechub"
MLP = {"dims": [64, 32], "dropout": 0.2}
VERDICTS = {True: "not below by two", False: "below by more than two", None: "one seed has no standard error"}
SMOKE = {"epochs": 1, "embedding_size": 4}
Columns = dict[str, torch.Tensor]


def main() -> None:
    """Parse the options, train, print a table or JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="data root with prepared data")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--weight_decays", default="0,1e-5,1e-4", help="of torch-rechub's Adam, to choose among")
    parser.add_argument("--threads", type=int, default=None, help="of PyTorch; by default its choice")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--smoke", action="store_true", help="a size that takes seconds, to test that it runs")
    args = parser.parse_args()
    logger.remove()
    if args.smoke:
        prepared, settings, seeds, decays = synthetic_ratings(), SMOKE, [0], [1e-5]
    else:
        prepared, settings = load_prepared(Workspace(args.data_dir).prepared), {}
        seeds, decays = [int(s) for s in args.seeds.split(",")], [float(w) for w in args.weight_decays.split(",")]
    RunOptions(threads=args.threads).apply_threads()
    models = [model for model in args.models.split(",") if model in RANKERS]
    report = compare(prepared, models, seeds, decays, settings)
    print(json.dumps(without_nan(report)) if args.json else table(report))


def compare(
    prepared: Prepared, models: list[str], seeds: list[int], decays: list[float], settings: dict[str, Any]
) -> dict[str, Any]:
    """Ours and theirs of every model on the same rows; without torch-rechub, ours."""
    data = impressions(prepared)
    with_library = find_spec("torch_rechub") is not None
    results, differences, chosen = [], [], {}
    for model in models:
        options = [RunOptions(seed=seed, device="cpu", progress=False) for seed in seeds]
        ours = CTRResult.of([train_model(data, prepared, model, option, settings) for option in options], data.test)
        results.append(ours)
        if with_library:
            theirs, chosen[model] = train_theirs(data, model, seeds, decays, settings)
            results.append(CTRResult.of(theirs, data.test))
            differences.append(CTRDifference.between(ours, results[-1]))
    return {
        "dataset": str(prepared.source["dataset"]),
        "rows": {"train": len(data.train), "valid": len(data.valid), "test": len(data.test)},
        "seeds": seeds,
        "library": LIBRARY if with_library else None,
        "weight_decay": chosen,
        "results": [result.to_dict() for result in results],
        "differences": [difference.to_dict() for difference in differences],
        "verdicts": {d.a: d.over_users.mean >= -2 * d.seed_error for d in differences if len(seeds) > 1},
    }


def train_theirs(
    data: CTRData, model: str, seeds: list[int], decays: list[float], settings: dict[str, Any]
) -> tuple[list[CTRRun], float]:
    """torch-rechub's model for every seed, with the weight decay that is best on validation for the first."""
    first = {decay: train_one(data, model, seeds[0], decay, settings) for decay in decays}
    decay = max(first, key=lambda decay: first[decay][1])
    return [first[decay][0], *(train_one(data, model, seed, decay, settings)[0] for seed in seeds[1:])], decay


def train_one(
    data: CTRData, model: str, seed: int, weight_decay: float, settings: dict[str, Any]
) -> tuple[CTRRun, float]:
    """One training by ``CTRTrainer``; the run, and its best validation AUC."""
    from torch_rechub.trainers import CTRTrainer

    options = {**SHARED, **settings}
    torch.manual_seed(seed)
    network = their_network(model, data.train, options["embedding_size"])
    train, valid, test = (columns(rows) for rows in (data.train, data.valid, data.test))
    labels = torch.from_numpy(data.train.labels)
    adam = {"lr": options["learning_rate"], "weight_decay": weight_decay}
    trainer = CTRTrainer(network, optimizer_params=adam, device="cpu")
    best, waited, weights, epochs = -1.0, 0, None, 0
    started = time.perf_counter()
    for epoch in range(options["epochs"]):
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):  # its progress bar
            trainer.train_one_epoch(Batches(train, labels, options["batch_size"], seed * 1000 + epoch))
        epochs += 1
        value = auc(predict(network, valid), data.valid.labels)
        if value > best:
            best, waited, weights = value, 0, copy.deepcopy(network.state_dict())
        else:
            waited += 1
            if waited >= options["patience"]:
                break
    seconds = time.perf_counter() - started
    network.load_state_dict(weights)
    return CTRRun(f"{model} ({LIBRARY})", seed, predict(network, test), seconds, epochs), best


class Batches:
    """Rows in random order, whole batches at once; torch-rechub's own loader collates row by row."""

    def __init__(self, inputs: Columns, labels: torch.Tensor, size: int, seed: int) -> None:
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        self.inputs, self.labels, self.parts = inputs, labels, order.split(size)

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[tuple[Columns, torch.Tensor]]:
        for rows in self.parts:
            yield {name: values[rows] for name, values in self.inputs.items()}, self.labels[rows]


def predict(network: torch.nn.Module, inputs: Columns) -> np.ndarray:
    """(N,) probabilities."""
    network.eval()
    n = len(next(iter(inputs.values())))
    with torch.no_grad():
        parts = [network({name: v[at : at + 4096] for name, v in inputs.items()}) for at in range(0, n, 4096)]
    return torch.cat(parts).numpy().astype(np.float64)


def columns(rows: ImpressionRows) -> Columns:
    """The fields of ``experiments.ctr.features_of`` as codes, 0 = unknown, and the history."""
    queries, item = rows.samples.queries, rows.samples.candidates.item_idx[:, 0]
    found = {"user": queries.user_idx + 1, "item": item + 1}
    found |= {name: rows.users.codes(name, queries.user_idx) + 1 for name in rows.users.category_names}
    if rows.items.genres is not None:
        found["genres"] = rows.items.genres.padded()[item] + 1
    found["history"] = queries.padded(HISTORY).item_idx + 1
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in found.items()}


def their_network(model: str, rows: ImpressionRows, size: int) -> torch.nn.Module:
    """torch-rechub's architecture over the fields of ``columns``."""
    from torch_rechub.basic.features import SequenceFeature, SparseFeature
    from torch_rechub.models.ranking import DIN, AutoInt, DCNv2, DeepFM

    user = SparseFeature("user", rows.users.n_users + 1, size)
    item = SparseFeature("item", rows.items.n_items + 1, size)
    facts = [SparseFeature(name, len(names) + 1, size) for name, names in rows.users.category_names.items()]
    if rows.items.n_genres:
        facts.append(SequenceFeature("genres", rows.items.n_genres + 1, size, pooling="mean", padding_idx=0))
    fields = [user, *facts, item]
    if model == "deepfm":
        return DeepFM(fields, fields, MLP)
    if model == "dcnv2":
        return DCNv2(fields, n_cross_layers=2, mlp_params=MLP, use_low_rank_mixture=False)
    if model == "autoint":
        return AutoInt(fields, [], num_layers=2, num_heads=2, mlp_params=MLP)
    history = SequenceFeature(
        "history", rows.items.n_items + 1, size, pooling="concat", shared_with="item", padding_idx=0
    )
    return DIN([user, *facts], [history], [item], mlp_params=MLP, attention_mlp_params={"dims": [16]})


def synthetic_ratings(n_users: int = 60, n_items: int = 120, n_events: int = 40) -> Prepared:
    """Random films for every user; users like those of their own of two genres."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(n_users), n_events)
    films = np.concatenate([rng.permutation(n_items)[:n_events] for _ in range(n_users)])
    rating = np.where(films % 2 == users % 2, 4.0, 3.0).astype(np.float32)
    events = Interactions.from_events(users, films, n_users=n_users, n_items=n_items, rating=rating)
    genre_offsets = np.arange(n_items + 1, dtype=np.int64)
    items = ItemTable(n_items, genre_names=("a", "b"), genre_offsets=genre_offsets, genre_idx=genre_offsets[:-1] % 2)
    vocabulary = Vocabulary(IdMap(np.arange(n_users)), IdMap(np.arange(n_items)))
    source = {"dataset": "synthetic", "fingerprint": ""}
    return Prepared(LeaveLastN(10).split(events), items, UserTable(n_users), vocabulary, source)


def table(report: dict[str, Any]) -> str:
    """The report as Markdown for a terminal."""
    rows = [
        [
            result["model"],
            f"{result['auc']['mean']:.4f}",
            "–" if np.isnan(result["auc_deviation"]) else f"{result['auc_deviation']:.4f}",
            f"{result['logloss']['mean']:.4f}",
            f"{result['seconds']:.1f}",
        ]
        for result in report["results"]
    ]
    counts = ", ".join(f"{count:,} {name}" for name, count in report["rows"].items())
    lines = [
        f"{report['dataset']}: {counts} rows, seeds {report['seeds']}",
        markdown_table(["model", "AUC", "deviation over seeds", "logloss", "seconds"], rows),
    ]
    for difference in report["differences"]:
        d, errors = difference["difference"], difference["standard_errors"]
        interval = f"{d['mean']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}]"
        verdict = VERDICTS[report["verdicts"].get(difference["a"])]
        lines.append(
            f"{difference['a']} − {difference['b']}: AUC {interval} over users, "
            f"{errors:+.1f} standard errors of seeds: {verdict}"
        )
    if report["library"] is None:
        lines.append(
            f"{LIBRARY} is not installed, so there is nothing to compare with: pip install --no-deps {LIBRARY}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
