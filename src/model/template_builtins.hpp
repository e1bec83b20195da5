// SPDX-License-Identifier: Apache-2.0
#pragma once
// The filters, tests, methods and functions that chat templates use, with Jinja's and Python's meaning.
// They throw TemplateFault(failed) where the original raises a TypeError or UndefinedError, and
// TemplateFault(unsupported) for arguments and names that are not known here.

#include <string_view>
#include <utility>
#include <vector>

#include "model/template_value.hpp"

namespace moebius::model {

/// Arguments of one call, without the value that a filter, test or method belongs to.
struct TemplateArguments {
  std::vector<TemplateValue> positional;
  std::vector<std::pair<std::string_view, TemplateValue>> named;

  [[nodiscard]] std::size_t size() const { return positional.size() + named.size(); }
  /// By place or by name; nullptr: not given.
  [[nodiscard]] const TemplateValue* find(std::size_t place, std::string_view name) const;
};

TemplateValue apply_filter(std::string_view name, const TemplateValue& value, const TemplateArguments& arguments, TemplateArena& arena);
bool apply_test(std::string_view name, const TemplateValue& value, const TemplateArguments& arguments);
TemplateValue call_method(std::string_view name, const TemplateValue& object, const TemplateArguments& arguments, TemplateArena& arena);
/// raise_exception, range, namespace, dict; others are unsupported.
TemplateValue call_function(std::string_view name, const TemplateArguments& arguments, TemplateArena& arena);
bool is_known_function(std::string_view name);

/// object.name and object[key]; what is not there is undefined, and an error on what is undefined itself.
TemplateValue attribute_of(const TemplateValue& object, std::string_view name);
TemplateValue element_of(const TemplateValue& object, const TemplateValue& key);
/// object[begin:end:step] as in Python; undefined and none mean the default.
TemplateValue slice_of(const TemplateValue& object, const TemplateValue& begin, const TemplateValue& end, const TemplateValue& step,
                       TemplateArena& arena);
/// One of + - * // % ~.
TemplateValue binary(std::string_view op, const TemplateValue& a, const TemplateValue& b, TemplateArena& arena);
/// One of == != < <= > >= in.
bool compare(std::string_view op, const TemplateValue& a, const TemplateValue& b);

}  // namespace moebius::model
