#!/usr/bin/env bash
# The rules of the tree that a machine can check: floors (who may include whom), sizes, headers.
#   tests/style/check_style.sh [TREE]      prints every broken rule; exit code 1 if there was one
set -u
rules=$(cd "$(dirname "$0")" && pwd)/check_style.awk
cd "${1:-$(dirname "$0")/../..}" || exit 2
problems=0
complain() { echo "$*"; problems=$((problems + 1)); }

# folder | project folders it may include | system headers that are its alone | third-party headers
floors='
src/base   | base                                  |        | fmt/ xxhash.h Random123/
kernels    | base kernels                          |        | Kokkos_ cuda cublas immintrin.h
src/policy | base policy                           |        |
src/comm   | base comm                             | mpi.h  | mpi.h nccl.h
src/io     | base io                               | hdf5.h | hdf5.h toml nlohmann/ fmt/
src/model  | base kernels model                    |        | Kokkos_ unicode/ fmt/
src/ranks  | base policy comm io model ranks       |        | fmt/ unistd.h
src/app    | base policy comm io model ranks app   |        | CLI/ fmt/
'
while IFS= read -r problem; do
  complain "$problem"
done < <(find src kernels tests -name '*.hpp' -o -name '*.cpp' -o -name '*.cu' | sort | xargs awk -v floors="$floors" -f "$rules")

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
