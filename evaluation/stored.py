"""An evaluation as a file, so that a long comparison does not repeat it."""

from __future__ import annotations

import json
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.evaluate import Evaluation
from evaluation.significance import Interval
from reccore import ArtefactError

_PREFIX = "per_query/"
_USERS = "users"


def write_evaluation(path: Path, evaluation: Evaluation, facts: Mapping[str, Any]) -> None:
    """Write an evaluation and plain ``facts`` about it as one ``.npz`` file, atomically."""
    about = {**evaluation.to_dict(), "ks": evaluation.ks, "holdout_id": evaluation.holdout_id, "facts": dict(facts)}
    arrays: dict[str, np.ndarray] = {_PREFIX + metric: values for metric, values in evaluation.per_query.items()}
    if evaluation.users is not None:
        arrays[_USERS] = evaluation.users
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.npz")
    try:
        np.savez_compressed(temporary, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_evaluation(path: Path) -> tuple[Evaluation, dict[str, Any]]:
    """The evaluation and the facts of a file that ``write_evaluation`` wrote.

    Raises:
        ArtefactError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            about: dict[str, Any] = json.loads(str(stored["about"]))
            per_query = {name.removeprefix(_PREFIX): stored[name] for name in stored.files if name.startswith(_PREFIX)}
            users = stored[_USERS] if _USERS in stored.files else None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ArtefactError(f"{path} is not a stored evaluation: {error}") from error
    facts: dict[str, Any] = about.pop("facts")
    metrics = {name: Interval(**interval) for name, interval in about.pop("metrics").items()}
    about["ks"] = tuple(about["ks"])
    return Evaluation(per_query=per_query, metrics=metrics, users=users, **about), facts
