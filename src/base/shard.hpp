// SPDX-License-Identifier: Apache-2.0
#pragma once
// One part of a job that several launches share, such as the tasks of a Slurm array: "2/16" is the third of
// sixteen. Which requests it has: policy/shard_split.hpp.

#include <optional>
#include <string>
#include <string_view>

namespace moebius {

struct Shard {
  int idx = 0;    ///< 0 <= idx < count
  int count = 1;
  bool operator==(const Shard&) const = default;
};

/// "2/16".
std::string to_string(const Shard& shard);
/// Nothing where the text is no shard.
std::optional<Shard> parse_shard(std::string_view text);

/// The folder of a shard inside of output.path: "shard-2-of-16".
std::string shard_folder_name(const Shard& shard);
/// Nothing where this is no such name.
std::optional<Shard> parse_shard_folder_name(std::string_view name);

}  // namespace moebius
