// SPDX-License-Identifier: Apache-2.0
#pragma once
// Typed access to the fields of a request line, for the readers of requests. A field that is wrong throws
// BadField, which never leaves the reader: it becomes a BadLine. Fields that nobody asked for are
// counted. A field that is null counts as absent, as in the OpenAI API.

#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/request.hpp"
#include "io/strict_json.hpp"

namespace moebius::io {

/// What is wrong with a field; `message` has the usual form, without the line.
struct BadField {
  RowStatus status;
  std::string message;
};
[[noreturn]] void bad_field(std::string_view name, std::string_view problem, std::string_view what_to_do,
                            RowStatus status = RowStatus::bad_field);

struct Range {
  double min, max;
};

class RequestFields {
 public:
  /// `object` must be an object and outlive this; `prefix` ("body.") is put before names in messages.
  explicit RequestFields(const Json& object, std::string prefix = "") : object_(object), prefix_(std::move(prefix)) {}

  /// nullptr where it is absent or null. The field counts as known from now on.
  const Json* find(const char* name);
  const Json& required(const char* name);
  /// Known, and of no effect here.
  void accept(const char* name) { (void)find(name); }

  std::optional<std::string> string(const char* name);
  std::optional<bool> boolean(const char* name);
  std::optional<std::int64_t> integer(const char* name, std::int64_t min, std::int64_t max);
  std::optional<double> number(const char* name, Range range);
  /// Any 64-bit integer; a negative one counts modulo 2^64.
  std::optional<std::uint64_t> seed(const char* name);
  /// A string or a list of strings, none of them empty.
  std::vector<std::string> stop_strings(const char* name);
  /// A required string or list of token ids.
  TextOrIds text(const char* name);
  /// The same for a value inside a field; `name` as it shall stand in messages.
  [[nodiscard]] TextOrIds text_of(const Json& value, const std::string& name) const;

  [[nodiscard]] std::string full_name(std::string_view name) const { return prefix_ + std::string(name); }
  /// Fields of the object that nobody asked for.
  [[nodiscard]] int num_unknown() const;

 private:
  [[noreturn]] void mistyped(const std::string& name, const Json& value, std::string_view expected) const;

  const Json& object_;
  std::string prefix_;
  std::set<std::string, std::less<>> known_;
};

inline constexpr int max_logprobs = 20;  // SamplingOptions::num_logprobs
inline constexpr std::int64_t max_new_tokens = std::numeric_limits<std::int32_t>::max();

/// temperature, top_p, min_p, top_k and seed, which all forms of generation have.
void read_sampling(RequestFields& fields, double default_temperature, SamplingOptions& sampling);

/// True for the empty string and the empty list.
bool is_empty(const TextOrIds& text);

}  // namespace moebius::io
