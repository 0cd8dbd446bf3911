#!/bin/bash
# The stages of .ci/run, one a function: bash .ci/stages.sh NAME [ARGUMENT]
#
# With `again` before its name, only those tests of it that failed before.
#
# CI_HERE is the project, CI_WORK a folder that everybody may enter, CI_USER
# the name of an ordinary user.
set -euo pipefail

TREE=$CI_WORK/tree
SUITE=$CI_WORK/suite
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1
export PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
# A test that is skipped has failed, and so has one that warns.
export CSANDBOX_MUST_WORK=1
export PYTEST_ADDOPTS='-q -W error -W ignore::ResourceWarning -p no:cacheprovider --durations=8'

# Runs a stage of tests where /tmp and /dev/shm are its own: what lies there
# is of no other stage.  It notes which tests fail.
apart() { # [again] STAGE [ARGUMENT]
    exec unshare --mount bash "$0" alone "$@"
}

alone() { # [again] STAGE [ARGUMENT]
    local tmp notes
    tmp=$(mktemp -d "$CI_WORK/tmp.XXXXXX")
    chmod 1777 "$tmp"
    mount --bind "$tmp" /tmp
    mount -t tmpfs -o mode=1777 none /dev/shm
    if [ "$1" = again ]; then
        shift
        PYTEST_ADDOPTS+=' --last-failed --last-failed-no-failures=none'
    fi
    notes=$(notes_of "$@")
    [ -d "$notes" ] || mkdir -m 1777 "$notes"
    PYTEST_ADDOPTS=${PYTEST_ADDOPTS/-p no:cacheprovider/-o cache_dir=$notes}
    "$@"
}

notes_of() { # STAGE [ARGUMENT]
    local name=$*
    echo "$CI_WORK/notes-${name//[^a-z0-9.]/-}"
}

# Prints the names of the tests that failed, a line each.
failed() { # STAGE [ARGUMENT]
    python3 - "$(notes_of "$@")/v/cache/lastfailed" << 'END'
import json, os, sys
if os.path.exists(sys.argv[1]):
    with open(sys.argv[1]) as file:
        print(*json.load(file), sep="\n")
END
}

packages() {
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends \
        binutils clang clang-tidy cppcheck gcc git libc6-dev libclang-rt-dev \
        libseccomp-dev python3-dev python3-venv shellcheck sudo
    # What Debian leaves out of the package `test`, which the tests run.
    apt-get install -qq -y --no-install-recommends "$(/usr/bin/python3 -c \
        'import sys; print("libpython%d.%d-testsuite" % sys.version_info[:2])')"
}

# What git would commit, where an ordinary user can read it.
tree() {
    mkdir "$TREE"
    cd "$CI_HERE"
    git -c safe.directory="$PWD" ls-files -z --cached --others \
        --exclude-standard --deduplicate \
        | tar --null --files-from=- --create --ignore-failed-read \
        | tar --extract --directory="$TREE" --no-same-owner
    chmod -R u=rwX,go=rX "$TREE"
    id "$CI_USER" || useradd --create-home --shell /bin/bash "$CI_USER"
    echo "$CI_USER ALL=(root) NOPASSWD: /usr/bin/apt-get" \
        > "/etc/sudoers.d/$CI_USER"
}

# Runs a command as root or as the ordinary user, in that one's clone.
as() { # root|user COMMAND...
    local who=$1 path=$PATH run=()
    shift
    cd "$CI_WORK/$who"
    if [ "$who" = user ]; then
        path=/usr/local/bin:/usr/bin:/bin # none of root's private programs
        run=(runuser -u "$CI_USER" --)
    fi
    "${run[@]}" env HOME="$(who_home "$who")" PATH="$path" "$@"
}

who_home() {
    if [ "$1" = user ]; then getent passwd "$CI_USER" | cut -d: -f6
    else echo "$HOME"; fi
}

# The nth of the two commands of README.rst.
readme_command() {
    awk '/^\.\. code-block::/ { sh = $3 == "sh"; next }
         sh && /^    / { sub(/^ +/, ""); print }' README.rst | sed -n "$1p"
}

