// SPDX-License-Identifier: Apache-2.0
#pragma once
// The frame of every command that runs on several ranks: MPI and Kokkos start, the body runs, and one
// exit code ends all ranks, whether the body returned, all ranks agreed on a failure, or one rank broke.

#include <functional>
#include <string>
#include <vector>

#include "base/failure.hpp"
#include "base/job.hpp"
#include "comm/session.hpp"

namespace moebius::app {

/// The exit code of the process. Does not return when a rank failed alone: then it ends the others.
int run_mpi_program(const std::function<ExitCode(comm::Session&)>& body);

/// Collective: every rank reads the job file; one message if it is wrong.
ResolvedJob read_job_together(comm::Session& session, const std::string& job_file, const std::vector<std::string>& overrides);

}  // namespace moebius::app
