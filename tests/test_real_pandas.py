"""A pandas analysis of a CSV file gives the same figures as outside."""

import io
from pathlib import Path

import pytest

import csandbox
from real import need
from real.orders import orders_csv
from real.outside import outside

need("numpy")
need("pandas")

PROGRAM = (Path(__file__).parent / "real" / "pandas_program.py").read_text()
SECONDS = 60.0


@pytest.fixture(scope="module")
def inputs():
    return {"csv_text": orders_csv()}


@pytest.fixture(scope="module")
def expected(inputs):
    figures = outside(PROGRAM, inputs)
    assert figures["rows"] == 10_000
    return figures


def test_figures_are_the_same_inside_and_outside(inputs, expected):
    result = csandbox.execute(PROGRAM, inputs=inputs, timeout=SECONDS)
    assert result.ok, result.error
    assert result.value == expected
    assert "unit_price" in result.stdout


def test_figures_are_the_same_with_pandas_preloaded(inputs, expected):
    for _ in range(3):
        figures = csandbox.run(
            PROGRAM, inputs=inputs, timeout=SECONDS, preload=("pandas",)
        )
        assert figures == expected


def test_a_function_that_uses_pandas_can_be_shipped(inputs):
    def total(text, *, column):
        import pandas

        return float(pandas.read_csv(io.StringIO(text))[column].sum())

    args = (inputs["csv_text"],)
    kwargs = {"column": "quantity"}
    figure = csandbox.run(total, args, kwargs, timeout=SECONDS)
    assert figure == total(*args, **kwargs)
