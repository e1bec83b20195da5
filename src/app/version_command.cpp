// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "app/build_facts.hpp"
#include "app/commands.hpp"

namespace moebius::app {

std::string version_text() {
  std::string text = "moebius\n";
  for (const auto& [name, value] : build_facts()) text += fmt::format("  {:<16} {}\n", name, value);
  return text + fmt::format("  {:<16} {}\n", "processor", processor());
}

void add_version_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("version", "This build, its libraries, and the kernels chosen for this processor");
  command->footer("Example:\n  moebius version");
  command->callback([&exit_code] {
    if (is_first_process()) fmt::print("{}", version_text());
    exit_code = 0;
  });
}

}  // namespace moebius::app
