// SPDX-License-Identifier: Apache-2.0
#include "model/template_value.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "model/template_text.hpp"

namespace moebius::model {

using Kind = TemplateValue::Kind;

void template_failed(std::string message) { throw TemplateFault{TemplateFault::Kind::failed, std::move(message)}; }
void template_unsupported(std::string message) { throw TemplateFault{TemplateFault::Kind::unsupported, std::move(message)}; }

const TemplateValue* TemplateDict::find(std::string_view key) const {
  const auto found = std::ranges::find(entries, key, &std::pair<std::string_view, TemplateValue>::first);
  return found == entries.end() ? nullptr : &found->second;
}

void TemplateDict::set(std::string_view key, const TemplateValue& value) {
  const auto found = std::ranges::find(entries, key, &std::pair<std::string_view, TemplateValue>::first);
  if (found == entries.end()) {
    entries.emplace_back(key, value);
  } else {
    found->second = value;
  }
}

std::string_view TemplateArena::keep(std::string text) {
  num_bytes_ += text.size();
  if (num_bytes_ > max_bytes) template_failed("it makes more text than fits into a gigabyte");
  return texts_.emplace_back(std::move(text));
}

TemplateValue TemplateArena::list(TemplateList values) {
  return {.kind = Kind::list, .list = &lists_.emplace_back(std::move(values))};
}

TemplateValue TemplateArena::dict(TemplateDict entries, Kind kind) {
  return {.kind = kind, .dict = &dicts_.emplace_back(std::move(entries))};
}

bool is_true(const TemplateValue& value) {
  switch (value.kind) {
    case Kind::undefined:
    case Kind::none: return false;
    case Kind::boolean:
    case Kind::integer: return value.number != 0;
    case Kind::string: return !value.text.empty();
    case Kind::list: return !value.list->empty();
    case Kind::dict: return !value.dict->entries.empty();
    case Kind::name_space:
    case Kind::macro:
    case Kind::builtin: return true;
  }
  return false;
}

bool are_equal(const TemplateValue& a, const TemplateValue& b) {
  if (a.is_number() && b.is_number()) return a.number == b.number;
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::undefined:
    case Kind::none: return true;
    case Kind::string:
    case Kind::builtin: return a.text == b.text;
    case Kind::list: return std::ranges::equal(*a.list, *b.list, are_equal);
    case Kind::dict:
      return a.dict->entries.size() == b.dict->entries.size() && std::ranges::all_of(a.dict->entries, [&](const auto& entry) {
               const TemplateValue* other = b.dict->find(entry.first);
               return other != nullptr && are_equal(entry.second, *other);
             });
    default: return a.dict == b.dict && a.macro == b.macro;
  }
}

bool contains(const TemplateValue& hay, const TemplateValue& needle) {
  switch (hay.kind) {
    case Kind::undefined: return false;
    case Kind::string:
      if (!needle.is(Kind::string)) template_failed("'in <string>' requires string as left operand");
      return hay.text.find(needle.text) != std::string_view::npos;
    case Kind::list: return std::ranges::any_of(*hay.list, [&](const TemplateValue& value) { return are_equal(value, needle); });
    case Kind::dict:
      if (needle.is(Kind::list) || needle.is(Kind::dict)) template_failed(fmt::format("unhashable type: '{}'", type_name(needle)));
      return needle.is(Kind::string) && hay.dict->find(needle.text) != nullptr;
    default: template_failed(fmt::format("argument of type '{}' is not iterable", type_name(hay)));
  }
}

std::string to_text(const TemplateValue& value) {
  switch (value.kind) {
    case Kind::undefined: return "";
    case Kind::none: return "None";
    case Kind::boolean: return value.number != 0 ? "True" : "False";
    case Kind::integer: return std::to_string(value.number);
    case Kind::string: return std::string(value.text);
    default: template_unsupported(fmt::format("it writes a whole {} into the text", type_name(value)));
  }
}

std::string to_json(const TemplateValue& value) {
  std::string json;
  const auto join = [&](char open, char close, const auto& parts, const auto& write) {
    json += open;
    for (const auto& part : parts) {
      if (json.size() > 1) json += ", ";
      write(part);
    }
    json += close;
  };
  switch (value.kind) {
    case Kind::none: return "null";
    case Kind::boolean: return value.number != 0 ? "true" : "false";
    case Kind::integer: return std::to_string(value.number);
    case Kind::string: return json_string(value.text);
    case Kind::list: join('[', ']', *value.list, [&](const TemplateValue& element) { json += to_json(element); }); return json;
    case Kind::dict:
      join('{', '}', value.dict->entries, [&](const auto& entry) { json += json_string(entry.first) + ": " + to_json(entry.second); });
      return json;
    default: template_failed(fmt::format("Object of type {} is not JSON serializable", type_name(value)));
  }
}

TemplateList items_of(const TemplateValue& value) {
  TemplateList items;
  switch (value.kind) {
    case Kind::undefined: return items;
    case Kind::list: return *value.list;
    case Kind::dict:
      for (const auto& entry : value.dict->entries) items.push_back(TemplateValue::string(entry.first));
      return items;
    case Kind::string:
      for (const std::string_view character : characters_of(value.text)) items.push_back(TemplateValue::string(character));
      return items;
    default: template_failed(fmt::format("'{}' object is not iterable", type_name(value)));
  }
}

std::string_view type_name(const TemplateValue& value) {
  switch (value.kind) {
    case Kind::undefined: return "Undefined";
    case Kind::none: return "NoneType";
    case Kind::boolean: return "bool";
    case Kind::integer: return "int";
    case Kind::string: return "str";
    case Kind::list: return "list";
    case Kind::dict: return "dict";
    case Kind::name_space: return "Namespace";
    case Kind::macro: return "Macro";
    case Kind::builtin: return "function";
  }
  return "";
}

}  // namespace moebius::model
