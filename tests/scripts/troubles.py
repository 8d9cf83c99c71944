"""Malformed inputs and wrong uses: how each comes about, the command that meets it, and the sentence it ends with.

``docs/troubleshooting.md`` explains every one of these sentences; ``test_troubleshooting.py`` holds both together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reccore import Workspace

Make = Callable[[Workspace], object]


@dataclass(frozen=True)
class Trouble:
    """One wrong use.

    Attributes:
        what: in a few words, for the test's name.
        make: changes the data root beforehand; files of the user are made under ``mine/``.
        command: name of the script.
        argv: its options; ``ROOT`` stands for the data root.
        sentence: of the page, or its beginning; ``…`` stands for what depends on the case.
    """

    what: str
    make: Make
    command: str
    argv: Sequence[str]
    sentence: str


def nothing(space: Workspace) -> None:
    """The data root as it is: prepared, trained, evaluated."""


def text(name: str, content: str) -> Make:
    """A file of the user."""

    def make(space: Workspace) -> None:
        file = space.root / "mine" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(content, encoding="utf-8")

    return make


def parquet(name: str, **columns: object) -> Make:
    """A Parquet file of the user."""

    def make(space: Workspace) -> None:
        (space.root / "mine").mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), space.root / "mine" / name)

    return make


def without(*parts: str) -> Make:
    """Folders of the data root that are not there yet."""

    def make(space: Workspace) -> None:
        import shutil

        for part in parts:
            shutil.rmtree(space.root / part)

    return make


def manifest_of(model: str, change: Callable[[dict], object]) -> Make:  # type: ignore[type-arg]
    """Another content of a manifest."""

    def make(space: Workspace) -> None:
        file = space.model(model) / "manifest.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return make


def bytes_of(model: str, name: str) -> Make:
    """A flipped byte in a file of a model."""

    def make(space: Workspace) -> None:
        file = space.model(model) / name
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))

    return make


def vectors(space: Workspace) -> None:
    """A matrix with more rows than ids."""
    folder = space.root / "mine"
    folder.mkdir()
    np.save(folder / "cover.npy", np.zeros((3, 2), dtype=np.float32))
    (folder / "cover.csv").write_text("movieId\n5\n12\n")


def shorter_ratings(space: Workspace) -> None:
    """Tables that changed after the data was prepared."""
    file = space.processed / "ratings.parquet"
    pq.write_table(pq.read_table(file).slice(0, 1000), file)


def retrained(space: Workspace) -> None:
    from pipeline.fitting import train_channel
    from tests.pipeline.small import QUIET

    train_channel(space, "mf", {"embedding_size": 4, "epochs": 1}, options=QUIET)


def no_split(space: Workspace) -> None:
    from pipeline.fitting import train_channel
    from tests.pipeline.small import QUIET

    train_channel(space, "popularity", {}, protocol="none", options=QUIET)


def two_events(space: Workspace) -> None:
    from pipeline.fitting import train_channel
    from tests.pipeline.small import QUIET

    parquet("events.parquet", userId=[1, 1, 2, 2], movieId=[5, 12, 5, 19])(space)
    file = space.root / "mine" / "events.parquet"
    train_channel(space, "popularity", {}, input_path=file, protocol="leave_one_out", options=QUIET)


EVENTS = ["--interactions", "ROOT/mine/events.csv"]
INPUT = ["--model", "popularity", "--input", "ROOT/mine/events.parquet"]
CONFIG = ["--config", "ROOT/mine/run.toml"]
SMALL = {"userId": [1, 1, 1], "movieId": [5, 12, 19]}

OWN_DATA = [
    Trouble("no file", nothing, "run_preprocessing", EVENTS, "… does not exist"),
    Trouble("an empty file", text("events.csv", ""), "run_preprocessing", EVENTS, "… is empty"),
    Trouble(
        "a header alone",
        text("events.csv", "userId,movieId\n"),
        "run_preprocessing",
        EVENTS,
        "… is empty: no rows after the header",
    ),
    Trouble(
        "no column of users",
        text("events.csv", "user,movieId\n1,5\n"),
        "run_preprocessing",
        EVENTS,
        "… has no column userId; its columns are …",
    ),
    Trouble(
        "no column of items",
        text("events.csv", "userId,film\n1,5\n"),
        "run_preprocessing",
        EVENTS,
        "… has no column movieId or itemId; its columns are …",
    ),
    Trouble(
        "ratings that are no numbers",
        text("events.csv", "userId,movieId,rating\n1,5,good\n1,6,4\n"),
        "run_preprocessing",
        EVENTS,
        "…: … of … rows (…%) are invalid, more than …%: … First: line ….",
    ),
    Trouble(
        "a rating NaN",
        text("events.csv", "userId,movieId,rating\n1,5,NaN\n1,6,4\n"),
        "run_preprocessing",
        EVENTS,
        "…: … of … rows (…%) are invalid, more than …%: … First: line ….",
    ),
    Trouble(
        "an id missing",
        text("events.csv", "userId,movieId\n,5\n1,6\n"),
        "run_preprocessing",
        EVENTS,
        "…: … of … rows (…%) are invalid, more than …%: … First: line ….",
    ),
    Trouble(
        "text in a Parquet file",
        text("events.parquet", "userId,movieId\n1,5\n"),
        "run_preprocessing",
        ["--interactions", "ROOT/mine/events.parquet"],
        "… is not a Parquet file",
    ),
    Trouble(
        "another kind of file",
        text("events.xlsx", "x"),
        "run_preprocessing",
        ["--interactions", "ROOT/mine/events.xlsx"],
        "… has no column movieId or itemId; its columns are …",
    ),
    Trouble(
        "items without events",
        text("items.csv", "movieId\n5\n"),
        "run_preprocessing",
        ["--items", "ROOT/mine/items.csv"],
        "--items and --users belong to own data: give --interactions FILE",
    ),
    Trouble(
        "a data set that is not there",
        nothing,
        "run_preprocessing",
        ["--dataset", "ml-1m"],
        "no data set '…' under …; there is …",
    ),
    Trouble(
        "vectors of another length",
        vectors,
        "run_preprocessing",
        ["--item_vectors", "cover=ROOT/mine/cover.npy:ROOT/mine/cover.csv"],
        "… has … rows and … … ids; row r must belong to id r",
    ),
    Trouble(
        "training events without users",
        parquet("events.parquet", movieId=[1, 2]),
        "train_recall",
        INPUT,
        "… needs columns userId and movieId (or itemId); it has …",
    ),
    Trouble(
        "training events with missing ids",
        parquet("events.parquet", userId=[1, None], movieId=[5, 12]),
        "train_recall",
        INPUT,
        "…: column … has … empty values",
    ),
    Trouble(
        "training events with times NaN",
        parquet("events.parquet", **SMALL, timestamp=[1.0, float("nan"), 3.0]),
        "train_recall",
        INPUT,
        "…: column … does not fit int64: …",
    ),
    Trouble(
        "a test file without targets",
        parquet("test.parquet", userId=[3]),
        "evaluate_recall",
        ["--models", "mf", "--test", "ROOT/mine/test.parquet"],
        "… needs columns userId and movieId (or itemId); it has …",
    ),
    Trouble(
        "users with too few events",
        two_events,
        "evaluate_recall",
        ["--models", "popularity"],
        "protocol leave_one_out leaves no test events; leave_one_out",
    ),
]
CONFIGS = [
    Trouble("TOML that is none", text("run.toml", "epochs = "), "train_recall", CONFIG, "cannot read --config …"),
    Trouble(
        "an unknown option",
        text("run.toml", 'model = "mf"\nfactors = 8'),
        "train_recall",
        CONFIG,
        "…: no such option (got …). Known options: …",
    ),
    Trouble(
        "a wrong type",
        text("run.toml", 'model = "mf"\nepochs = "five"'),
        "train_recall",
        CONFIG,
        "…: Input should be a valid … (got …)",
    ),
    Trouble(
        "a value in place of a table",
        text("run.toml", 'merge = 3\nmodels = ["mf"]'),
        "evaluate_recall",
        CONFIG,
        "…: must be a table of options with a kind (got …)",
    ),
    Trouble(
        "a circle of files",
        text("run.toml", 'extends = "run.toml"'),
        "train_recall",
        CONFIG,
        "cannot read --config … which extends …: a circle; one of these",
    ),
    Trouble(
        "a value out of range",
        nothing,
        "train_recall",
        ["--model", "two_tower", "--learning_rate", "-1"],
        "…: Input should be greater than … (got …)",
    ),
    Trouble(
        "a setting without a value",
        nothing,
        "train_recall",
        ["--model", "mf", "--set", "epochs"],
        "--set needs KEY=VALUE, got …",
    ),
    Trouble(
        "an unknown model",
        nothing,
        "train_recall",
        ["--model", "svd"],
        "argument …: invalid choice: … (choose from …); … --help lists",
    ),
    Trouble(
        "an unknown flag",
        nothing,
        "train_recall",
        ["--model", "mf", "--epoch", "3"],
        "unrecognized arguments: …; … --help lists the options",
    ),
    Trouble(
        "an unknown protocol",
        nothing,
        "prepare_two_tower_data",
        ["--protocol", "random"],
        "unknown protocol …; known: …",
    ),
    Trouble(
        "a device that is not here",
        nothing,
        "train_recall",
        ["--model", "two_tower", "--device", "cuda:7"],
        "device … is not available here; try --device cpu (…)",
    ),
    Trouble(
        "a name that leads elsewhere",
        nothing,
        "train_recall",
        ["--model", "mf", "--name", "../x"],
        "… is not a usable model name; use letters, digits, - and _",
    ),
    Trouble(
        "a merge of nobody knows what",
        nothing,
        "evaluate_recall",
        ["--set", "merge.k0=10"],
        "merge has no use without the channels to merge; name them:",
    ),
    Trouble(
        "ratings of known users",
        nothing,
        "evaluate_recall",
        ["--min_rating", "4"],
        "--min_rating belongs to --new_users; add it, or leave out",
    ),
]
ORDER = [
    Trouble(
        "nothing downloaded",
        without("raw"),
        "run_preprocessing",
        [],
        "no data set under …; run first: PYTHONPATH=. python",
    ),
    Trouble(
        "nothing preprocessed",
        without("processed"),
        "prepare_two_tower_data",
        [],
        "processed ratings not found at …; run first: PYTHONPATH=. python",
    ),
    Trouble(
        "nothing prepared",
        without("processed/two_tower"),
        "train_recall",
        ["--model", "mf"],
        "prepared data not found at …; run first: PYTHONPATH=. python",
    ),
    Trouble(
        "nothing trained",
        without("models"),
        "evaluate_recall",
        [],
        "no recall model under …; run first: PYTHONPATH=. python",
    ),
    Trouble(
        "a channel not trained",
        without("models/mf"),
        "train_ranking",
        [],
        "recall channel … is not trained; run first: PYTHONPATH=. python",
    ),
    Trouble(
        "no pipeline",
        without("models/pipeline"),
        "recommend",
        ["--user", "3"],
        "no pipeline at …; run first: PYTHONPATH=. python",
    ),
    Trouble(
        "tables that changed",
        shorter_ratings,
        "train_recall",
        ["--model", "mf"],
        "the tables under … changed after the data was prepared (…); run",
    ),
    Trouble(
        "a channel trained again",
        retrained,
        "recommend",
        ["--user", "3"],
        "… was trained again after the pipeline at … was built; run",
    ),
    Trouble(
        "no held-out events",
        no_split,
        "evaluate_recall",
        ["--models", "popularity"],
        "protocol … leaves no … events; train with --protocol",
    ),
]
BUNDLES = [
    Trouble(
        "a manifest that is no JSON",
        lambda s: (s.model("mf") / "manifest.json").write_text("{"),
        "evaluate_recall",
        [],
        "… is damaged, so the model is neither taken nor left out; train",
    ),
    Trouble(
        "a named channel with such a manifest",
        lambda s: (s.model("mf") / "manifest.json").write_text("{"),
        "evaluate_recall",
        ["--models", "mf"],
        "… cannot be read: …; make it again or restore it from a copy",
    ),
    Trouble(
        "a file that is missing",
        lambda s: (s.model("mf") / "vocabulary.npz").unlink(),
        "evaluate_recall",
        ["--models", "mf"],
        "… is damaged: … is missing; make it again or restore it from a",
    ),
    Trouble(
        "a flipped byte",
        bytes_of("mf", "vocabulary.npz"),
        "evaluate_recall",
        ["--models", "mf"],
        "… is damaged: … does not have the hash of the manifest; make it",
    ),
    Trouble(
        "another format",
        manifest_of("mf", lambda m: m.update(format_version=0)),
        "evaluate_recall",
        ["--models", "mf"],
        "… does not have format …; write it again with this version",
    ),
    Trouble(
        "a ranker as a channel",
        nothing,
        "evaluate_recall",
        ["--models", "deepfm"],
        "… is a … bundle, a … bundle is needed",
    ),
    Trouble(
        "a channel of the pipeline deleted",
        without("models/mf"),
        "recommend",
        ["--user", "3"],
        "the pipeline at … needs …, which is no longer there; train it",
    ),
    Trouble(
        "a damaged manifest of the tables",
        lambda s: (s.processed / "processed.json").write_text("{"),
        "prepare_two_tower_data",
        [],
        "… is damaged (…); run PYTHONPATH=. python",
    ),
    Trouble(
        "a name of another kind",
        nothing,
        "train_recall",
        ["--model", "mf", "--name", "deepfm"],
        "… holds a … model; choose another --name",
    ),
]
REQUESTS = [
    Trouble("nobody", nothing, "recommend", [], "give --user ID, --history IDS, or both"),
    Trouble(
        "an unknown user", nothing, "recommend", ["--user", "4"], "user … is not known here; give a history instead"
    ),
    Trouble(
        "an unreadable history",
        nothing,
        "recommend",
        ["--history", "5:x"],
        "an event is written ID, ID:RATING or ID:RATING@TIME, got …",
    ),
    Trouble(
        "no films",
        nothing,
        "recommend",
        ["--user", "3", "--k", "0"],
        "…: Input should be greater than or equal to … (got …)",
    ),
    Trouble(
        "an unknown film",
        nothing,
        "explain",
        ["--user", "3", "--movie", "6"],
        "movie … is not in the catalogue of this pipeline (… films), so",
    ),
]
TROUBLES = [*OWN_DATA, *CONFIGS, *ORDER, *BUNDLES, *REQUESTS]
