#!/bin/bash
# Every linter, over the current folder, where csandbox is built:
# bash .ci/lint.sh FOLDER-OF-THE-PYTHON-TOOLS
set -euo pipefail
bin=$1
failed=''

check() { # NAME COMMAND...
    local name=$1
    shift
    "$@" || failed+=" $name"
}

tidy() {
    local includes
    includes=$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    # Not: what C cannot do otherwise, and what it misreads: the cleanup
    # attribute as a leak.
    printf '%s\0' csandbox/native/*/*.c | xargs -0 -P 2 -n 8 clang-tidy \
        --quiet --warnings-as-errors='*' --checks="-*,
            bugprone-*,
            -bugprone-assignment-in-if-condition,
            -bugprone-easily-swappable-parameters,
            -bugprone-implicit-widening-of-multiplication-result,
            -bugprone-narrowing-conversions,
            -bugprone-reserved-identifier,
            -bugprone-sizeof-expression,
            clang-analyzer-*,
            -clang-analyzer-security.insecureAPI.*,
            -clang-analyzer-unix.Malloc" \
        --extra-arg=-std=c11 --extra-arg=-I"$includes"
}

check clang-format "$bin/clang-format" --dry-run -Werror \
    csandbox/native/*/*.[ch] tests/fuzz/*.c
check cppcheck cppcheck --std=c11 --library=python --inline-suppr --quiet \
    --enable=warning,performance,portability --error-exitcode=1 -j 2 \
    csandbox/native
check clang-tidy tidy
check ruff "$bin/ruff" check --quiet .
check 'ruff format' "$bin/ruff" format --check --quiet .
check mypy "$bin/mypy"
check stubtest "$bin/stubtest" --mypy-config-file pyproject.toml \
    csandbox._csandbox
check shellcheck shellcheck .ci/run .ci/kernel .ci/*.sh tests/fuzz/run

if [ -n "$failed" ]; then
    echo "not clean:$failed"
    exit 1
fi
echo 'all linters are content'
