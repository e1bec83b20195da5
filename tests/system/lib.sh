# Shared by the system tests; to be sourced. Needs MOEBIUS (the program) and MPIRUN (support/mpirun.sh).
set -eu
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$top"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
finish() { [ $failures -eq 0 ] || { echo "$failures checks failed"; exit 1; }; echo "all checks passed"; }

# job INPUT OUTPUT: writes a job file for the tiny model and prints its path.
job() {
  local file=$work/job-$RANDOM$RANDOM.toml
  printf '[model]\npath = "inputs/models/tiny"\n[input]\npath = "%s"\n[output]\npath = "%s"\n[run]\nprogress = "off"\nwatchdog_s = 60\n' \
    "$1" "$2" >"$file"
  echo "$file"
}
# ranks_of LAUNCHER: the pids of its ranks in their order. Those of Open MPI are children of the launcher, those of MPICH of
# a proxy of it.
ranks_of() {
  local child
  for child in $(pgrep -P "$1"); do
    case $(tr '\0' ' ' <"/proc/$child/cmdline" 2>/dev/null) in "$MOEBIUS "*) echo "$child" ;; *) ranks_of "$child" ;; esac
  done
}
# value KEY: the value of a key of the one-line JSON summary that `moebius run` prints, read from stdin.
value() { grep '^{' | sed -nE "s/.*\"$1\": ?\"?([^\",}]*).*/\1/p" | tail -1; }
