// SPDX-License-Identifier: Apache-2.0
#include "app/build_facts.hpp"

#include <fstream>

#include "app/build_info.hpp"
#include "model/runtime.hpp"

namespace moebius::app {

std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  std::string line, name = "unknown processor";
  while (std::getline(info, line)) {
    if (line.rfind("model name", 0) != 0) continue;
    const auto colon = line.find(": ");
    if (colon != std::string::npos) name = line.substr(colon + 2);
    break;
  }
  return name + ", kernels for " + model::instruction_set();
}

Facts build_facts() {
  return {{"program_version", build_info::version}, {"commit", build_info::commit},
          {"build_flags", build_info::flags},       {"compiler", build_info::compiler},
          {"hdf5_version", build_info::hdf5_version}, {"kokkos_version", build_info::kokkos_version}};
}

Facts build_facts(const comm::Session& session) {
  Facts facts = build_facts();
  facts.emplace_back("mpi_library", session.library_version());
  facts.emplace_back("processor", processor());
  return facts;
}

}  // namespace moebius::app
