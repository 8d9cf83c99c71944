"""The data that trained models were fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataprep.prepare import Prepared, prepare_file
from dataprep.splits import parse_protocol
from reccore import ArtefactError, Workspace
from reccore.bundle import read_manifest
from reccore.workspace import require


def data_of(workspace: Workspace, names: Sequence[str]) -> Prepared:
    """The data that the given models were fitted on, under the protocol they were fitted with.

    Raises:
        ArtefactError: the models were fitted on different data.
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
    check_protocol(workspace, names, prepared)
    return prepared


def check_protocol(workspace: Workspace, names: Sequence[str], prepared: Prepared) -> None:
    """Raise ``ArtefactError`` if a model was fitted on other data, or under another protocol, than ``prepared``.

    The catalogue of a file given as ``--input`` also holds the movies that the data root lists. The same file can
    therefore get another vocabulary later, whose indices have other meanings.
    """
    for name in names:
        manifest = read_manifest(workspace.model(name)) or {}
        data = manifest.get("data", {})
        at_hand = prepared.provenance
        if any(data.get(fact) != at_hand[fact] for fact in ("fingerprint", "protocol")):
            raise ArtefactError(
                f"{name} was fitted on {_describe(data)}, not on {_describe(at_hand)}; "
                f"train {name} again on that, or leave it out"
            )
        if manifest.get("vocabulary") != prepared.vocabulary.fingerprint:
            raise ArtefactError(
                f"{name} was fitted with vocabulary {str(manifest.get('vocabulary'))[:12]}; with the movies that "
                f"{workspace.processed} lists now it is {prepared.vocabulary}; train {name} again, or leave it out"
            )


def _describe(data: Mapping[str, Any]) -> str:
    """Data set, the beginning of its content's hash, and protocol."""
    return f"{data.get('dataset')} ({str(data.get('fingerprint'))[:8]}) under {data.get('protocol')}"
