"""Fetch TMDb's documents of the data set's movies into <data_dir>/raw/tmdb/, if they are not there yet.

A document has details, credits, keywords and translations; there is one for every tmdbId in links, in one language.
After Ctrl-C or any other stop, the same command resumes. The key is TMDB_API_KEY in the environment or in .env (see
.env.example); docs/tmdb.md explains how to get one. process_tmdb_json.py converts the documents into tables.
"""

from __future__ import annotations

from dataclasses import asdict

from data_collector.tmdb.crawl import BASE_URL, CrawlConfig, CrawlReport, api_address, crawl
from data_collector.tmdb.key import read_key
from scripts import _cli


def main(argv: list[str] | None = None) -> None:
    """Parse the options, crawl, print the report."""
    parser = _cli.build_parser(__doc__)
    parser.add_argument("--workers", type=int, metavar="N", help="requests at the same time (default: 50)")
    parser.add_argument("--rate", type=int, metavar="N", help="maximum requests in any second (default: 40)")
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="only the first N movies of the data set with a tmdbId, including those already fetched (default: all)",
    )
    parser.add_argument("--base_url", metavar="URL", help=f"address of the API (default: {BASE_URL})")
    parser.add_argument("--language", metavar="CODE", help="such as en-US or zh-CN (default: en-US)")
    parser.add_argument(
        "--max_age_days",
        type=float,
        metavar="DAYS",
        help="request documents again that were last confirmed longer ago; 0: all (default: never)",
    )
    parser.add_argument(
        "--posters", action="store_true", default=None, help="fetch posters too, to raw/tmdb/posters/SIZE/"
    )
    parser.add_argument("--poster_size", metavar="SIZE", help="w92, w154, w185, w342, … original (default: w342)")
    parser.add_argument("--image_base_url", metavar="URL", help="address of images (default: TMDb's configuration)")
    args = parser.parse_args(argv)
    settings = _cli.read_settings(args, {name: getattr(args, name) for name in CrawlConfig.model_fields})
    options = _cli.run_options(args, settings)
    config = CrawlConfig.parse(settings)
    api_address(config.base_url)  # before reading the key, so that the error names a mistyped address first
    report = crawl(_cli.workspace(args), read_key(), config, options)
    _cli.emit(args, asdict(report), _text(report))


def _text(report: CrawlReport) -> str:
    facts = {name: value for name, value in asdict(report).items() if value is not None}
    return _cli.facts_text(facts)


if __name__ == "__main__":
    _cli.run(main)
