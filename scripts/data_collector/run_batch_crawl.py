"""Fetch TMDb's documents of the data set's movies into <data_dir>/raw/tmdb/, if they are not there yet.

A document has details, credits, keywords and translations; there is one for every tmdbId in links, in one language.
After Ctrl-C or any other stop, the same command resumes. The key is TMDB_API_KEY in the environment or in .env (see
.env.example); docs/tmdb.md explains how to get one. process_tmdb_json.py converts the documents into tables.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print(
        "error: run it from the repository's root, as PYTHONPATH=. python scripts/data_collector/run_batch_crawl.py",
        file=sys.stderr,
    )
    sys.exit(2)

from dataclasses import asdict
from typing import TYPE_CHECKING

from data_collector.tmdb.config import CrawlConfig
from reccore.errors import DataError
from scripts._cli import facts_text, parse_command, run

if TYPE_CHECKING:
    from data_collector.tmdb.crawl import CrawlReport


def main(argv: list[str] | None = None) -> None:
    """Parse, crawl, print the report.

    Raises:
        DataError: every request of this run failed.
    """
    command = parse_command(argv, __doc__, CrawlConfig)
    from data_collector.tmdb.crawl import api_address, crawl
    from data_collector.tmdb.key import read_key

    config = command.settings
    api_address(config.base_url)  # before the key is read, so that a wrong address is not reported as a missing key
    report = crawl(command.workspace, read_key(), config, command.options)
    command.emit(asdict(report), _text(report))
    if report.all_failed:
        raise DataError(
            f"all {report.requested:,} requests failed, such as {report.reason}; run the same command again later"
        )


def _text(report: CrawlReport) -> str:
    facts = {name: value for name, value in asdict(report).items() if value is not None}
    return facts_text(facts)


if __name__ == "__main__":
    run(main)
