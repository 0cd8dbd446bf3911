"""The guest program that analyses the table of orders with pandas.

Its input is ``csv_text``; its value is a dict of plain data.
"""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

orders = pd.read_csv(
    io.StringIO(csv_text),  # noqa: F821
    parse_dates=["placed_at"],
    dtype={"country": "category"},
)
orders["discount"] = orders["discount"].fillna(0.0)
orders["amount"] = (
    orders["quantity"] * orders["unit_price"] * (1 - orders["discount"])
)
orders["month"] = orders["placed_at"].dt.strftime("%Y-%m")

by_country = orders.groupby("country", observed=True)["amount"].agg(
    ["count", "sum", "mean", "median", "std"]
)
pivot = orders.pivot_table(
    index="month", columns="product", values="quantity", aggfunc="sum"
).fillna(0)
daily = orders.set_index("placed_at")["amount"].resample("D").sum()
weekly_mean = daily.rolling(7).mean().dropna()
best = (
    orders.groupby("customer")["amount"]
    .sum()
    .sort_values(ascending=False, kind="stable")
    .head(10)
)
prices = orders.groupby("product", as_index=False)["unit_price"].mean()
merged = orders.merge(prices, on="product", suffixes=("", "_mean"))
dear = merged[merged["unit_price"] > merged["unit_price_mean"]]


def quantiles(product):
    amounts = orders.loc[orders["product"] == product, "amount"]
    return product, np.quantile(amounts, [0.1, 0.5, 0.9]).tolist()


with ThreadPoolExecutor(4) as pool:
    spread = dict(pool.map(quantiles, sorted(orders["product"].unique())))

design = np.column_stack(
    [
        np.ones(len(orders)),
        orders["quantity"],
        orders["unit_price"],
        orders["discount"],
    ]
)
fit, *_ = np.linalg.lstsq(design, orders["amount"].to_numpy(), rcond=None)
gram = design.T @ design
resampled = np.random.default_rng(7).choice(orders["amount"], 5000)
written = io.BytesIO()
np.savez_compressed(written, amounts=orders["amount"].to_numpy())
written.seek(0)
with np.load(written) as archive:
    reread = float(archive["amounts"].sum())
orders.to_csv("orders.csv", index=False)
print(orders.describe().to_string())

{
    "rows": len(orders),
    "missing comments": int(orders["comment"].isna().sum()),
    "comments": orders["comment"].value_counts().sort_index().to_dict(),
    "by country": by_country.to_dict("index"),
    "pieces per month": pivot.to_dict("index"),
    "busiest day": daily.idxmax().isoformat(),
    "weekly mean": weekly_mean.tail(5).tolist(),
    "best customers": list(best.items()),
    "dear": len(dear),
    "spread": spread,
    "fit": [round(value, 6) for value in fit.tolist()],
    "gram": [round(value, 2) for value in gram.ravel().tolist()],
    "resampled mean": float(resampled.mean()),
    "reread": reread,
    "file": len(pd.read_csv("orders.csv")),
}