set-up() { # root|user
    cp -r "$TREE" "$CI_WORK/$1"
    [ "$1" = root ] || chown -R "$CI_USER" "$CI_WORK/$1"
    as "$1" bash -ec "$(cd "$TREE" && readme_command 1)"
    compile_all "$1"
}

# Each of thousands of programs that tests start would do so.
compile_all() { # root|user
    as "$1" .venv/bin/python -m compileall -q csandbox tests
}

test() { # root|user
    [ "$1" = root ] || export CSANDBOX_QUICK=1 CSANDBOX_SECOND_USER=1
    as "$1" bash -ec "$(cd "$TREE" && readme_command 2)"
}

# Each CPython 3.11 or later that README's commands, which take the python3
# on the PATH, do not use.
other-pythons() {
    local python version seen
    seen=" $(real python3) $(real /usr/bin/python3) "
    for python in /usr/bin/python3.?? /usr/local/bin/python3.?? \
        "$HOME"/.pyenv/versions/*/bin/python3; do
        version=$(version_of "$python") || continue
        [[ $seen != *" $(real "$python") "* ]] || continue
        seen+="$(real "$python") "
        [ "$version" -lt 311 ] || echo "$python"
    done
}

real() { "$1" -c 'import os, sys; print(os.path.realpath(sys.executable))'; }

version_of() {
    "$1" -c 'import sys, venv, ensurepip; print("%d%d" % sys.version_info[:2])' \
        2> /dev/null
}

# A copy of the project, and a virtual environment with it and its tests.
build() { # FOLDER PYTHON
    local ready
    if [ -d "$1" ]; then # as tests are run again
        cd "$1"
        return
    fi
    cp -r "$TREE" "$1"
    cd "$1"
    ready=$CI_WORK/environment$(real "$2" | tr / -)
    make_environment "$ready" "$2"
    cp -r "$ready" .venv
    # Of its commands, which begin with where it was made.
    grep -rlIF "$ready" .venv/bin | xargs sed -i "s|$ready|$PWD/.venv|"
    .venv/bin/pip install -q -e .
    .venv/bin/python -m compileall -q csandbox tests
}

# One with what the tests use, unless another stage has made it: half a minute.
make_environment() { # FOLDER PYTHON
    (
        flock 8
        [ ! -e "$1/is-complete" ] || exit 0
        "$2" -m venv --clear "$1"
        "$1/bin/pip" install -q -r tests/requirements.txt
        touch "$1/is-complete"
    ) 8> "$1.lock"
}

suite() { # PYTHON
    local files
    build "$SUITE-$("$1" -c 'import sys; print(sys.version_info[1])')" "$1"
    .venv/bin/python -VV
    mapfile -t files < <(printf '%s\n' tests/test_*.py \
        | grep -vE "$SAME_ON_EVERY_PYTHON")
    CSANDBOX_QUICK=1 .venv/bin/pytest "${files[@]}"
}

# What the stage `suite` leaves out: what the kernel, the C that runs before
# and beside Python, and plain Python of ours do.  The stage `test` has them
# twice; half of all the time is theirs.
SAME_ON_EVERY_PYTHON='/test_(bombs|cgroups|children|compute_bare|doctor|environments|escape_(files|kernel|network|processes)|fault_injection|filter|hardening|limits|lockdown|parity_layers|processes|queue|real_pyperformance|real_web|receipts|refusals|relief|scale|scratch|source_rules|syscall_table.*|text|tier_landlock|tiers|zygote_filter)\.py$'

# The tests of the files whose names begin with one of these letters.
sanitizers() { # LETTERS
    local files
    CSANDBOX_SANITIZE=1 CSANDBOX_WERROR=1 build "$SUITE-sanitized-$1" python3
    mapfile -t files < <(printf '%s\n' tests/test_*.py \
        | grep -E "/test_[$1]" | grep -vE "$NOT_SANITIZED")
    # A crash of a guest shall be a signal, and too little memory a
    # MemoryError, as they are without sanitizers.
    LD_PRELOAD=$(gcc -print-file-name=libasan.so) \
        ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:allocator_may_return_null=1 \
        PYTHONMALLOC=malloc \
        .venv/bin/pytest "${files[@]}" "${NOT_SANITIZED_TESTS[@]}"
}

# What the stage `sanitizers` leaves out.  Files: one reads all of its address
# space, which is terabytes wide here; one builds the project itself, without
# sanitizers; those of real input take minutes and are about Python code, and
# so are the command, the queue, policies, tiers, doctor, rules of the source
# and which zygotes are kept; attacks on the kernel run no other C of ours than
# any run; the bombs fill memory, and ASan's allocator ends the process that is
# refused some; what pages are written to depends on the allocator.
NOT_SANITIZED='/test_(bombs|cli|docs|doctor|environments|explain|escape_(files|kernel|memory|network|runs)|filter|pages|parity_.*|policy|queue|readme|real_.*|scale|source_rules|syscall_table.*|text|tiers|zygote_filter)\.py$'
NOT_SANITIZED_TESTS=(
    # As the bombs do.
    --deselect=tests/test_limits.py::test_a_full_heap_is_told_of_by_its_exception
    --deselect=tests/test_limits.py::test_numpy_has_nearly_all_of_the_memory
    --deselect=tests/test_limits.py::test_inputs_and_result_are_not_the_guests_memory
    --deselect=tests/test_limits.py::test_peak_memory_is_the_runs_own
    --deselect=tests/test_limits.py::test_every_end_has_an_error_of_its_own
    --deselect=tests/test_limits.py::test_what_cannot_be_caught_is_a_memory_limit
    --deselect=tests/test_limits.py::test_memory_is_bounded_whichever_way_it_is_held
    '--deselect=tests/test_accounts.py::test_a_large_family_is_cut[long texts everywhere]'
    # A fork beside another thread: ASan's allocator may be locked in the child.
    --deselect=tests/test_relief.py::test_sink_may_fork_the_host
    --deselect=tests/test_supervision.py::test_fork_out_of_a_write_of_the_host
    --deselect=tests/test_fork.py::test_many_at_once_from_threads
    # Threads that never rest, for a minute each.
    --deselect=tests/test_relief.py::test_timeout_holds_while_another_thread_keeps_the_gil
    # A library is loaded before ASan's, which that does not bear.
    --deselect=tests/test_receipts.py::test_a_step_without_effect_is_noticed_by_the_host
    --deselect=tests/test_receipts.py::test_nothing_is_noticed_where_nothing_is_wrong
    # ASan asks for the processors of a thread by its number, which a guest
    # without namespaces may not, and ends the process.
    --deselect=tests/test_tier_landlock.py::test_threads_trap_too
    --deselect=tests/test_tier_landlock.py::test_threads_are_bounded
    # They read their address space, too, and their heap.
    --deselect=tests/test_steady.py::test_a_guest_finds_nothing_of_how_many_other_runs_there_are
    --deselect=tests/test_hardening.py::test_finds_no_account_of_earlier_runs
    # It starts thousands of processes; others of its file do as it does.
    --deselect=tests/test_leaks.py::test_a_thousand_runs_leave_everything_where_it_was
    # A million escapes: str.translate() grows its text by each of them, and
    # ASan's realloc() copies it each time.
    --deselect=tests/test_escape_result.py::test_forged_text_is_no_longer_than_honest_text
)

# To other stages.
give_way() { renice -n 10 $$ > /dev/null; }

# What needs a delegated cgroup v2, which this machine may not have.
kernel() {
    give_way
    apt-get install -qq -y --no-install-recommends \
        busybox-static cpio kmod qemu-system-x86 xz-utils
    build "$SUITE-kernel" /usr/bin/python3
    TMPDIR=$CI_WORK bash .ci/kernel "$PWD" "$CI_USER" env CSANDBOX_CGROUP=1 \
        CSANDBOX_MUST_WORK=1 PYTHONDONTWRITEBYTECODE=1 \
        PYTEST_ADDOPTS="$PYTEST_ADDOPTS" .venv/bin/pytest \
        --color=no -m cgroup tests/test_cgroups.py
}

lint() {
    local compiler
    give_way
    cp -r "$TREE" "$CI_WORK/lint"
    cd "$CI_WORK/lint"
    python3 -m venv .venv
    .venv/bin/pip install -q -r .ci/requirements.txt
    for compiler in gcc clang; do
        CC=$compiler CSANDBOX_WERROR=1 .venv/bin/pip install -q -e .
    done
    bash .ci/lint.sh .venv/bin
}

# Tries csandbox in each environment of tests/environments, and attacks it in
# most.
environments() {
    local name escapes failed=''
    apt-get install -qq -y --no-install-recommends runc
    build "$SUITE-environments" /usr/bin/python3
    CSANDBOX_DOCKER_PROFILE=$(fetch_docker_profile)
    export CSANDBOX_DOCKER_PROFILE
    while read -r name _ _ escapes _; do
        within "$name" --smoke || failed+=" $name"
        if [ "$escapes" = escapes ]; then
            within "$name" --escapes || failed+=" $name"
        fi
    done < <(.venv/bin/python tests/environments/run --list)
    nothing_is_left || failed+=' nothing_is_left'
    echo "environments where something failed:${failed:- none}"
    [ -z "$failed" ]
}

within() { # ENVIRONMENT OPTION
    local began=$SECONDS status=0
    echo "-- $1 $2"
    mkdir --mode=1777 tmp
    TMPDIR=$PWD/tmp CSANDBOX_SMOKE_LOG=$PWD/tmp/log timeout --kill-after=10 \
        300 .venv/bin/python tests/environments/run "$1" "$2" \
        < /dev/null || status=$?
    echo "-- $1 $2: exit status $status, $((SECONDS - began)) s"
    if [ -e tmp/log ]; then cat tmp/log; fi
    rm -r tmp
    return $status
}

# Debian's package of Docker's sources has it.
fetch_docker_profile() {
    mkdir "$CI_WORK/docker"
    cd "$CI_WORK/docker"
    apt-get download -qq golang-github-docker-docker-dev >&2
    dpkg-deb -x ./*.deb .
    find "$PWD" -path '*/profiles/seccomp/default.json'
}

