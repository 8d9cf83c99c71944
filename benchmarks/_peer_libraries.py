"""One model of another library on given events; runs in an environment that has the library.

    python benchmarks/_peer_libraries.py JOB.json

``benchmarks/peers.py`` writes the job and the events and reads the lists; nothing of this project is imported here, so
that a library may need other versions of what it needs. Every model has its library's defaults.

The events are an ``.npz`` of ``user``, ``item`` (both dense, oldest first in each user) and ``part`` (0 fit, 1
validation, 2 test). A model learns from part 0; its lists may use parts 0 and 1 as histories. The lists are an ``.npz``
of ``lists`` (U, K) films by rank, -1 = none, ``fit_seconds``, ``answer_seconds`` and ``peak_bytes`` of the process.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Events = dict[str, np.ndarray]
RECBOLE = {"bpr": "BPR", "lightgcn": "LightGCN", "itemknn": "ItemKNN"}
Answer = Callable[[], np.ndarray]
"""The lists (U, K) of all users."""


def main() -> None:
    """Fit what the job names, write its lists."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    warnings.filterwarnings("ignore")
    random.seed(job["seed"])
    np.random.seed(job["seed"])  # noqa: NPY002 - the libraries draw from it
    with np.load(job["events"]) as stored:
        events = dict(stored)
    os.chdir(tempfile.mkdtemp(dir=Path(job["events"]).parent))  # some libraries write logs where they are started
    fit = LIBRARIES[job["library"]](job["model"])  # imports the library, which is no part of the fit
    started = time.perf_counter()
    answer = fit(events, job)
    fitted = time.perf_counter()
    lists = answer()
    answered = time.perf_counter()
    np.savez(
        job["lists"],
        lists=lists,
        fit_seconds=fitted - started,
        answer_seconds=answered - fitted,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    )


def n_users(events: Events) -> int:
    return int(events["user"].max()) + 1


def n_items(events: Events) -> int:
    return int(events["item"].max()) + 1


def up_to(events: Events, part: int) -> tuple[np.ndarray, np.ndarray]:
    """Users and items of the events of the parts up to one."""
    kept = events["part"] <= part
    return events["user"][kept], events["item"][kept]


def known_histories(events: Events) -> tuple[np.ndarray, np.ndarray]:
    """Users and items of the histories of the test lists, without items that the fit data do not have."""
    user, item = up_to(events, 1)
    known = np.isin(item, up_to(events, 0)[1])
    return user[known], item[known]


def best_unseen(scores: np.ndarray, events: Events, k: int) -> np.ndarray:
    """The K best films (U, K) of scores (U, N) that are not in the history; equal scores by film."""
    scores[up_to(events, 1)] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.where(np.isneginf(np.take_along_axis(scores, order, axis=1)), -1, order)


def table_lists(users: np.ndarray, items: np.ndarray, ranks: np.ndarray, events: Events, k: int) -> np.ndarray:
    """(U, K) films of a table of recommendations with ranks from 1."""
    lists = np.full((n_users(events), k), -1, dtype=np.int64)
    lists[users, ranks - 1] = items
    return lists


def implicit_model(name: str) -> Callable[[Events, dict[str, Any]], Answer]:
    """A model of implicit: item cosine, alternating least squares, BPR."""

    import scipy.sparse as sp
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking
    from implicit.nearest_neighbours import CosineRecommender
    from threadpoolctl import threadpool_limits

    def fit(events: Events, job: dict[str, Any]) -> Answer:
        def matrix(part: int) -> sp.csr_matrix:
            user, item = up_to(events, part)
            shape = (n_users(events), n_items(events))
            found = sp.csr_matrix((np.ones(len(user), dtype=np.float32), (user, item)), shape=shape)
            found.data[:] = 1.0  # a film that was watched twice counts once
            return found

        threads, seed = job["threads"], job["seed"]
        model = {
            "cosine": lambda: CosineRecommender(num_threads=threads),
            "als": lambda: AlternatingLeastSquares(num_threads=threads, random_state=seed),
            "bpr": lambda: BayesianPersonalizedRanking(num_threads=threads, random_state=seed),
        }[name]()
        with threadpool_limits(1, "blas"):  # as implicit asks for
            model.fit(matrix(0), show_progress=False)
        histories = matrix(1)

        def answer() -> np.ndarray:
            users = np.arange(n_users(events))
            folded = {"recalculate_user": True} if name == "als" else {}
            found, scores = model.recommend(users, histories, N=job["k"], filter_already_liked_items=True, **folded)
            return np.where(np.isfinite(scores) & (scores > np.finfo(np.float32).min), found, -1)

        return answer

    return fit


