"""Cut the processed data into fit, validation and test, and align the feature tables.

Writes <data_dir>/processed/two_tower/.

    PYTHONPATH=. python scripts/prepare_two_tower_data.py
    PYTHONPATH=. python scripts/prepare_two_tower_data.py --protocol global_time
"""

from __future__ import annotations

from dataprep.prepare import prepare
from dataprep.splits import parse_protocol
from reccore import ComponentConfig
from scripts._cli import build_parser, emit, facts_text, read_settings, run, run_options, workspace


class PrepareSettings(ComponentConfig):
    """Options of the command."""

    protocol: str = "leave_one_out"


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__)
    parser.add_argument(
        "--protocol", help="leave_one_out (default), leave_last_<n>, global_time[:<unix seconds>], none"
    )
    args = parser.parse_args(argv)
    settings = read_settings(args, {"protocol": args.protocol})
    run_options(args, settings)  # nothing here is random; the values are checked all the same
    protocol = parse_protocol(PrepareSettings.parse(settings).protocol)
    space = workspace(args)
    prepared = prepare(space, protocol)
    prepared.save(space.prepared)
    split = prepared.split
    test = split.test()
    result = {
        "path": str(space.prepared),
        "protocol": protocol.name,
        "users": split.interactions.n_users,
        "items": split.interactions.n_items,
        "fit_events": int(split.fit_stop.sum()),
        "valid_targets": int((split.valid_stop - split.fit_stop).sum()),
        "test_targets": len(test.target_idx),
        "test_users": len(test),
        "tied_targets": None if test.tied is None or len(test) == 0 else round(float(test.tied.mean()), 4),
    }
    emit(args, result, facts_text(result))


if __name__ == "__main__":
    run(main)
