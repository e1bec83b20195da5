// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/launch.hpp"

#include <array>
#include <cstdio>
#include <stdexcept>
#include <thread>

namespace moebius::bench {

std::vector<std::string> run_ranks(int ranks, const std::string& program_and_arguments) {
  // Where every rank has a core of its own there is nobody to yield to.
  const bool has_cores = static_cast<unsigned>(ranks) <= std::thread::hardware_concurrency();
  const std::string command = "cd '" MOEBIUS_SOURCE_DIR "' && . jobs/mpi_env.sh && " +
                              std::string(has_cores ? "export OMPI_MCA_mpi_yield_when_idle=0 && " : "") +
                              "exec mpirun --oversubscribe -n " + std::to_string(ranks) + " " + program_and_arguments;
  std::FILE* output = popen(command.c_str(), "r");
  if (output == nullptr) throw std::runtime_error("no shell could be started (popen failed) try again");
  std::vector<std::string> lines;
  std::array<char, 4096> text{};
  bool goes_on = false;  // the last line, which was longer than the buffer
  while (std::fgets(text.data(), static_cast<int>(text.size()), output) != nullptr) {
    if (!goes_on) lines.emplace_back();
    lines.back() += text.data();
    goes_on = !lines.back().ends_with('\n');
    if (!goes_on) lines.back().pop_back();
  }
  if (pclose(output) != 0) throw std::runtime_error("a benchmark's ranks failed (exit code not 0) run by hand: " + command);
  return lines;
}

}  // namespace moebius::bench
