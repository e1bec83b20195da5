#!/usr/bin/env bash
# Installs the Debian 12 packages that building, testing and running need; does nothing when they are
# there. Uses sudo where not root.
set -eu
packages=(
  g++ cmake ninja-build procps
  libopenmpi-dev openmpi-bin libhdf5-dev hdf5-tools libtrilinos-kokkos-dev
  libcli11-dev libtoml11-dev nlohmann-json3-dev libfmt-dev libicu-dev
  libxxhash-dev librandom123-dev
  libgtest-dev libgmock-dev libbenchmark-dev
  mpich libmpich-dev                             # tests with a second MPI only; mpirun stays that of Open MPI
  slurmctld slurmd slurm-client munge iproute2   # tests/system/slurm_test.sh only
)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || {
    echo "packages are missing (${missing[*]}) ask an administrator to install them, or use spack.yaml" >&2
    exit 2
  }
  as_root=(sudo)
fi
echo "installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
