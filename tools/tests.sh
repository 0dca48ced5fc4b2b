#!/usr/bin/env bash
# Tests by marker: tools/tests.sh "not soak" -n 6. What fails beside others is tried once more, one at a time: hundreds of
# boards, brokers and managers share the computer's cores, and what only fails there is the computer's fault. It is
# named all the same. What fails by itself too fails.
set -uo pipefail
unset PYTHONDONTWRITEBYTECODE # hundreds of processes start; each would compile all of it anew
marks=$1
shift
.venv/bin/python -m pytest -m "$marks" "$@"
status=$?
[ "$status" != 5 ] || exit 0 # nothing of what was asked for bears these marks
[ "$status" = 1 ] || exit "$status"
echo "tests: what failed above is tried once more, one at a time"
.venv/bin/python -m pytest -m "$marks" "$@" -n 0 --last-failed --last-failed-no-failures none
