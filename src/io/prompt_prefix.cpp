// SPDX-License-Identifier: Apache-2.0
#include "io/prompt_prefix.hpp"

#include <algorithm>

#include "base/hash.hpp"

namespace moebius::io {
namespace {

/// The rest of `text` behind blanks, a colon and blanks; nothing where there is no colon.
std::string_view value_after(std::string_view text) {
  constexpr std::string_view blanks = " \t";
  text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
  if (!text.starts_with(':')) return {};
  text.remove_prefix(1);
  text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
  return text;
}

std::string_view prompt_of(std::string_view line) {
  const std::string_view head = line.substr(0, max_bytes_before_prompt);
  std::string_view longest;  // the earlier it begins
  for (const std::string_view key : {R"("context")", R"("prompt")", R"("messages")"}) {
    const auto found = head.find(key);
    if (found == std::string_view::npos) continue;
    const std::string_view value = value_after(line.substr(found + key.size()));
    if (value.size() > longest.size()) longest = value;
  }
  return longest;
}

}  // namespace

PrefixKeys prefix_keys(std::string_view line) {
  const std::string_view prompt = prompt_of(line);
  PrefixKeys keys{};
  for (std::size_t level = 0; level < keys.size(); ++level) {
    const auto num_bytes = static_cast<std::size_t>(prefix_key_bytes[level]);
    if (prompt.size() < num_bytes) break;
    // 0 means that there is no key.
    keys[level] = std::max(1U, static_cast<std::uint32_t>(xxh3_64(prompt.substr(0, num_bytes))));
  }
  return keys;
}

}  // namespace moebius::io
