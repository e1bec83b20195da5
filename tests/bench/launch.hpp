// SPDX-License-Identifier: Apache-2.0
#pragma once
// Starts the programs that a benchmark of several ranks needs. The benchmark itself is no MPI program:
// it waits and reads what they print.

#include <string>
#include <vector>

namespace moebius::bench {

/// Lines that `mpirun -n ranks program_and_arguments` prints to stdout, with the settings of
/// jobs/mpi_env.sh, in the folder of the sources. Throws std::runtime_error where it does not exit with 0.
std::vector<std::string> run_ranks(int ranks, const std::string& program_and_arguments);

}  // namespace moebius::bench