def lenskit_model(name: str) -> Callable[[Events, dict[str, Any]], Answer]:
    """A model of LensKit: item k-NN, implicit ALS, popularity."""

    import pandas as pd
    from lenskit.als import ImplicitMFScorer
    from lenskit.basic import PopScorer
    from lenskit.batch import recommend
    from lenskit.data import ItemList, RecQuery, from_interactions_df
    from lenskit.knn import ItemKNNScorer
    from lenskit.pipeline import topn_pipeline

    def fit(events: Events, job: dict[str, Any]) -> Answer:
        user, item = up_to(events, 0)
        scorer = {
            "item_knn": lambda: ItemKNNScorer(feedback="implicit"),
            "als": ImplicitMFScorer,
            "popular": PopScorer,
        }[name]()
        pipeline = topn_pipeline(scorer)
        pipeline.train(from_interactions_df(pd.DataFrame({"user_id": user, "item_id": item}).drop_duplicates()))
        histories = pd.DataFrame(dict(zip(("user", "item"), known_histories(events), strict=True))).groupby("user")[
            "item"
        ]

        def answer() -> np.ndarray:
            queries = [
                RecQuery(user_id=int(u), user_items=ItemList(item_ids=np.unique(items))) for u, items in histories
            ]
            found = recommend(pipeline, queries, job["k"], n_jobs=1).to_df()
            return table_lists(
                *(found[column].to_numpy() for column in ("user_id", "item_id", "rank")), events, job["k"]
            )

        return answer

    return fit


def rectools_model(name: str) -> Callable[[Events, dict[str, Any]], Answer]:
    """A model of RecTools: EASE, PureSVD, popularity."""

    import pandas as pd
    from rectools.dataset import Dataset, Interactions
    from rectools.models import EASEModel, PopularModel, PureSVDModel

    def fit(events: Events, job: dict[str, Any]) -> Answer:
        def table(user: np.ndarray, item: np.ndarray) -> pd.DataFrame:
            when = pd.to_datetime(np.arange(len(user)), unit="s")  # their order becomes their time
            return pd.DataFrame({"user_id": user, "item_id": item, "weight": 1.0, "datetime": when})

        model = {"ease": EASEModel, "svd": PureSVDModel, "popular": PopularModel}[name]()
        data = Dataset.construct(table(*up_to(events, 0)))
        model.fit(data)
        if name == "ease":  # the others know users by their place in the fit data
            seen_by_now = Interactions.from_raw(table(*known_histories(events)), data.user_id_map, data.item_id_map)
            data = Dataset(data.user_id_map, data.item_id_map, seen_by_now)
        seen = [set() for _ in range(n_users(events))]
        for user, item in zip(*up_to(events, 1), strict=True):
            seen[user].add(item)

        def answer() -> np.ndarray:
            users = np.unique(events["user"])
            found = model.recommend(users, data, k=job["k"] + 1, filter_viewed=True)
            fresh = [item not in seen[user] for user, item in zip(found["user_id"], found["item_id"], strict=True)]
            found = found[fresh]
            rank = found.groupby("user_id").cumcount().to_numpy() + 1
            short = rank <= job["k"]
            columns = (found["user_id"].to_numpy()[short], found["item_id"].to_numpy()[short], rank[short])
            return table_lists(*columns, events, job["k"])

        return answer

    return fit


