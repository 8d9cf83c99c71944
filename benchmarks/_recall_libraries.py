"""SASRec of RecTools and GRU4Rec of RecBole on a given split; runs in an environment that has those libraries.

    python benchmarks/_recall_libraries.py JOB.json

``benchmarks/recall_reference.py`` writes the job and the events and reads the lists; nothing of this project is
imported here, so that the libraries may need other versions of what it needs.

The events are an ``.npz`` of ``user``, ``item`` (both dense) and ``part`` (0 fit, 1 validation, 2 test), oldest first
in each user. The lists are an ``.npz`` of ``valid`` and ``test`` (E, U, K), the best items not in the history after
each so many epochs, -1 = none, and ``seconds`` of training.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

Events = dict[str, np.ndarray]
Lists = dict[str, np.ndarray]


def main() -> None:
    """Train what the job names, write its lists."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    warnings.filterwarnings("ignore")
    torch.set_num_threads(job["threads"])
    random.seed(job["seed"])
    np.random.seed(job["seed"])  # noqa: NPY002 - the libraries draw from it
    torch.manual_seed(job["seed"])
    with np.load(job["events"]) as stored:
        events = dict(stored)
    steps, seconds = [], 0.0
    os.chdir(tempfile.mkdtemp(dir=Path(job["events"]).parent))  # both libraries write logs where they are started
    started = time.perf_counter()
    for lists in TRAINERS[job["model"]](events, job):
        seconds += time.perf_counter() - started  # the lists of a step are made while the next one is asked for
        steps.append({part: lists[part]() for part in lists})
        started = time.perf_counter()
    np.savez(
        job["lists"],
        valid=np.stack([step["valid"] for step in steps]),
        test=np.stack([step["test"] for step in steps]),
        seconds=seconds,
    )


def rectools_sasrec(events: Events, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """SASRec with the softmax over the whole catalogue."""
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    model = SASRecModel(
        n_blocks=job["blocks"],
        n_heads=job["heads"],
        n_factors=job["size"],
        session_max_len=job["length"],
        dropout_rate=job["dropout"],
        loss="softmax",
        lr=job["learning_rate"],
        batch_size=job["batch"],
        epochs=job["epochs"],
        deterministic=True,
    )
    tables = {part: interactions(events, last) for part, last in (("valid", 0), ("test", 1))}
    fit = Dataset.construct(tables["valid"])
    users = np.unique(events["user"])

    def answer(part: str) -> np.ndarray:
        found = model.recommend(users, Dataset.construct(tables[part]), k=job["k"], filter_viewed=True)
        return table_lists(found, len(users), job["k"])

    for epochs in steps_of(job):
        model.fit_partial(fit, min_epochs=epochs, max_epochs=epochs)
        yield {part: lambda part=part: answer(part) for part in tables}


def recbole_gru4rec(events: Events, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """GRU4Rec with the softmax over the whole catalogue, one training row per prefix of a history."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer
    from recbole.utils import get_model, init_seed

    folder = Path("events")
    folder.mkdir()
    table = pd.DataFrame({"u": events["user"], "i": events["item"], "t": np.arange(len(events["user"]))})
    table.columns = ["user_id:token", "item_id:token", "timestamp:float"]
    table.to_csv(folder / "events.inter", sep="\t", index=False)
    settings = {
        "data_path": str(Path.cwd()),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": job["length"],
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "embedding_size": job["size"],
        "hidden_size": job["hidden"],
        "num_layers": 1,
        "dropout_prob": job["dropout"],
        "learning_rate": job["learning_rate"],
        "train_batch_size": job["batch"],
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "use_gpu": False,
        "show_progress": False,
        "seed": job["seed"],
        "state": "ERROR",
    }
    argv, sys.argv = sys.argv, sys.argv[:1]  # RecBole reads options of the command line too
    config = Config(model="GRU4Rec", dataset="events", config_dict=settings)
    sys.argv = argv
    init_seed(job["seed"], reproducibility=True)
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    model = get_model("GRU4Rec")(config, train.dataset)
    trainer = Trainer(config, model)
    items = np.array([int(t) if t.isdigit() else -1 for t in dataset.id2token("item_id", np.arange(dataset.item_num))])

    def answer(part: str) -> np.ndarray:
        n_users, n_items = int(events["user"].max()) + 1, int(events["item"].max()) + 1
        scores = np.full((n_users, n_items), -np.inf, dtype=np.float32)
        model.eval()
        for rows, *_ in valid if part == "valid" else test:
            with torch.no_grad():
                found = model.full_sort_predict(rows).numpy()
            user = dataset.id2token("user_id", rows["user_id"].numpy()).astype(int)
            scores[user[:, None], items[items >= 0]] = found[:, items >= 0]
        seen = events["part"] <= (0 if part == "valid" else 1)
        scores[events["user"][seen], events["item"][seen]] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, : job["k"]]
        return np.where(np.isneginf(np.take_along_axis(scores, order, axis=1)), -1, order)

    epoch = 0
    for epochs in steps_of(job):
        for _ in range(epochs):
            trainer._train_epoch(train, epoch)
            epoch += 1
        yield {part: lambda part=part: answer(part) for part in ("valid", "test")}


def steps_of(job: dict[str, Any]) -> list[int]:
    """Epochs of each step, ``every`` at a time."""
    return [min(job["every"], job["epochs"] - start) for start in range(0, job["epochs"], job["every"])]


def interactions(events: Events, last: int) -> pd.DataFrame:
    """Events up to a part as RecTools wants them; their order becomes their time."""
    kept = events["part"] <= last
    when = pd.to_datetime(np.arange(len(kept))[kept], unit="s")
    return pd.DataFrame(
        {"user_id": events["user"][kept], "item_id": events["item"][kept], "weight": 1.0, "datetime": when}
    )


def table_lists(found: pd.DataFrame, n_users: int, k: int) -> np.ndarray:
    """(U, K) items of a table of recommendations with ranks from 1."""
    lists = np.full((n_users, k), -1, dtype=np.int64)
    lists[found["user_id"].to_numpy(), found["rank"].to_numpy() - 1] = found["item_id"].to_numpy()
    return lists


TRAINERS = {"sasrec": rectools_sasrec, "gru4rec": recbole_gru4rec}

if __name__ == "__main__":
    main()
