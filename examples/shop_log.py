"""Write the log and the product list of a small made-up shop, to try docs/own_data.md on.

    PYTHONPATH=. python examples/shop_log.py --to shop

Customers have ids of text and like two kinds of products each; what they look at next is often of the kind before.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from reccore import ComponentConfig
from scripts._cli import facts_text, parse_command, run

KINDS = ("Mug", "Plate", "Lamp", "Chair", "Towel", "Candle", "Basket", "Clock")
ROOMS = ("Kitchen", "Kitchen", "Living", "Living", "Bath", "Bath", "Living", "Kitchen")
COLOURS = ("red", "green", "blue", "white", "black", "oak", "steel", "clay", "amber", "grey", "mint", "rose")
START = 1_717_200_000_000  # 1 June 2024 in milliseconds
DAY = 86_400_000


class ShopSettings(ComponentConfig):
    """Options of the command."""

    to: Path = Field(default=Path("shop"), description="folder to write log.csv.gz and products.csv to")
    customers: int = Field(default=400, ge=10, description="number of customers")


def products() -> pd.DataFrame:
    """One row for each product."""
    rows = [
        (
            f"{kind.upper()}-{number:03d}",
            f"{colour.capitalize()} {kind.lower()}",
            f"{room}, {kind}s",
            5 + 7 * number % 40,
        )
        for kind, room in zip(KINDS, ROOMS, strict=True)
        for number, colour in enumerate(COLOURS)
    ]
    return pd.DataFrame(rows, columns=["sku", "name", "category", "price"])


def log(customers: int, rng: np.random.Generator) -> pd.DataFrame:
    """One row for each product that a customer looked at, at the first time, in the order of time."""
    n_kinds, n_colours = len(KINDS), len(COLOURS)
    popularity = 1 / np.arange(1, n_colours + 1)
    parts = []
    for customer in range(customers):
        n = int(rng.integers(6, 25))
        liked = rng.choice(n_kinds, 2, replace=False)
        kind = liked[(np.cumsum(rng.random(n) < 0.3)) % 2]  # mostly the kind before
        wanders = rng.random(n) < 0.1
        kind = np.where(wanders, rng.integers(0, n_kinds, n), kind)
        colour = rng.choice(n_colours, n, p=popularity / popularity.sum())
        time = START + int(rng.integers(0, 90 * DAY)) + np.cumsum(rng.integers(1_000, DAY, n))
        sku = [f"{KINDS[k].upper()}-{c:03d}" for k, c in zip(kind.tolist(), colour.tolist(), strict=True)]
        parts.append(pd.DataFrame({"customer_id": f"c-{customer * 7919 % 65536:04x}", "sku": sku, "ts": time}))
    looks = pd.concat(parts).sort_values("ts", kind="stable", ignore_index=True)
    return looks.drop_duplicates(["customer_id", "sku"], ignore_index=True)


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, ShopSettings)
    job = command.settings
    job.to.mkdir(parents=True, exist_ok=True)
    events = log(job.customers, np.random.default_rng(command.options.seed))
    events.to_csv(job.to / "log.csv.gz", index=False)
    products().to_csv(job.to / "products.csv", index=False)
    facts = {"log": str(job.to / "log.csv.gz"), "events": len(events), "products": str(job.to / "products.csv")}
    command.emit(facts, facts_text(facts))


if __name__ == "__main__":
    run(main)
