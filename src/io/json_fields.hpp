// SPDX-License-Identifier: Apache-2.0
#pragma once
// Typed access to the keys of a JSON object of a checkpoint, with errors that name file and key. For
// the sources of `io` only. A key that is absent and one that is null are the same thing: published
// files use both for "not set".

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/strict_json.hpp"

namespace moebius::io {

class JsonFields {
 public:
  /// `object` must outlive this. `where` is put before the keys in messages: "config.json key rope_parameters.".
  /// Throws Failure{unreadable_input} when `object` is not an object.
  JsonFields(const Json& object, std::string file, std::string where = "");

  [[nodiscard]] bool has(const char* key) const { return find(key) != nullptr; }
  /// nullptr where the key is absent or null.
  [[nodiscard]] const Json* find(const char* key) const;

  [[nodiscard]] std::int64_t integer(const char* key, std::int64_t min, std::int64_t max) const;
  [[nodiscard]] std::int64_t integer_or(const char* key, std::int64_t otherwise, std::int64_t min,
                                        std::int64_t max) const;
  [[nodiscard]] double number(const char* key) const;
  [[nodiscard]] std::optional<bool> boolean(const char* key) const;
  [[nodiscard]] std::string string(const char* key) const;
  [[nodiscard]] std::string string_or(const char* key, const char* otherwise) const;
  /// A list of integers; a single integer is a list of one; absent: empty.
  [[nodiscard]] std::vector<std::int64_t> integers(const char* key, std::int64_t min, std::int64_t max) const;
  [[nodiscard]] const Json& list(const char* key) const;
  [[nodiscard]] JsonFields object(const char* key) const;

  /// "file: key x <problem>".
  [[noreturn]] void fail(const std::string& key, const std::string& problem, const std::string& what_to_do) const;
  /// A value that is right in itself and that this program does not run.
  [[noreturn]] void refuse(const std::string& key, const std::string& value, const std::string& only) const;

 private:
  [[nodiscard]] const Json& required(const char* key) const;
  [[nodiscard]] std::int64_t checked_integer(const char* key, const Json& value, std::int64_t min,
                                             std::int64_t max) const;

  const Json& object_;
  std::string file_, where_;
};

}  // namespace moebius::io
