"""Every registered class goes by its name in the registry, and belongs to the registry's kind."""

from __future__ import annotations

from typing import Any

import pytest

from ranking import RANKERS
from recall import CHANNELS
from recall.index import INDEXES
from reccore.component import Registry
from rerank import RERANKERS

ENTRIES = [(registry, name) for registry in (CHANNELS, RANKERS, RERANKERS, INDEXES) for name in registry]


@pytest.mark.parametrize(("registry", "name"), ENTRIES, ids=[f"{r.kind}-{name}" for r, name in ENTRIES])
def test_the_key_of_a_class_is_its_name(registry: Registry[Any], name: str) -> None:
    assert (registry[name].name, registry[name].kind) == (name, registry.kind)
