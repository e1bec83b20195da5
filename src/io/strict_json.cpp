// SPDX-License-Identifier: Apache-2.0
#include "io/strict_json.hpp"

#include <fmt/format.h>

#include "io/input_file.hpp"
#include "io/utf8.hpp"

namespace moebius::io {
namespace {

/// What the library says, without its error number and without the text it read last (which may be
/// megabytes long).
std::string short_reason(std::string what) {
  if (const auto end = what.find("] "); what.starts_with('[') && end != std::string::npos) what.erase(0, end + 2);
  if (const auto start = what.find("syntax error"); start != std::string::npos) what.erase(0, start);
  if (const auto begin = what.find("; last read: '"); begin != std::string::npos) {
    const auto end = what.rfind("'; expected ");
    what.erase(begin, end == std::string::npos || end < begin ? std::string::npos : end + 1 - begin);
  }
  return std::string(utf8_prefix(what, 200));
}

/// Builds the document while it watches depth and keys. The library's parser keeps its own stack on
/// the heap, so a document that is refused for its depth costs no call stack either.
class TreeBuilder final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t& value) override { return add(std::move(value)); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    Json& object = *open_.back();
    if (object.contains(name)) {
      return fail(JsonProblem::Kind::duplicate_key, 0,
                  fmt::format("key {} appears twice in one object", json_excerpt(Json(name), 100)));
    }
    slot_ = &object[std::move(name)];
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    const bool is_number = error.id == 406;  // out_of_range: the value is not finite
    return fail(is_number ? JsonProblem::Kind::number : JsonProblem::Kind::syntax, position,
                is_number ? "a number is too large" : short_reason(error.what()));
  }

  Json root;
  JsonProblem problem;

 private:
  template <class Value>
  Json* place(Value&& value) {
    if (open_.empty()) {
      root = std::forward<Value>(value);
      return &root;
    }
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::forward<Value>(value));
      return &open_.back()->back();
    }
    *slot_ = std::forward<Value>(value);
    return slot_;
  }
  template <class Value>
  bool add(Value&& value) {
    place(Json(std::forward<Value>(value)));
    return true;
  }
  bool open(Json container) {
    if (open_.size() >= max_json_depth) {
      return fail(JsonProblem::Kind::depth, 0, fmt::format("nested more than {} deep", max_json_depth));
    }
    open_.push_back(place(std::move(container)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }
  bool fail(JsonProblem::Kind kind, std::size_t offset, std::string message) {
    problem = {kind, offset, std::move(message)};
    return false;
  }

  std::vector<Json*> open_;  // containers not yet closed, outermost first; only the last one grows
  Json* slot_ = nullptr;     // where the value of the last key goes
};

}  // namespace

std::variant<Json, JsonProblem> parse_json(std::string_view text) {
  if (const auto offset = first_invalid_utf8(text)) {
    return JsonProblem{JsonProblem::Kind::utf8, *offset, fmt::format("byte {} is not valid UTF-8", *offset + 1)};
  }
  TreeBuilder builder;
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) return std::move(builder.problem);
  return std::move(builder.root);
}

Json parse_json_or_fail(std::string_view text, const std::string& file, ExitCode code) {
  auto parsed = parse_json(text);
  if (const auto* problem = std::get_if<JsonProblem>(&parsed)) {
    throw Failure{code, fmt::format("{} is not valid JSON ({}, byte {}) download or write the file again", file,
                                    problem->message, problem->offset)};
  }
  return std::get<Json>(std::move(parsed));
}

Json read_json_file(const std::filesystem::path& path, std::int64_t max_bytes, ExitCode code) {
  return parse_json_or_fail(read_text_file(path, max_bytes, code), path.string(), code);
}

std::string_view json_type_name(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return "true or false";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return "an integer";
    case Json::value_t::number_float:
      return "a number with a fraction or exponent";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::array:
      return "a list";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::binary:
    case Json::value_t::discarded:
      break;
  }
  return "something else";
}

std::string json_excerpt(const Json& value, std::size_t max_bytes) {
  // Only the start of long texts is looked at: a message must not cost what the row costs.
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    const auto prefix = utf8_prefix(text, max_bytes);
    return Json(std::string(prefix)).dump() + (prefix.size() < text.size() ? "..." : "");
  }
  if (value.is_structured()) return std::string(json_type_name(value));
  return value.dump();
}

}  // namespace moebius::io
