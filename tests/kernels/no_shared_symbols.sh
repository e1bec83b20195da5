#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The sources tiles_*.cpp are compiled for different instruction sets. An inline function that more than
# one source defines (a weak symbol) is kept once by the linker, perhaps with instructions that the
# processor lacks. So these objects must define no weak symbol. Usage: no_shared_symbols.sh object...
set -euo pipefail
checked=0
for object in "$@"; do
  case "$object" in *tiles_*) ;; *) continue ;; esac
  checked=$((checked + 1))
  if weak=$(nm -C "$object" | grep -E ' W '); then
    echo "$object defines symbols that other sources may define too:"
    echo "$weak"
    exit 1
  fi
done
test "$checked" -ge 1
