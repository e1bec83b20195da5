// SPDX-License-Identifier: Apache-2.0
#include "io/request_fields.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <variant>

namespace moebius::io {
namespace {

constexpr std::size_t max_stop_strings = 64;

/// Range of a 64-bit signed integer; JSON numbers above it are unsigned.
bool fits_int64(const Json& value) {
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  return value.is_number_integer() && !(value.is_number_unsigned() && value.get<std::uint64_t>() > most);
}

std::vector<TokenId> token_ids(const Json& list, const std::string& name) {
  std::vector<TokenId> ids;
  ids.reserve(list.size());
  for (const auto& value : list) {
    const auto place = [&] { return fmt::format("{}[{}]", name, ids.size()); };
    if (!value.is_number()) {
      bad_field(place(), fmt::format("is {} (a list in place of a text holds token ids)", json_excerpt(value)),
                "correct it");
    }
    // A whole number beyond 64 bits arrives as a floating-point one.
    const bool is_fraction = value.is_number_float() && std::abs(value.get<double>()) < 1e18;
    if (is_fraction)
      bad_field(place(), fmt::format("is {} (token ids are integers)", json_excerpt(value)), "correct it");
    if (!fits_int64(value) || value.get<std::int64_t>() < 0 ||
        value.get<std::int64_t>() > std::numeric_limits<TokenId>::max()) {
      bad_field(place(), fmt::format("is {} (no vocabulary has such a token id)", json_excerpt(value)), "correct it",
                RowStatus::bad_token);
    }
    ids.push_back(value.get<TokenId>());
  }
  return ids;
}

// Above this every token is equally probable in float anyway.
constexpr Range temperatures{0.0, 1000.0}, probabilities{0.0, 1.0};

/// top_p of 0 would keep no token.
double read_top_p(RequestFields& fields) {
  const double top_p = fields.number("top_p", probabilities).value_or(1.0);
  if (top_p == 0.0)
    bad_field(fields.full_name("top_p"), "is 0 (no token would be left)", "use a temperature of 0 for greedy");
  return top_p;
}

}  // namespace

void bad_field(std::string_view name, std::string_view problem, std::string_view what_to_do, RowStatus status) {
  throw BadField{status, fmt::format("field {} {} {}", name, problem, what_to_do)};
}

bool is_empty(const TextOrIds& text) {
  return std::visit([](const auto& content) { return content.empty(); }, text);
}

void RequestFields::mistyped(const std::string& name, const Json& value, std::string_view expected) const {
  bad_field(name, fmt::format("is {} (it must be {})", json_excerpt(value), expected), "correct it");
}

const Json* RequestFields::find(const char* name) {
  known_.emplace(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const Json& RequestFields::required(const char* name) {
  const Json* value = find(name);
  if (value == nullptr) bad_field(full_name(name), "is missing (this form of request needs it)", "add it");
  return *value;
}

std::optional<std::string> RequestFields::string(const char* name) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) mistyped(full_name(name), *value, "a string");
  return value->get<std::string>();
}

std::optional<bool> RequestFields::boolean(const char* name) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) mistyped(full_name(name), *value, "true or false");
  return value->get<bool>();
}

std::optional<std::int64_t> RequestFields::integer(const char* name, std::int64_t min, std::int64_t max) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!fits_int64(*value) || value->get<std::int64_t>() < min || value->get<std::int64_t>() > max) {
    mistyped(full_name(name), *value, fmt::format("an integer from {} to {}", min, max));
  }
  return value->get<std::int64_t>();
}

std::optional<double> RequestFields::number(const char* name, Range range) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number() || !(value->get<double>() >= range.min && value->get<double>() <= range.max)) {
    mistyped(full_name(name), *value, fmt::format("a number from {} to {}", range.min, range.max));
  }
  return value->get<double>();
}

std::optional<std::uint64_t> RequestFields::seed(const char* name) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) mistyped(full_name(name), *value, "a 64-bit integer");
  return value->is_number_unsigned() ? value->get<std::uint64_t>()
                                     : static_cast<std::uint64_t>(value->get<std::int64_t>());
}

std::vector<std::string> RequestFields::stop_strings(const char* name) {
  const Json* value = find(name);
  if (value == nullptr) return {};
  std::vector<std::string> strings;
  const auto add = [&](const Json& element, const std::string& place) {
    if (!element.is_string()) mistyped(place, element, "a string (what ends a text is a text, never token ids)");
    if (element.get_ref<const std::string&>().empty()) {
      bad_field(place, "is empty (it would end every text at once)", "remove it");
    }
    strings.push_back(element.get<std::string>());
  };
  if (!value->is_array()) {
    add(*value, full_name(name));
    return strings;
  }
  if (value->size() > max_stop_strings) {
    bad_field(full_name(name),
              fmt::format("has {} strings (at most {} are looked for)", value->size(), max_stop_strings), "shorten it");
  }
  for (const auto& element : *value) add(element, fmt::format("{}[{}]", full_name(name), strings.size()));
  return strings;
}

TextOrIds RequestFields::text(const char* name) { return text_of(required(name), full_name(name)); }

TextOrIds RequestFields::text_of(const Json& value, const std::string& name) const {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) return token_ids(value, name);
  mistyped(name, value, "a string or a list of token ids");
}

void read_sampling(RequestFields& fields, double default_temperature, SamplingOptions& sampling) {
  sampling.temperature = fields.number("temperature", temperatures).value_or(default_temperature);
  sampling.top_p = read_top_p(fields);
  sampling.min_p = fields.number("min_p", probabilities).value_or(0.0);
  sampling.top_k = static_cast<int>(fields.integer("top_k", 0, max_new_tokens).value_or(0));
  sampling.seed = fields.seed("seed");
}

int RequestFields::num_unknown() const {
  return static_cast<int>(
      std::ranges::count_if(object_.items(), [&](const auto& item) { return !known_.contains(item.key()); }));
}

}  // namespace moebius::io
