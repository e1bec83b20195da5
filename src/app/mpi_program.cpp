// SPDX-License-Identifier: Apache-2.0
#include "app/mpi_program.hpp"

#include <cstdio>
#include <memory>
#include <optional>

#include "app/commands.hpp"
#include "app/launcher.hpp"
#include "io/job_file.hpp"
#include "model/runtime.hpp"
#include "ranks/agreement.hpp"

namespace moebius::app {
namespace {

enum class Ending : std::uint8_t { together, alone };

}  // namespace

int run_mpi_program(const std::function<ExitCode(comm::Session&)>& body) {
  const Launcher launcher = find_launcher();
  const std::string mpi = comm::mpi_library_version();
  // Every process finds this out for itself, and one of them says it.
  const bool speaks = is_first_process();  // asked now: an MPI that starts alone says in the environment that it is the first
  const auto refused = [speaks](const std::function<void()>& check) {
    try {
      check();
      return std::optional<ExitCode>();
    } catch (const Failure& failure) {
      if (speaks) std::fprintf(stderr, "moebius: %s\n", failure.what());
      return std::optional(failure.code());
    }
  };
  if (const auto code = refused([&] { check_launcher(launcher, mpi); })) return static_cast<int>(*code);
  auto session = std::make_unique<comm::Session>();
  if (const auto code = refused([&] { check_not_alone(launcher, session->num_ranks(), mpi); })) {
    session->finalize();
    return static_cast<int>(*code);
  }
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
