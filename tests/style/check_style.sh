#!/usr/bin/env bash
# The rules of the tree that a machine can check: floors (who may include whom), sizes, headers.
#   tests/style/check_style.sh [TREE]      prints every broken rule; exit code 1 if there was one
set -u
cd "${1:-$(dirname "$0")/../..}" || exit 2
problems=0
complain() { echo "$*"; problems=$((problems + 1)); }

# folder | project folders it may include | system headers that are its alone
floors='
src/base   | base                                  |
kernels    | base kernels                          |
src/policy | base policy                           |
src/comm   | base comm                             | mpi.h
src/io     | base io                               | hdf5.h
src/model  | base kernels model                    |
src/ranks  | base policy comm io model ranks       |
src/app    | base policy comm io model ranks app   |
'
owned_headers='mpi.h hdf5.h'   # nobody but the owner includes these
third_party='
src/base   | fmt/ xxhash.h Random123/
kernels    | Kokkos_ cuda cublas immintrin.h
src/policy |
src/comm   | mpi.h nccl.h
src/io     | hdf5.h toml nlohmann/ fmt/
src/model  | Kokkos_ unicode/ fmt/
src/ranks  | fmt/ unistd.h
src/app    | CLI/ fmt/
'
sources() { find "$1" -name '*.hpp' -o -name '*.cpp' -o -name '*.cu' | sort; }

check_floor() {  # check_floor FOLDER ALLOWED OWNED
  local folder=$1 allowed=" $2 " owned=" $3 " file include target
  for file in $(sources "$folder"); do
    while IFS= read -r include; do
      target=${include%%/*}
      case $allowed in *" $target "*) ;; *) complain "$file includes \"$include\" (floor: $folder may include$allowed)" ;; esac
    done < <(sed -nE 's/^#include "([^"]+)".*/\1/p' "$file")
    for include in $owned_headers; do
      case $owned in *" $include "*) continue ;; esac
      grep -qE "^#include <$include>" "$file" && complain "$file includes <$include> (another folder owns it)"
    done
  done
}
while IFS='|' read -r folder allowed owned; do
  folder=$(echo $folder)
  [ -n "$folder" ] && check_floor "$folder" "$(echo $allowed)" "$(echo $owned)"
done <<<"$floors"

# Third-party headers: everything with a slash or an upper-case letter that is not the standard library's.
while IFS='|' read -r folder allowed; do
  folder=$(echo $folder)
  [ -n "$folder" ] || continue
  for file in $(sources "$folder"); do
    while IFS= read -r include; do
      case $include in sys/* | *[a-z]_*) [[ $include == Kokkos_* ]] || continue ;; esac
      [[ $include == *.h || $include == */* || $include == *.hpp ]] || continue
      case $include in unistd.h | fcntl.h | poll.h | cpuid.h | signal.h | time.h | sched.h) continue ;; esac
      ok=no
      for prefix in $allowed; do [[ $include == "$prefix"* ]] && ok=yes; done
      [ $ok = yes ] || complain "$file includes <$include> (third-party header that $folder may not use)"
    done < <(sed -nE 's/^#include <([^>]+)>.*/\1/p' "$file")
  done
done <<<"$third_party"

for file in $(sources src) $(sources kernels) $(sources tests); do
  lines=$(wc -l <"$file")
  [ "$lines" -le 600 ] || complain "$file has $lines lines (600 is the limit) split it by idea"
  head -1 "$file" | grep -q '^// SPDX-License-Identifier: Apache-2.0$' || complain "$file does not begin with the SPDX line"
  case $file in *.hpp) grep -q '^#pragma once$' "$file" || complain "$file lacks #pragma once" ;; esac
  # A function at namespace level begins in column 0 and ends with a brace in column 0.
  awk -v file="$file" '
    /^[A-Za-z].*[({,]$/ && !/^(namespace|class|struct|enum|union|using|extern)/ { if (!start) start = NR }
    /^template|^(namespace|class|struct|enum|union)/ { start = 0 }
    /^}/ { if (start && NR - start > 70) { print file ":" start " has a function of " NR - start " lines (70 is the limit)"; bad = 1 } start = 0 }
    /^[A-Za-z].*;$/ { start = 0 }
    END { exit bad }' "$file" || problems=$((problems + 1))
done

for folder in src src/* kernels inputs jobs tests; do
  [ -d "$folder" ] || continue
  [ -f "$folder/README.md" ] || complain "$folder has no README.md"
done
for entry in $(git ls-files 2>/dev/null | cut -d/ -f1 | sort -u); do
  case $entry in
    src | kernels | jobs | inputs | tests | cmake | CMakeLists.txt | CMakePresets.json | spack.yaml | README.md | LICENSE | .*) ;;
    *) complain "unexpected entry at the top of the tree: $entry" ;;
  esac
done

[ $problems -eq 0 ] && echo "style: all rules hold"
exit $((problems > 0))
