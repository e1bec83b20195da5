// SPDX-License-Identifier: Apache-2.0
#include "app/mpi_program.hpp"

#include <cstdio>
#include <memory>
#include <optional>

#include "app/commands.hpp"
#include "io/job_file.hpp"
#include "model/runtime.hpp"
#include "ranks/agreement.hpp"

namespace moebius::app {
namespace {

enum class Ending : std::uint8_t { together, alone };

}  // namespace

int run_mpi_program(const std::function<ExitCode(comm::Session&)>& body) {
  auto session = std::make_unique<comm::Session>();
  Ending ending = Ending::together;
  // What a rank broke on alone leaves `guarded` as a printed line and a code; no MPI call is made while
  // an exception is in flight.
  const ExitCode code = guarded([&] {
    ending = Ending::alone;
    std::optional<model::KernelRuntime> kernels(std::in_place);
    try {
      const ExitCode result = body(*session);
      ending = Ending::together;
      return result;
    } catch (const ranks::AgreedFailure& failure) {
      ending = Ending::together;
      if (failure.speaks()) std::fprintf(stderr, "moebius: %s\n", failure.what());
      return failure.code();
    }
  });
  if (ending == Ending::alone) comm::Session::abort(code);
  session->finalize();
  return static_cast<int>(code);
}

ResolvedJob read_job_together(comm::Session& session, const std::string& job_file, const std::vector<std::string>& overrides) {
  ResolvedJob resolved;
  ranks::together(session, [&] { resolved = io::read_job(job_file, overrides); });
  return resolved;
}

}  // namespace moebius::app
