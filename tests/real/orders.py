"""A table of orders such as a shop exports, the same on every machine."""

import csv
import io
import random
from datetime import datetime, timedelta

COLUMNS = (
    "order_id",
    "placed_at",
    "customer",
    "country",
    "product",
    "quantity",
    "unit_price",
    "discount",
    "comment",
)
PRODUCTS = {
    "desk lamp": 39.90,
    "oak desk, 120 cm": 249.00,
    "office chair": 179.50,
    "notebook A5": 3.25,
    "fountain pen": 24.80,
    "ink, 50 ml": 7.15,
    "monitor arm": 89.00,
}
COUNTRIES = ("DE", "FR", "IT", "PL", "SE", "NO", "CÔTE D'IVOIRE")
COMMENTS = ("", "", "", "urgent", 'say "hello"', "two\nlines", "заказ ☕", "-")


def orders_csv(rows=10_000, seed=20240229):
    """Return the table as CSV text with a header and ``rows`` rows."""
    source = random.Random(seed)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    placed = datetime(2023, 1, 1, 6, 0)
    for number in range(rows):
        placed += timedelta(seconds=source.randrange(20, 5000))
        product = source.choice(list(PRODUCTS))
        price = PRODUCTS[product] * source.uniform(0.9, 1.1)
        discount = source.choice(("", "", "0.05", "0.1", "0.25"))
        writer.writerow(
            (
                f"A{number:06d}",
                placed.isoformat(sep=" "),
                f"customer {source.randrange(700):03d}",
                source.choice(COUNTRIES),
                product,
                source.choice((1, 1, 1, 2, 3, 5, 10)),
                f"{price:.2f}",
                discount,
                source.choice(COMMENTS),
            )
        )
    return text.getvalue()