def recbole_model(name: str) -> Callable[[Events, dict[str, Any]], Answer]:
    """A model of RecBole with its own stopping on validation: BPR, LightGCN, item k-NN."""

    import pandas as pd
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    def fit(events: Events, job: dict[str, Any]) -> Answer:
        torch.set_num_threads(job["threads"])
        Path("events").mkdir()
        table = pd.DataFrame({"u": events["user"], "i": events["item"], "t": np.arange(len(events["user"]))})
        table.columns = ["user_id:token", "item_id:token", "timestamp:float"]
        table.to_csv("events/events.inter", sep="\t", index=False)
        settings = {
            "data_path": str(Path.cwd()),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
            "valid_metric": "NDCG@10",
            "use_gpu": False,
            "show_progress": False,
            "seed": job["seed"],
            "state": "ERROR",
            **({"epochs": job["epochs"]} if job["epochs"] else {}),
        }
        argv, sys.argv = sys.argv, sys.argv[:1]  # RecBole reads options of the command line too
        config = Config(model=RECBOLE[name], dataset="events", config_dict=settings)
        sys.argv = argv
        init_seed(job["seed"], reproducibility=True)
        dataset = create_dataset(config)
        train, valid, _ = data_preparation(config, dataset)
        model = get_model(config["model"])(config, train.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        load = torch.load
        torch.load = lambda *args, **kwargs: load(*args, **{**kwargs, "weights_only": False})  # its own checkpoint
        trainer.fit(train, valid, saved=True, show_progress=False)
        checkpoint = torch.load(trainer.saved_model_file, map_location="cpu")
        model.load_state_dict(checkpoint["state_dict"])
        model.load_other_parameter(checkpoint.get("other_parameter"))
        model.eval()

        def answer() -> np.ndarray:
            users = np.arange(n_users(events))
            inner = torch.as_tensor(dataset.token2id("user_id", users.astype(str)))
            items = np.array(
                [int(t) if t.isdigit() else -1 for t in dataset.id2token("item_id", np.arange(dataset.item_num))]
            )
            scores = np.full((n_users(events), n_items(events)), -np.inf, dtype=np.float32)
            for rows in torch.arange(len(users)).split(512):
                with torch.no_grad():
                    found = model.full_sort_predict({"user_id": inner[rows]}).view(len(rows), -1).numpy()
                scores[np.ix_(users[rows], items[items >= 0])] = found[:, items >= 0]
            return best_unseen(scores, events, job["k"])

        return answer

    return fit


def rechub_model(name: str) -> Callable[[Events, dict[str, Any]], Answer]:
    """Torch-RecHub's DSSM over user and item ids, point-wise with three negatives each, as in its examples."""
    import torch
    from torch_rechub.basic.features import SparseFeature
    from torch_rechub.models.matching import DSSM
    from torch_rechub.trainers import MatchTrainer
    from torch_rechub.utils.data import MatchDataGenerator

    def fit(events: Events, job: dict[str, Any]) -> Answer:
        torch.set_num_threads(job["threads"])
        torch.manual_seed(job["seed"])
        user, item = up_to(events, 0)
        users = [SparseFeature("user_id", vocab_size=n_users(events), embed_dim=16)]
        items = [SparseFeature("item_id", vocab_size=n_items(events), embed_dim=16)]
        tower = {"dims": [256, 128, 64], "activation": "prelu"}
        model = {"dssm": DSSM}[name](users, items, temperature=0.02, user_params=tower, item_params=tower)
        trainer = MatchTrainer(model, mode=0, n_epoch=job["epochs"] or 10, model_path=str(Path.cwd()))
        rng = np.random.default_rng(job["seed"])
        negatives = rng.integers(n_items(events), size=3 * len(item))
        x = {"user_id": np.concatenate([user, np.repeat(user, 3)]), "item_id": np.concatenate([item, negatives])}
        y = np.concatenate([np.ones(len(item)), np.zeros(len(negatives))]).astype(np.float32)
        every_user, every_item = np.arange(n_users(events)), np.arange(n_items(events))
        train, user_batches, item_batches = MatchDataGenerator(x, y).generate_dataloader(
            {"user_id": every_user}, {"item_id": every_item}, batch_size=4096
        )
        trainer.fit(train)

        def answer() -> np.ndarray:
            path = str(Path.cwd())
            vectors = [
                trainer.inference_embedding(model, mode=mode, data_loader=batches, model_path=path).numpy()
                for mode, batches in (("user", user_batches), ("item", item_batches))
            ]
            return best_unseen(vectors[0] @ vectors[1].T, events, job["k"])

        return answer

    return fit


LIBRARIES: dict[str, Callable[[str], Callable[[Events, dict[str, Any]], Answer]]] = {
    "implicit": implicit_model,
    "lenskit": lenskit_model,
    "rectools": rectools_model,
    "recbole": recbole_model,
    "torch-rechub": rechub_model,
}

if __name__ == "__main__":
    main()
