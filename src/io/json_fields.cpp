// SPDX-License-Identifier: Apache-2.0
#include "io/json_fields.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

namespace moebius::io {

JsonFields::JsonFields(const Json& object, std::string file, std::string where)
    : object_(object), file_(std::move(file)), where_(std::move(where)) {
  if (!object_.is_object()) {
    // Without the dot that parts `where` from its keys.
    const auto what = where_.empty() ? "the document" : "key " + where_.substr(0, where_.size() - 1);
    throw Failure{ExitCode::unreadable_input, fmt::format("{}: {} is {} (it must be an object) download the file again",
                                                          file_, what, json_type_name(object_))};
  }
}

void JsonFields::fail(const std::string& key, const std::string& problem, const std::string& what_to_do) const {
  throw Failure{ExitCode::unreadable_input, fmt::format("{}: key {}{} {} {}", file_, where_, key, problem, what_to_do)};
}

void JsonFields::refuse(const std::string& key, const std::string& value, const std::string& only) const {
  fail(key, fmt::format("is {} (this version of moebius runs only {})", value, only), "use another checkpoint");
}

const Json* JsonFields::find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const Json& JsonFields::required(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) fail(key, "is missing (nothing else says it)", "download the file again");
  return *value;
}

std::int64_t JsonFields::checked_integer(const char* key, const Json& value, std::int64_t min, std::int64_t max) const {
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const bool fits = value.is_number_integer() && !(value.is_number_unsigned() && value.get<std::uint64_t>() > most);
  if (!fits || value.get<std::int64_t>() < min || value.get<std::int64_t>() > max) {
    fail(key, fmt::format("is {} (it must be an integer from {} to {})", json_excerpt(value), min, max),
         "mend the file");
  }
  return value.get<std::int64_t>();
}

std::int64_t JsonFields::integer(const char* key, std::int64_t min, std::int64_t max) const {
  return checked_integer(key, required(key), min, max);
}

std::int64_t JsonFields::integer_or(const char* key, std::int64_t otherwise, std::int64_t min, std::int64_t max) const {
  const Json* value = find(key);
  return value == nullptr ? otherwise : checked_integer(key, *value, min, max);
}

double JsonFields::number(const char* key) const {
  const Json& value = required(key);
  if (!value.is_number()) fail(key, fmt::format("is {} (it must be a number)", json_excerpt(value)), "mend the file");
  return value.get<double>();
}

std::optional<bool> JsonFields::boolean(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) {
    fail(key, fmt::format("is {} (it must be true or false)", json_excerpt(*value)), "mend the file");
  }
  return value->get<bool>();
}

std::string JsonFields::string(const char* key) const {
  const Json& value = required(key);
  if (!value.is_string()) fail(key, fmt::format("is {} (it must be a string)", json_excerpt(value)), "mend the file");
  return value.get<std::string>();
}

std::string JsonFields::string_or(const char* key, const char* otherwise) const {
  return has(key) ? string(key) : std::string(otherwise);
}

std::vector<std::int64_t> JsonFields::integers(const char* key, std::int64_t min, std::int64_t max) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array()) return {checked_integer(key, *value, min, max)};
  std::vector<std::int64_t> values;
  values.reserve(value->size());
  for (const auto& element : *value) values.push_back(checked_integer(key, element, min, max));
  return values;
}

const Json& JsonFields::list(const char* key) const {
  const Json& value = required(key);
  if (!value.is_array()) fail(key, fmt::format("is {} (it must be a list)", json_type_name(value)), "mend the file");
  return value;
}

JsonFields JsonFields::object(const char* key) const {
  const Json& value = required(key);
  if (!value.is_object())
    fail(key, fmt::format("is {} (it must be an object)", json_type_name(value)), "mend the file");
  return {value, file_, where_ + key + "."};
}

}  // namespace moebius::io
