"""An analysis as a stranger might send it: a CSV table in, figures out."""

import csv
import statistics
import sys

days = {}
for row in csv.DictReader(sys.stdin):
    days.setdefault(row["date"][:4], []).append(row)
print(f"read {sum(map(len, days.values()))} days")

figures = []
for year, rows in days.items():
    highs = [float(row["temp_max"]) for row in rows]
    figures.append(
        {
            "year": int(year),
            "wet days": sum(float(row["precipitation"]) > 0 for row in rows),
            "mean high": round(statistics.fmean(highs), 1),
            "highest": max(highs),
        }
    )

figures
