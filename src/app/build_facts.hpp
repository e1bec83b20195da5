// SPDX-License-Identifier: Apache-2.0
#pragma once
// Facts about this program and where it runs, for `moebius version` and for the results.

#include <string>
#include <utility>
#include <vector>

#include "comm/session.hpp"

namespace moebius::app {

using Facts = std::vector<std::pair<std::string, std::string>>;

/// Of the build alone: program version, commit, compiler, flags, library versions.
Facts build_facts();
/// The same, with the MPI library and the processor of the first rank.
Facts build_facts(const comm::Session& session);
/// Model name of this machine's processor and the instruction set of the kernels.
std::string processor();

}  // namespace moebius::app
