"""Measure what reranking costs and gains: NDCG@10 against diversity, calibration, novelty and coverage over λ.

Curves of MMR and DPP, by item vectors and by genres, and of genre calibration, over the candidates of the trained
pipeline. The largest λ of each curve with --min_gain more genre diversity on validation competes there by its loss of
NDCG@10; the winner is reported on test. Writes rerank.md, rerank.json and rerank.png to <data_dir>/reports/.

    PYTHONPATH=. python scripts/evaluate_rerank.py
    PYTHONPATH=. python scripts/evaluate_rerank.py --set 'only=["mmr, genres", "calibrated"]' --trade_offs 0.9,0.7,0.5
    PYTHONPATH=. python scripts/evaluate_rerank.py --pool 100 --min_gain 0.2 --json
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print(
        "error: run it from the repository's root, as PYTHONPATH=. python scripts/evaluate_rerank.py", file=sys.stderr
    )
    sys.exit(2)

from typing import Annotated

from pydantic import BeforeValidator, Field

from reccore import ComponentConfig
from scripts._cli import parse_command, run, split_commas


class EvaluateRerankSettings(ComponentConfig):
    """Options of the command."""

    only: tuple[str, ...] | None = Field(default=None, min_length=1)
    trade_offs: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1)], ...] | None, BeforeValidator(split_commas), Field(min_length=1)
    ] = Field(default=None, description="values of λ, separated by commas (default: 0.95 to 0.3 in steps of 0.05)")
    pool: int = Field(default=30, ge=1, description="number of first candidates that a list is chosen from")
    min_gain: float = Field(default=0.1, ge=0, description="least relative gain of genre diversity of the choice")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, EvaluateRerankSettings)
    from experiments.evaluate_rerank import evaluate_rerank
    from experiments.rerank_curve import TRADE_OFFS, curve_table

    job = command.settings
    result = evaluate_rerank(
        command.workspace,
        only=job.only,
        trade_offs=job.trade_offs or TRADE_OFFS,
        pool=job.pool,
        min_gain=job.min_gain,
        seed=command.options.seed,
    )
    text = "\n\n".join([result.protocol, curve_table(result.test), result.sentence, f"report: {result.report}"])
    command.emit({**result.to_dict(), "report": str(result.report)}, text)


if __name__ == "__main__":
    run(main)
