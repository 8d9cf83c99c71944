"""Fetch what TMDb knows of the data set's movies into raw/tmdb/ of the data root, and only what is not there yet.

Details with credits, keywords and translations, for every tmdbId of links, in one language. Stop it by Ctrl-C or in
any other way: the same command goes on where it was. The key is TMDB_API_KEY of the environment or of .env (see
.env.example); docs/tmdb.md says how to get one. process_tmdb_json.py makes tables of what was fetched.
"""

from __future__ import annotations

from dataclasses import asdict

from data_collector.tmdb.crawl import BASE_URL, CrawlConfig, CrawlReport, api_address, crawl
from data_collector.tmdb.key import read_key
from scripts import _cli


def main(argv: list[str] | None = None) -> None:
    """Parse, crawl, print where things stand."""
    parser = _cli.build_parser(__doc__)
    parser.add_argument("--workers", type=int, metavar="N", help="requests at the same time (default: 50)")
    parser.add_argument("--rate", type=int, metavar="N", help="most requests in any second (default: 40)")
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="only the data set's first N movies that have a tmdbId, those fetched before included (default: all)",
    )
    parser.add_argument("--base_url", metavar="URL", help=f"address of the API (default: {BASE_URL})")
    parser.add_argument("--language", metavar="CODE", help="such as en-US or zh-CN (default: en-US)")
    parser.add_argument(
        "--max_age_days",
        type=float,
        metavar="DAYS",
        help="ask again for what was last confirmed longer ago; 0: for all (default: never)",
    )
    parser.add_argument(
        "--posters", action="store_true", default=None, help="fetch posters too, to raw/tmdb/posters/SIZE/"
    )
    parser.add_argument("--poster_size", metavar="SIZE", help="w92, w154, w185, w342, … original (default: w342)")
    parser.add_argument("--image_base_url", metavar="URL", help="address of images (default: what TMDb says)")
    args = parser.parse_args(argv)
    settings = _cli.read_settings(args, {name: getattr(args, name) for name in CrawlConfig.model_fields})
    options = _cli.run_options(args, settings)
    config = CrawlConfig.parse(settings)
    api_address(config.base_url)  # before the key is read, lest a mistyped address be taken for a missing key
    report = crawl(_cli.workspace(args), read_key(), config, options)
    _cli.emit(args, asdict(report), _text(report))


def _text(report: CrawlReport) -> str:
    facts = {name: value for name, value in asdict(report).items() if value is not None}
    return _cli.facts_text(facts)


if __name__ == "__main__":
    _cli.run(main)
