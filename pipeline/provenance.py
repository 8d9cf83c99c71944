"""The data that trained models were fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataprep.prepare import Prepared, load_prepared, prepare_file
from dataprep.protocols import parse_protocol
from dataprep.readers.own import EventFile
from dataprep.table_hashes import TMDB, changed_tables
from reccore import ArtefactError, Workspace
from reccore.bundle import read_manifest


def data_of(workspace: Workspace, models: Sequence[str | Path]) -> Prepared:
    """The data that the given models were fitted on, under the protocol they were fitted with.

    Args:
        workspace: data root that holds the data.
        models: names under ``models/``, or folders of bundles; that of a pipeline stands for all its parts.

    Raises:
        ArtefactError: the models were fitted on different data, or its tables changed since.
        NotReadyError: there is no prepared data.
        DataError: the file they were fitted on is gone.
    """
    facts = (read_manifest(_folder(workspace, models[0])) or {}).get("data")
    if facts is None:
        raise ArtefactError(
            f"the manifest of {models[0]} does not say what it was fitted on; train it by train_recall.py"
        )
    protocol = parse_protocol(facts["protocol"])
    if facts["input"] is not None:
        prepared = prepare_file(EventFile.of_facts(facts), workspace, protocol)
    else:
        prepared = load_prepared(workspace.prepared)
        if prepared.split.protocol != protocol.name:
            prepared = prepared.resplit(protocol)
    check_protocol(workspace, models, prepared)
    return prepared


def check_protocol(workspace: Workspace, models: Sequence[str | Path], prepared: Prepared) -> None:
    """Raise ``ArtefactError`` if a model was fitted on other data, or under another protocol, than ``prepared``.

    The catalogue of a file given as ``--input`` also holds the movies that the data root lists. The same file can
    therefore get another vocabulary later, whose indices have other meanings.
    """
    at_hand = prepared.provenance
    for name in models:
        manifest = read_manifest(_folder(workspace, name)) or {}
        data = manifest.get("data", {})
        mend = f"train it again with {train_command(name, manifest)}, or leave it out"
        if any(data.get(fact) != at_hand[fact] for fact in ("fingerprint", "protocol")):
            raise ArtefactError(f"{name} was fitted on {_describe(data)}, not on {_describe(at_hand)}; {mend}")
        changed = _changed(data, at_hand)
        if changed:
            raise ArtefactError(f"{name} was fitted before {', '.join(changed)} changed; {mend}")
        if manifest.get("vocabulary") != prepared.vocabulary.fingerprint:
            raise ArtefactError(
                f"{name} was fitted with vocabulary {str(manifest.get('vocabulary'))[:12]}; with the movies that "
                f"{workspace.processed} lists now it is {prepared.vocabulary}; {mend}"
            )


def train_command(model: str | Path, manifest: Mapping[str, Any]) -> str:
    """The command that trains the model of a manifest again under its name, or builds a pipeline, with defaults."""
    if manifest.get("kind") == "pipeline":
        return "PYTHONPATH=. python scripts/train_ranking.py"
    script = "train_ranking.py" if manifest.get("kind") == "ranking" else "train_recall.py"
    component = str(manifest.get("component", "MODEL"))
    name = model.name if isinstance(model, Path) else model
    named = "" if component == name else f" --name {name}"
    return f"PYTHONPATH=. python scripts/{script} --model {component}{named}"


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Tables that differ between two states of processed data; metadata of TMDb may be added at any time."""
    if "tables" not in then or "tables" not in now:  # of a file given as --input
        return []
    return [name for name in changed_tables(then["tables"], now["tables"]) if not name.startswith(TMDB)]


def _folder(workspace: Workspace, model: str | Path) -> Path:
    return model if isinstance(model, Path) else workspace.model(model)


def _describe(data: Mapping[str, Any]) -> str:
    """Data set, the beginning of its content's hash, and protocol."""
    return f"{data.get('dataset')} ({str(data.get('fingerprint'))[:8]}) under {data.get('protocol')}"
