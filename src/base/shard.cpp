// SPDX-License-Identifier: Apache-2.0
#include "base/shard.hpp"

#include <fmt/format.h>

#include <charconv>

namespace moebius {
namespace {

constexpr std::string_view folder_prefix = "shard-", folder_middle = "-of-";

std::optional<int> parse_count(std::string_view digits) {
  int value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size() || value < 0) return {};
  return value;
}

std::optional<Shard> parse_parts(std::string_view text, std::string_view middle) {
  const auto at = text.find(middle);
  if (at == std::string_view::npos) return {};
  const auto idx = parse_count(text.substr(0, at)), count = parse_count(text.substr(at + middle.size()));
  if (!idx || !count || *idx >= *count) return {};
  return Shard{.idx = *idx, .count = *count};
}

}  // namespace

std::string to_string(const Shard& shard) { return fmt::format("{}/{}", shard.idx, shard.count); }

std::optional<Shard> parse_shard(std::string_view text) { return parse_parts(text, "/"); }

std::string shard_folder_name(const Shard& shard) {
  return fmt::format("{}{}{}{}", folder_prefix, shard.idx, folder_middle, shard.count);
}

std::optional<Shard> parse_shard_folder_name(std::string_view name) {
  if (!name.starts_with(folder_prefix)) return {};
  return parse_parts(name.substr(folder_prefix.size()), folder_middle);
}

}  // namespace moebius
