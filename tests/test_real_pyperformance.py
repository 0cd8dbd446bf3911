"""Programs of pyperformance run to their end and answer as outside."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import csandbox
from real import need
from real.outside import outside

pyperformance = need("pyperformance")

PROGRAM = (Path(__file__).parent / "real" / "pyperf_program.py").read_text()
BENCHMARKS = Path(pyperformance.__file__).parent / "data-files" / "benchmarks"


@dataclass(frozen=True)
class Benchmark:
    """A program, its command line, and what to ask of it at the end."""

    name: str
    answer: str = "None"
    arguments: tuple[str, ...] = ()


PICTURE = "open('picture.ppm', 'rb').read()"

CHOSEN = [
    Benchmark(
        "chaos",
        PICTURE,
        ("--width=64", "--height=64", "--filename=picture.ppm"),
    ),
    Benchmark("deltablue"),
    Benchmark("fannkuch", "fannkuch(7)"),
    Benchmark("float", "repr(benchmark(100))"),
    Benchmark("hexiom"),
    Benchmark("json_dumps", "[json.dumps(globals()[c]) for c in CASES]"),
    Benchmark("json_loads", "[json.loads(text) for text in objs]"),
    Benchmark("logging", "stream.getvalue()"),
    Benchmark("meteor_contest"),
    Benchmark("nbody", "report_energy()", ("--iterations=2000",)),
    Benchmark("nqueens", "list(n_queens(6))"),
    Benchmark("pickle", "pickle.dumps(DICT)", ("pickle",)),
    Benchmark("pidigits", "calc_ndigits(300)", ("--digits=500",)),
    Benchmark("pyflate"),
    Benchmark(
        "raytrace",
        PICTURE,
        ("--width=40", "--height=40", "--filename=picture.ppm"),
    ),
    Benchmark("regex_dna", "run_benchmarks(seq)"),
    Benchmark("richards", "Richards().run(1)"),
    Benchmark("scimark", "[MonteCarlo(n) for n in (10, 1000)]"),
    Benchmark("spectral_norm", "eval_AtA_times_u([1] * 40)"),
    Benchmark("sqlite_synth"),
    Benchmark("telco"),
    Benchmark("unpack_sequence"),
]


@pytest.mark.parametrize("benchmark", CHOSEN, ids=lambda it: it.name)
def test_benchmark_answers_the_same_inside_and_outside(benchmark):
    path = BENCHMARKS / f"bm_{benchmark.name}" / "run_benchmark.py"
    if not path.exists():
        pytest.skip(f"this pyperformance has no {benchmark.name}")
    inputs = {
        "program": str(path),
        "arguments": list(benchmark.arguments),
        "answer": benchmark.answer,
    }
    expected = outside(PROGRAM, inputs)
    assert expected[0][0]
    assert csandbox.run(PROGRAM, inputs=inputs, timeout=60) == expected
