#!/usr/bin/env bash
# `moebius selftest`: a table within 30 s on one and several ranks, over two one-sided components, with and without file locks;
# it leaves nothing behind.
. "$(dirname "$0")/lib.sh"
mkdir "$work/scratch"

# selftest VARIANT RANKS [ENV=VALUE...]
selftest() {
  local begin=$SECONDS code=0 variant=$1 ranks=$2
  shift 2
  "$MPIRUN" "$variant" "$ranks" env "$@" "$MOEBIUS" selftest --dir "$work/scratch" >"$work/stdout" 2>"$work/stderr" || code=$?
  [ $code -ne 77 ] || { cat "$work/stdout"; return 0; }
  [ $code -eq 0 ] || fail "$variant, $ranks ranks: exit code $code: $(cat "$work/stdout" "$work/stderr")"
  [ $((SECONDS - begin)) -lt 30 ] || fail "$variant, $ranks ranks: took $((SECONDS - begin)) s"
  [ -z "$(ls -A "$work/scratch")" ] || fail "$variant, $ranks ranks: left $(ls "$work/scratch")"
  [ "$(grep -c '^moebius selftest, ' "$work/stdout")" -eq 1 ] || fail "$variant, $ranks ranks: not one table: $(cat "$work/stdout")"
  for check in program_version commit hdf5_version kokkos_version mpi_library processor kernel launcher clocks folder 'fcntl locks' 'hard links' 'free space'; do
    grep -q "^$check " "$work/stdout" || fail "$variant, $ranks ranks: no line for $check: $(cat "$work/stdout")"
  done
}
says() { grep -qE "$1" "$work/stdout" || fail "not said: /$1/ in: $(cat "$work/stdout")"; }

selftest default 1
says '^windows +note +not checked'
for variant in default ucx; do
  selftest $variant 3
  grep -q . "$work/stdout" && grep -q 'test skipped' "$work/stdout" && continue
  says '^launcher +ok +mpirun \(Open MPI\): 3 processes, 3 ranks on 1 nodes'
  says '^put, flush +ok +messages of all ranks arrived whole'
  says '^atomics +ok '
  says '^put, target away +(ok|note) +(does not wait|waits)'
  says '^atomic, target away +(ok|note) +(does not wait|waits)'
  says '^latency +ok +put of 8 bytes and flush [0-9.]+ us'
  says '^bandwidth +ok +[0-9.]+ GB/s'
  says '^folder lock +ok +rank 2 is kept out'
  says '^fcntl locks +ok'
done
selftest default 2 LD_PRELOAD="$IO_FAULTS" MOEBIUS_FAULT=nolocks@1 MOEBIUS_FAULT_DIR="$work/scratch"
says '^fcntl locks +note +do not work here'
says '^folder lock +ok'

code=0
"$MPIRUN" default 2 "$MOEBIUS" selftest --dir /proc/nowhere >"$work/stdout" 2>"$work/stderr" || code=$?
[ $code -eq 2 ] || fail "a folder that cannot be: exit code $code"
[ "$(grep -c '^moebius: ' "$work/stderr")" -eq 1 ] || fail "a folder that cannot be: $(cat "$work/stderr")"
finish
