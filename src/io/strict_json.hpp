// SPDX-License-Identifier: Apache-2.0
#pragma once
// JSON as this program accepts it: RFC 8259 and no more, in valid UTF-8, no key twice in an object, no
// nesting deep enough to trouble a recursive walk. For the sources of `io` only (it includes the JSON
// library); never throws for what the text contains.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>

#include "base/failure.hpp"

namespace moebius::io {

using Json = nlohmann::json;

struct JsonProblem {
  enum class Kind : std::uint8_t { syntax, utf8, number, depth, duplicate_key };
  Kind kind = Kind::syntax;
  std::size_t offset = 0;  ///< of the byte where the problem was seen
  std::string message;     ///< valid UTF-8, at most a few hundred bytes
};

inline constexpr int max_json_depth = 64;

std::variant<Json, JsonProblem> parse_json(std::string_view text);

/// Parse a text that came from `file`; throws Failure{code} naming the file and the problem.
Json parse_json_or_fail(std::string_view text, const std::string& file, ExitCode code = ExitCode::unreadable_input);

/// Read and parse a whole file.
Json read_json_file(const std::filesystem::path& path, std::int64_t max_bytes,
                    ExitCode code = ExitCode::unreadable_input);

/// "a string", "a list", ... for messages.
std::string_view json_type_name(const Json& value);

/// The value as JSON text for a message: valid UTF-8, shortened to about `max_bytes`.
std::string json_excerpt(const Json& value, std::size_t max_bytes = 60);

}  // namespace moebius::io
