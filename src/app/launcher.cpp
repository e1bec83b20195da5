// SPDX-License-Identifier: Apache-2.0
#include "app/launcher.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/failure.hpp"

namespace moebius::app {
namespace {

std::optional<int> number_in(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return {};
  int value = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, value);
  if (error != std::errc{} || rest != end) return {};
  return value;
}

/// Any of these is there where a launcher speaks PMI or PMIx with its processes.
constexpr const char* pmi_variables[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMIX_NAMESPACE", "PMI_RANK", "PMI_FD", "PMI_PORT",
                                         "PMI_JOBID", "PMI_CONTROL_PORT", "PALS_RANKID"};

bool is_trusted() {
  const char* trusted = std::getenv("MOEBIUS_TRUST_LAUNCHER");
  return trusted != nullptr && std::strcmp(trusted, "1") == 0;
}

constexpr const char* what_to_do = "use the mpirun of this MPI, or `srun --mpi=pmix` (`srun --mpi=list` says what this Slurm has; README.md, "
                                   "jobs/slurm.sbatch)";

}  // namespace

Launcher find_launcher() {
  Launcher launcher;
  launcher.has_pmi = std::ranges::any_of(pmi_variables, [](const char* name) { return std::getenv(name) != nullptr; });
  // In this order: a launcher inside of a Slurm job may itself have been started by srun.
  struct Known {
    const char *variable, *name;
  };
  for (const auto& [variable, name] : {Known{"OMPI_COMM_WORLD_SIZE", "mpirun (Open MPI)"}, Known{"PMI_SIZE", "mpiexec (PMI)"},
                                       Known{"SLURM_STEP_NUM_TASKS", "srun"}}) {
    const auto value = number_in(variable);
    if (!value) continue;
    launcher.name = name;
    launcher.num_processes = *value;
    break;
  }
  // Open MPI and PMI variables under srun are those that srun's own PMI gives.
  if (launcher.name != "none" && std::getenv("SLURM_STEP_NUM_TASKS") != nullptr && std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr) launcher.name = "srun";
  return launcher;
}

void check_launcher(const Launcher& launcher, const std::string& mpi_library) {
  if (launcher.has_pmi || launcher.num_processes < 2 || !mpi_library.starts_with("Open MPI") || is_trusted()) return;
  throw Failure{ExitCode::bad_usage,
                fmt::format("{} processes were started, but cannot find each other ({} was not told to speak a PMI that {} understands) {}",
                            launcher.num_processes, launcher.name, mpi_library.substr(0, mpi_library.find(',')), what_to_do)};
}

void check_not_alone(const Launcher& launcher, int num_ranks, const std::string& mpi_library) {
  if (num_ranks > 1 || launcher.num_processes < 2 || is_trusted()) return;
  throw Failure{ExitCode::bad_usage,
                fmt::format("{} processes were started, but each is alone ({} does not speak the PMI of {}, or is of another MPI) {}",
                            launcher.num_processes, launcher.name, mpi_library.substr(0, mpi_library.find(',')), what_to_do)};
}

}  // namespace moebius::app