nothing_is_left() {
    if grep csandbox- /proc/mounts \
        || find /sys/fs/cgroup -maxdepth 3 -name 'csandbox-[0-9]*' | grep .; then
        return 1
    fi
}

packaging() {
    local python
    give_way
    python=$(command -v python3)
    cp -r "$TREE" "$CI_WORK/packaging"
    cd "$CI_WORK/packaging"
    "$python" -m venv tools
    tools/bin/pip install -q build
    tools/bin/python -m build --quiet # a wheel from the sdist
    tar -tzf dist/*.tar.gz > sdist
    unzip_list dist/*.whl > wheel
    grep -q '/csandbox/native/cell/lock\.c$' sdist
    grep -q '/csandbox/native/cell/cell\.h$' sdist
    grep -q '/tests/test_readme\.py$' sdist
    grep -q '/examples/seattle_weather\.csv$' sdist
    grep -q '^csandbox/_csandbox\.pyi$' wheel
    grep -q '^csandbox/py\.typed$' wheel
    if grep -E '\.[ch]$|^(tests|examples)/' wheel; then return 1; fi
    "$python" -m venv fresh
    fresh/bin/pip install -q dist/*.whl
    fresh/bin/python examples/analyse.py
    refuses 'libseccomp-dev' CC="$PWD/.ci/cc-without-seccomp"
    echo 'packages are as they should be'
}

unzip_list() { python3 -m zipfile -l "$1" | awk '{ print $1 }'; }

# Building with these variables fails and says this.
refuses() { # TEXT NAME=VALUE...
    local text=$1
    shift
    if env "$@" tools/bin/pip wheel -q --no-deps -w none . > said 2>&1; then
        echo "building with $* should have failed"
        return 1
    fi
    grep -F "$text" said
}

fuzz() {
    give_way
    cp -r "$TREE" "$CI_WORK/fuzz"
    cd "$CI_WORK/fuzz"
    PYTHON_CONFIG=/usr/bin/python3-config tests/fuzz/run 60
}

# What it took of the processors, for the summary.
[ -z "${CI_TIMES:-}" ] || trap 'times > "$CI_TIMES"' EXIT
case $1 in
    test | suite | sanitizers | again) apart "$@" ;;
    *) "$@" ;;
esac
