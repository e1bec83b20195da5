// SPDX-License-Identifier: Apache-2.0
#pragma once
// How much memory this process's node can still give: what the kernel calls available, or less where a control
// group (a container, a batch job) has a limit.

#include <cstdint>
#include <filesystem>
#include <string>

#include "policy/memory_plan.hpp"

namespace moebius::ranks {

/// MOEBIUS_MEMORY_LIMIT (bytes for each node, for tests) where it is set; else `share` of the smallest of
/// /proc/meminfo and the limits of the process's control groups, version 1 and 2. Throws Failure{bad_usage} for a
/// variable that is no number.
policy::NodeMemory available_memory(double share);

/// The same from a file tree like / (`proc`, `sys`), without the variable; for tests.
policy::NodeMemory available_memory_below(const std::filesystem::path& root);

}  // namespace moebius::ranks
