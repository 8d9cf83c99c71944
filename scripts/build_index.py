"""Choose an index for a trained channel by its measured recall, and replace the channel's index with it.

    PYTHONPATH=. python scripts/build_index.py --model two_tower
    PYTHONPATH=. python scripts/build_index.py --model two_tower --index hnsw --min_recall .995 --k 300
    PYTHONPATH=. python scripts/build_index.py --model two_tower --index ivf --set index_options.n_lists=2000

Recall@k is measured against exact search, with validation queries (histories excluded) or, where the data has no
validation events, with item vectors plus noise. Queries per second are measured alternately with the exact index.
--index auto takes flat, exact search up to 100,000 items. Beyond that it builds and tunes ivf and pq (and hnsw up to
250,000 items) and keeps the fastest that reaches --min_recall, or flat if none is faster. --k should be the length of
the lists in use; the pipeline's is pipeline.per_channel (300).
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/build_index.py", file=sys.stderr)
    sys.exit(2)

from typing import Annotated, Any

from pydantic import Field

from recall.index import AUTO, INDEXES
from reccore import ComponentConfig, ConfigError
from reccore.threads import limit_threads
from scripts._cli import OneOf, parse_command, run

MEGABYTE = 1_000_000
KINDS = (AUTO, *(name for name in INDEXES if name != "brute_force"))


class BuildIndexSettings(ComponentConfig):
    """Options of the command."""

    model: str | None = Field(default=None, description="which channel, such as two_tower")
    name: str | None = Field(default=None, description="folder under models/ (default: the model's name)")
    index: Annotated[str, OneOf(KINDS)] = Field(default=AUTO, description="kind of index")
    index_options: dict[str, Any] = Field(default_factory=dict)
    min_recall: float = Field(default=0.99, gt=0, lt=1, description="share of the exact top k that the index must find")
    k: int = Field(default=100, ge=1, description="length of the lists")
    threads: int | None = Field(
        default=None, ge=1, description="threads of the exact search and of the index alike (default: torch's)"
    )


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, BuildIndexSettings)
    job = command.settings
    if job.model is None and job.name is None:
        raise ConfigError("--model is missing; give the channel whose index is to be built, such as two_tower")
    if job.index not in KINDS:
        raise ConfigError(f"unknown index {job.index!r}; known: {', '.join(KINDS)}")
    import torch

    from pipeline.indexing import build_index
    from recall.index.choose import parse_index

    index = parse_index(job.index, job.index_options)
    threads = job.threads or torch.get_num_threads()
    limit_threads(threads)
    result = build_index(
        command.workspace,
        job.name or str(job.model),
        index=index,
        min_recall=job.min_recall,
        k=job.k,
        options=command.options,
    )
    command.emit({**result, "threads": threads}, _text(result, threads))


def _text(result: dict[str, Any], threads: int) -> str:
    lines = [
        f"{result['items']:,} items, recall@{result['k']} over {result['queries']:,} {result['sample']}, "
        f"{threads} thread{'s' if threads > 1 else ''}",
        f"{'index':<6} {'build s':>8} {'recall':>7} {'queries/s':>10} {'exact':>8} {'ratio':>6} {'MB':>8}  options",
    ]
    for row in result["measured"]:
        options = ", ".join(f"{name} {value}" for name, value in row["options"].items() if value is not None)
        lines.append(
            f"{row['kind']:<6} {row['build_seconds']:>8.2f} {row['recall']:>7.4f} {row['queries_per_second']:>10,.0f} "
            f"{row['exact_queries_per_second']:>8,.0f} {row['speedup']:>6.1f} {row['n_bytes'] / MEGABYTE:>8,.1f}  "
            f"{options}".rstrip()
        )
    return "\n".join([*lines, f"{result['model']} now searches its {result['index']} index: {result['path']}"])


if __name__ == "__main__":
    run(main)
