// SPDX-License-Identifier: Apache-2.0
#pragma once
// Values of a chat template while it runs, and the faults that end a run. Values are small and copied
// freely; what they point at lives in a TemplateArena, which dies with the run, or in the parsed template.

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moebius::model {

/// Thrown by the sources of the chat template only; ChatTemplate turns it into a row status.
struct TemplateFault {
  enum class Kind : std::uint8_t {
    refused,      ///< the template itself raised an exception, with this message
    failed,       ///< what the template does with these messages is an error in Jinja, too
    unsupported,  ///< right in Jinja, and not known here
  };
  Kind kind = Kind::failed;
  std::string message;
};
[[noreturn]] void template_failed(std::string message);
[[noreturn]] void template_unsupported(std::string message);

struct TemplateNode;
struct TemplateValue;
using TemplateList = std::vector<TemplateValue>;
struct TemplateDict;

struct TemplateValue {
  enum class Kind : std::uint8_t { undefined, none, boolean, integer, string, list, dict, name_space, macro, builtin };
  Kind kind = Kind::undefined;
  std::int64_t number = 0;  ///< boolean, integer
  std::string_view text;    ///< string; the name of what is undefined or a builtin
  const TemplateList* list = nullptr;
  TemplateDict* dict = nullptr;  ///< dict, name_space; only a namespace is ever changed
  const TemplateNode* macro = nullptr;

  static TemplateValue undefined(std::string_view name) { return {.kind = Kind::undefined, .text = name}; }
  static TemplateValue none() { return {.kind = Kind::none}; }
  static TemplateValue boolean(bool value) { return {.kind = Kind::boolean, .number = value ? 1 : 0}; }
  static TemplateValue integer(std::int64_t value) { return {.kind = Kind::integer, .number = value}; }
  static TemplateValue string(std::string_view value) { return {.kind = Kind::string, .text = value}; }

  [[nodiscard]] bool is(Kind other) const { return kind == other; }
  [[nodiscard]] bool is_number() const { return kind == Kind::boolean || kind == Kind::integer; }
  [[nodiscard]] bool is_mapping() const { return kind == Kind::dict || kind == Kind::name_space; }
};

/// Entries in the order in which they were set, as in Python.
struct TemplateDict {
  std::vector<std::pair<std::string_view, TemplateValue>> entries;
  [[nodiscard]] const TemplateValue* find(std::string_view key) const;
  void set(std::string_view key, const TemplateValue& value);
};

/// Owns what a run makes; nothing in it moves. Holds at most `max_bytes` of text.
class TemplateArena {
 public:
  static constexpr std::size_t max_bytes = std::size_t{1} << 30;
  std::string_view keep(std::string text);
  TemplateValue string(std::string text) { return TemplateValue::string(keep(std::move(text))); }
  TemplateValue list(TemplateList values);
  TemplateValue dict(TemplateDict entries, TemplateValue::Kind kind = TemplateValue::Kind::dict);

 private:
  std::deque<std::string> texts_;
  std::deque<TemplateList> lists_;
  std::deque<TemplateDict> dicts_;
  std::size_t num_bytes_ = 0;
};

/// As Python's bool().
bool is_true(const TemplateValue& value);
/// As Python's ==.
bool are_equal(const TemplateValue& a, const TemplateValue& b);
/// As Python's `needle in hay`.
bool contains(const TemplateValue& hay, const TemplateValue& needle);
/// As Python's str(); lists and mappings are unsupported.
std::string to_text(const TemplateValue& value);
/// As json.dumps(value, ensure_ascii=False).
std::string to_json(const TemplateValue& value);
/// What a loop runs over: elements, keys or characters.
TemplateList items_of(const TemplateValue& value);
/// As Python names the type, for messages.
std::string_view type_name(const TemplateValue& value);

}  // namespace moebius::model
