// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "app/commands.hpp"
#include "app/mpi_program.hpp"
#include "base/check.hpp"
#include "ranks/agreement.hpp"

namespace moebius::app {

bool is_first_process() {
  // Open MPI, PMIx / PMI-2 launchers, MPICH's Hydra, Slurm.
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const char* rank = std::getenv(name); rank != nullptr) return std::strcmp(rank, "0") == 0;
  }
  return true;
}

int report_parse_error(const CLI::App& app, const CLI::ParseError& error) {
  const bool asked_for_text = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success);
  if (asked_for_text) return is_first_process() ? app.exit(error) : 0;
  const std::string message = std::string(error.what()) + " (it is not a valid command line) see `moebius --help`";
  // All ranks end together: a launcher kills the others as soon as one has failed, also the one that speaks.
  return run_mpi_program([&](comm::Session& session) -> ExitCode {
    throw ranks::AgreedFailure(ExitCode::bad_usage, session.rank() == RankId(0) ? message : std::string());
  });
}

ExitCode guarded(const std::function<ExitCode()>& body) {
  try {
    return body();
  } catch (const Failure& failure) {
    std::fprintf(stderr, "moebius: %s\n", failure.what());
    return failure.code();
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "moebius: out of memory (an allocation was refused) use more ranks or lower [limits]\n");
    return ExitCode::does_not_fit;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "moebius: %s\n", error.what());
    return ExitCode::internal_error;
  }
}

}  // namespace moebius::app
