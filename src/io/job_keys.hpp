// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one table of job keys: name, meaning, type, range, default, and where the value lives in Job.
// Parsing, defaults, `moebius show`, its --keys and the fingerprint are all made from it, so that a key
// is added in one place. For job_file.cpp and its tests only.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/job.hpp"

namespace moebius::io {

struct IntegerKey {
  std::int64_t min, max;
  std::function<std::int64_t(const Job&)> get;
  std::function<void(Job&, std::int64_t)> set;
};
/// Integers are accepted too.
struct NumberKey {
  double min, max;
  std::function<double(const Job&)> get;
  std::function<void(Job&, double)> set;
};
struct SwitchKey {
  bool& (*of)(Job&);
};
/// A path: it must be given.
struct PathKey {
  std::string& (*of)(Job&);
};
/// A path that may be left out.
struct OptionalPathKey {
  std::string& (*of)(Job&);
};
/// A list of numbers, possibly empty.
struct NumberListKey {
  double min, max;
  std::vector<double>& (*of)(Job&);
};
/// One word of a list.
struct ChoiceKey {
  std::vector<std::string_view> allowed;
  std::function<std::string_view(const Job&)> get;
  std::function<void(Job&, std::string_view)> set;
};

/// Whether another value gives other results, so that a run with it cannot continue an old one.
enum class Effect : std::uint8_t { results, execution };

struct JobKey {
  std::string_view name;  ///< "limits.kv_tokens"
  Effect effect;
  std::variant<IntegerKey, NumberKey, SwitchKey, PathKey, OptionalPathKey, NumberListKey, ChoiceKey> type;
  std::string_view help;
};

/// In the order of the documentation; keys of a section stand together.
std::span<const JobKey> job_key_table();

std::string_view section_of(std::string_view key_name);
/// The value in `job` as TOML.
std::string value_as_toml(const JobKey& key, const Job& job);
std::string number_as_toml(double value);
/// A TOML basic string, quotes included.
std::string quoted_toml(std::string_view text);
/// "an integer from 1 to 65536", "\"split\" or \"colocated\"", ...
std::string describe_allowed(const JobKey& key);

}  // namespace moebius::io
