// SPDX-License-Identifier: Apache-2.0
#pragma once
// How this process was started, as the environment says: asked before MPI starts, and compared with what MPI says.
//
// A launcher and an MPI that do not speak the same PMI (the wire by which ranks find each other) make of a job of n ranks
// either n jobs of one rank each, all on one result folder, or an MPI that ends inside of its start. Both are found here
// and explained in one line. The environment variable MOEBIUS_TRUST_LAUNCHER=1 turns both checks off.

#include <string>

namespace moebius::app {

struct Launcher {
  std::string name = "none";   ///< "mpirun (Open MPI)", "mpiexec (PMI)", "srun", "none"
  int num_processes = 1;       ///< that it says it has started
  bool has_pmi = false;        ///< it has told this process how to find the others
};

Launcher find_launcher();

/// Before MPI starts. Failure(bad_usage) where srun has started several processes without any PMI, and the MPI is one that
/// ends in its start then (Open MPI); others may have a PMI of their own.
void check_launcher(const Launcher& launcher, const std::string& mpi_library);

/// Once MPI runs. Failure(bad_usage) where several processes were started, and each of them is alone.
void check_not_alone(const Launcher& launcher, int num_ranks, const std::string& mpi_library);

}  // namespace moebius::app
