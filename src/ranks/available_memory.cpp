// SPDX-License-Identifier: Apache-2.0
#include "ranks/available_memory.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string_view>

#include "base/failure.hpp"

namespace moebius::ranks {
namespace {

constexpr const char* limit_variable = "MOEBIUS_MEMORY_LIMIT";

/// The number that a small file of the kernel begins with; nothing for "max" and for files that are not there.
std::optional<std::int64_t> number_in(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::uint64_t value = 0;
  if (!(stream >> value)) return std::nullopt;
  return static_cast<std::int64_t>(std::min<std::uint64_t>(value, std::numeric_limits<std::int64_t>::max()));
}

/// The value of a line "key value" or "key: value kB".
std::optional<std::int64_t> value_of(const std::filesystem::path& file, const std::string& key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    std::istringstream words(line);
    std::string name, unit;
    std::int64_t value = 0;
    if (!(words >> name >> value) || (name != key && name != key + ":")) continue;
    words >> unit;
    return unit == "kB" ? value * 1024 : value;
  }
  return std::nullopt;
}

/// Is "memory" one of these names with commas between?
bool names_memory(const std::string& controllers) {
  std::istringstream names(controllers);
  for (std::string name; std::getline(names, name, ',');) {
    if (name == "memory") return true;
  }
  return false;
}

/// What is left in one control group: pages of files can be taken back, so they count as free.
void consider_group(const std::filesystem::path& group, const char* limit_file, const char* usage_file, const char* file_pages,
                    policy::NodeMemory& memory) {
  const auto limit = number_in(group / limit_file);
  const auto usage = number_in(group / usage_file);
  if (!limit || !usage) return;
  const std::int64_t used = std::max<std::int64_t>(0, *usage - value_of(group / "memory.stat", file_pages).value_or(0));
  const std::int64_t left = std::max<std::int64_t>(0, *limit - used);
  if (left < memory.available_bytes) memory = {left, "the limit of control group " + group.string()};
}

}  // namespace

policy::NodeMemory available_memory_below(const std::filesystem::path& root) {
  policy::NodeMemory memory{value_of(root / "proc/meminfo", "MemAvailable").value_or(std::numeric_limits<std::int64_t>::max()),
                            "MemAvailable of /proc/meminfo"};
  // Lines are "0::/path" (version 2) and "9:memory:/path" (version 1). A limit anywhere above the process's own
  // group holds too; inside a container the path may not be visible, and then its top is what counts.
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const bool version2 = second == first + 1;
    if (!version2 && !names_memory(line.substr(first + 1, second - first - 1))) continue;
    const std::filesystem::path top = root / (version2 ? "sys/fs/cgroup" : "sys/fs/cgroup/memory");
    std::filesystem::path below = std::filesystem::path(line.substr(second + 1)).relative_path();
    for (;; below = below.parent_path()) {
      if (version2) {
        consider_group(top / below, "memory.max", "memory.current", "inactive_file", memory);
      } else {
        consider_group(top / below, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", memory);
      }
      if (below.empty()) break;
    }
  }
  return memory;
}

policy::NodeMemory available_memory(double share) {
  const char* text = std::getenv(limit_variable);
  if (text == nullptr || *text == '\0') {
    policy::NodeMemory memory = available_memory_below("/");
    memory.available_bytes = static_cast<std::int64_t>(static_cast<double>(memory.available_bytes) * share);
    return memory;
  }
  const std::string_view digits(text);
  std::int64_t bytes = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bytes);
  if (error != std::errc{} || end != digits.data() + digits.size() || bytes < 0) {
    throw Failure{ExitCode::bad_usage, std::string(limit_variable) + "=" + text +
                                           " cannot be used (it is not a number of bytes) unset it or give one"};
  }
  return {bytes, limit_variable};
}

}  // namespace moebius::ranks
