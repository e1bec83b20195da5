// SPDX-License-Identifier: Apache-2.0
#include "model/template_builtins.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

#include "model/template_syntax.hpp"
#include "model/template_text.hpp"

namespace moebius::model {
namespace {

using Value = TemplateValue;
using Kind = TemplateValue::Kind;
using Arguments = TemplateArguments;

constexpr std::array<std::string_view, 23> filters = {"trim",   "length", "count",      "list",       "first",      "last", "upper",
                                                      "lower",  "title",  "capitalize", "string",     "default",    "d",    "join",
                                                      "tojson", "safe",   "replace",    "selectattr", "rejectattr", "map",  "items",
                                                      "select", "reject"};
constexpr std::array<std::string_view, 22> tests = {"defined",  "undefined", "none",  "string",  "mapping", "iterable", "sequence", "boolean",
                                                    "integer",  "number",    "true",  "false",   "equalto", "eq",       "==",       "ne",
                                                    "in",       "odd",       "even",  "callable", "sameas", "divisibleby"};
constexpr std::array<std::string_view, 5> functions = {"raise_exception", "strftime_now", "range", "namespace", "dict"};
constexpr std::int64_t max_range = 1 << 20;

template <class Names>
bool is_one_of(std::string_view name, const Names& names) {
  return std::ranges::find(names, name) != names.end();
}

[[noreturn]] void is_undefined(const Value& value) {
  template_failed(fmt::format("'{}' is undefined", value.text.empty() ? "value" : value.text));
}

const Value& string_argument(const Arguments& arguments, std::size_t place, std::string_view name, std::string_view of) {
  const Value* value = arguments.find(place, name);
  if (value == nullptr || !value->is(Kind::string)) template_unsupported(fmt::format("the arguments of '{}'", of));
  return *value;
}

void expect_at_most(const Arguments& arguments, std::size_t num, std::string_view of) {
  if (arguments.size() > num) template_unsupported(fmt::format("the arguments of '{}'", of));
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  if (from.empty()) template_unsupported("replacing an empty text");
  std::string result;
  for (std::size_t found = text.find(from); found != std::string_view::npos; found = text.find(from)) {
    result += text.substr(0, found);
    result += to;
    text.remove_prefix(found + from.size());
  }
  return result += text;
}

Value length_of(const Value& value) {
  switch (value.kind) {
    case Kind::undefined: return Value::integer(0);
    case Kind::string: return Value::integer(static_cast<std::int64_t>(characters_of(value.text).size()));
    case Kind::list: return Value::integer(static_cast<std::int64_t>(value.list->size()));
    case Kind::dict: return Value::integer(static_cast<std::int64_t>(value.dict->entries.size()));
    default: template_failed(fmt::format("object of type '{}' has no len()", type_name(value)));
  }
}

LetterCase case_named(std::string_view name) {
  return name == "upper" ? LetterCase::upper : name == "lower" ? LetterCase::lower : name == "title" ? LetterCase::title : LetterCase::capitalize;
}

enum class Keeps : std::uint8_t { passing, failing };

/// What a filter (test, argument of the test) finds about a value; without a test, whether it is true.
bool passes_test(const Value& value, std::span<const Value> test) {
  if (test.empty()) return is_true(value);
  if (!test[0].is(Kind::string)) template_unsupported("a test without a name");
  if (!is_known_test(test[0].text)) template_unsupported(fmt::format("the test '{}'", test[0].text));
  return apply_test(test[0].text, value, {{test.begin() + 1, test.end()}, {}});
}

/// select(test, ...) and selectattr(attribute, test, ...), and their opposites.
Value select_items(std::string_view name, const Value& value, const Arguments& arguments, TemplateArena& arena) {
  const auto keeps = name.starts_with("select") ? Keeps::passing : Keeps::failing;
  const bool by_attribute = name.ends_with("attr");
  if (!arguments.named.empty()) template_unsupported(fmt::format("the arguments of '{}'", name));
  const std::string_view attribute = by_attribute ? string_argument(arguments, 0, "", name).text : std::string_view();
  const std::span<const Value> test = std::span(arguments.positional).subspan(by_attribute ? 1 : 0);
  TemplateList kept;
  for (const Value& item : items_of(value)) {
    const bool passes = passes_test(by_attribute ? attribute_of(item, attribute) : item, test);
    if (passes == (keeps == Keeps::passing)) kept.push_back(item);
  }
  return arena.list(std::move(kept));
}

Value map_to_attribute(const Value& value, const Arguments& arguments, TemplateArena& arena) {
  if (!arguments.positional.empty() || arguments.named.size() != 1 || arguments.named[0].first != "attribute") {
    template_unsupported("the arguments of 'map'");
  }
  TemplateList mapped;
  for (const Value& item : items_of(value)) {
    mapped.push_back(attribute_of(item, string_argument(arguments, 0, "attribute", "map").text));
  }
  return arena.list(std::move(mapped));
}

Value joined(const Value& value, std::string_view separator, TemplateArena& arena) {
  std::string text;
  bool first = true;
  for (const Value& item : items_of(value)) {
    if (!first) text += separator;
    text += to_text(item);
    first = false;
  }
  return arena.string(std::move(text));
}

Value pairs_of(const Value& value, TemplateArena& arena) {
  if (value.is(Kind::undefined)) return arena.list({});
  if (!value.is_mapping()) template_failed("Can only get item pairs from a mapping.");
  TemplateList pairs;
  for (const auto& [key, entry] : value.dict->entries) pairs.push_back(arena.list({Value::string(key), entry}));
  return arena.list(std::move(pairs));
}

Value default_of(const Value& value, const Arguments& arguments) {
  const Value* instead = arguments.find(0, "default_value");
  const Value* also_false = arguments.find(1, "boolean");
  const bool replaces = value.is(Kind::undefined) || (also_false != nullptr && is_true(*also_false) && !is_true(value));
  return !replaces ? value : instead != nullptr ? *instead : Value::string("");
}

Value end_of(const Value& value, std::string_view name) {
  const TemplateList items = items_of(value);
  if (items.empty()) return Value::undefined(name);
  return name == "first" ? items.front() : items.back();
}

Value string_method(std::string_view name, const Value& object, const Arguments& arguments, TemplateArena& arena) {
  const std::string_view text = object.text;
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    expect_at_most(arguments, 1, name);
    const bool with_set = arguments.size() > 0 && !arguments.positional[0].is(Kind::none);
    const std::string_view set = with_set ? string_argument(arguments, 0, "", name).text : std::string_view();
    if (with_set && set.empty()) return object;
    return Value::string(stripped(text, name == "strip" ? Side::both : name == "lstrip" ? Side::left : Side::right, set));
  }
  if (name == "startswith" || name == "endswith") {
    expect_at_most(arguments, 1, name);
    const std::string_view end = string_argument(arguments, 0, "", name).text;
    return Value::boolean(name == "startswith" ? text.starts_with(end) : text.ends_with(end));
  }
  if (name == "split") {
    expect_at_most(arguments, 2, name);
    const Value* limit = arguments.find(1, "maxsplit");
    if (limit != nullptr && !limit->is(Kind::integer)) template_unsupported("the arguments of 'split'");
    const Value* given = arguments.find(0, "sep");
    const bool by_spaces = given == nullptr || given->is(Kind::none);
    const std::string_view separator = by_spaces ? std::string_view() : string_argument(arguments, 0, "sep", name).text;
    if (!by_spaces && separator.empty()) template_failed("empty separator");
    TemplateList parts;
    for (const std::string_view part : split_text(text, separator, limit == nullptr ? -1 : limit->number)) parts.push_back(Value::string(part));
    return arena.list(std::move(parts));
  }
  if (name == "replace") {
    expect_at_most(arguments, 2, name);
    return arena.string(replace_all(text, string_argument(arguments, 0, "", name).text, string_argument(arguments, 1, "", name).text));
  }
  if (name == "join") return joined(arguments.positional.size() == 1 ? arguments.positional[0] : Value::none(), text, arena);
  if (name == "upper" || name == "lower" || name == "title" || name == "capitalize") return arena.string(with_case(text, case_named(name)));
  template_unsupported(fmt::format("the method '{}' of a text", name));
}

Value dict_method(std::string_view name, const Value& object, const Arguments& arguments, TemplateArena& arena) {
  if (name == "items") return pairs_of(object, arena);
  if (name == "get") {
    expect_at_most(arguments, 2, name);
    const Value* found = object.dict->find(string_argument(arguments, 0, "", name).text);
    return found != nullptr ? *found : arguments.size() > 1 ? arguments.positional[1] : Value::none();
  }
  TemplateList list;
  for (const auto& [key, entry] : object.dict->entries) list.push_back(name == "keys" ? Value::string(key) : entry);
  if (name == "keys" || name == "values") return arena.list(std::move(list));
  template_unsupported(fmt::format("the method '{}' of a mapping", name));
}

/// Place of an element of `size` that may count from the end; outside: -1.
std::int64_t place_of(std::int64_t idx, std::size_t size) {
  const auto count = static_cast<std::int64_t>(size);
  if (idx < 0) idx += count;
  return idx >= 0 && idx < count ? idx : -1;
}

/// The places that object[begin:end:step] takes.
std::vector<std::size_t> places_of_slice(std::size_t size, const Value& begin, const Value& end, std::int64_t step) {
  const auto count = static_cast<std::int64_t>(size);
  const auto clamped = [&](const Value& value, std::int64_t otherwise, std::int64_t low, std::int64_t high) {
    if (!value.is_number()) return otherwise;
    return std::clamp(value.number < 0 ? value.number + count : value.number, low, high);
  };
  std::vector<std::size_t> places;
  if (step > 0) {
    const std::int64_t last = clamped(end, count, 0, count);
    for (std::int64_t i = clamped(begin, 0, 0, count); i < last; i += step) places.push_back(static_cast<std::size_t>(i));
  } else {
    const std::int64_t last = clamped(end, -1, -1, count - 1);
    for (std::int64_t i = clamped(begin, count - 1, -1, count - 1); i > last; i += step) places.push_back(static_cast<std::size_t>(i));
  }
  return places;
}

[[noreturn]] void unsupported_operands(std::string_view op, const Value& a, const Value& b) {
  if (a.is(Kind::undefined)) is_undefined(a);
  if (b.is(Kind::undefined)) is_undefined(b);
  template_failed(fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", op, type_name(a), type_name(b)));
}

std::int64_t arithmetic(std::string_view op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  if (op == "+") overflow = __builtin_add_overflow(a, b, &result);
  else if (op == "-") overflow = __builtin_sub_overflow(a, b, &result);
  else if (op == "*") overflow = __builtin_mul_overflow(a, b, &result);
  else if (b == 0) template_failed("integer division or modulo by zero");
  else if (b == -1) result = op == "%" ? 0 : __builtin_sub_overflow(std::int64_t{0}, a, &result) ? 0 : -a;
  else {
    const std::int64_t remainder = (a % b + b) % b;  // has the sign of b, as in Python
    result = op == "%" ? remainder : (a - remainder) / b;
  }
  if (overflow) template_unsupported("numbers beyond 64 bits");
  return result;
}

}  // namespace

bool is_known_filter(std::string_view name) { return is_one_of(name, filters); }
bool is_known_test(std::string_view name) { return is_one_of(name, tests); }
bool is_known_function(std::string_view name) { return is_one_of(name, functions); }

const Value* TemplateArguments::find(std::size_t place, std::string_view name) const {
  if (place < positional.size()) return &positional[place];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments, TemplateArena& arena) {
  if (name == "default" || name == "d") return default_of(value, arguments);
  if (name.starts_with("select") || name.starts_with("reject")) return select_items(name, value, arguments, arena);
  if (name == "map") return map_to_attribute(value, arguments, arena);
  if (name == "join") {
    expect_at_most(arguments, 1, name);
    return joined(value, arguments.size() == 0 ? std::string_view() : string_argument(arguments, 0, "d", name).text, arena);
  }
  if (name == "replace") return string_method(name, arena.string(to_text(value)), arguments, arena);
  if (name == "trim") return string_method("strip", arena.string(to_text(value)), arguments, arena);
  if (name == "tojson" && value.is(Kind::undefined)) template_failed("Object of type Undefined is not JSON serializable");
  if (arguments.size() > 0) template_unsupported(fmt::format("the arguments of '{}'", name));
  if (name == "length" || name == "count") return length_of(value);
  if (name == "list") return arena.list(items_of(value));
  if (name == "first" || name == "last") return end_of(value, name);
  if (name == "string" || name == "safe") return arena.string(to_text(value));
  if (name == "tojson") return arena.string(to_json(value));
  if (name == "items") return pairs_of(value, arena);
  return arena.string(with_case(to_text(value), case_named(name)));
}

bool apply_test(std::string_view name, const Value& value, const Arguments& arguments) {
  const auto argument = [&]() -> const Value& {
    if (arguments.size() != 1) template_unsupported(fmt::format("the arguments of '{}'", name));
    return arguments.named.empty() ? arguments.positional[0] : arguments.named[0].second;
  };
  if (name == "equalto" || name == "eq" || name == "==") return are_equal(value, argument());
  if (name == "ne") return !are_equal(value, argument());
  if (name == "in") return contains(argument(), value);
  if (name == "sameas") return value.kind == argument().kind && are_equal(value, argument());
  if (name == "divisibleby") {
    if (!value.is_number() || !argument().is_number()) template_failed("'divisibleby' needs numbers");
    return arithmetic("%", value.number, argument().number) == 0;
  }
  if (arguments.size() > 0) template_unsupported(fmt::format("the arguments of '{}'", name));
  if (name == "defined") return !value.is(Kind::undefined);
  if (name == "undefined") return value.is(Kind::undefined);
  if (name == "none") return value.is(Kind::none);
  if (name == "string") return value.is(Kind::string);
  if (name == "mapping") return value.is(Kind::dict);
  if (name == "sequence" || name == "iterable") {
    return value.is(Kind::string) || value.is(Kind::list) || value.is(Kind::dict) || value.is(Kind::undefined);
  }
  if (name == "boolean") return value.is(Kind::boolean);
  if (name == "integer") return value.is(Kind::integer);
  if (name == "number") return value.is_number();
  if (name == "callable") return value.is(Kind::macro) || value.is(Kind::builtin);
  if (name == "true" || name == "false") return value.is(Kind::boolean) && (value.number != 0) == (name == "true");
  if (!value.is_number()) template_failed(fmt::format("'{}' needs a number", name));
  return (value.number % 2 != 0) == (name == "odd");
}

Value call_method(std::string_view name, const Value& object, const Arguments& arguments, TemplateArena& arena) {
  if (object.is(Kind::undefined)) is_undefined(object);
  if (object.is(Kind::string)) return string_method(name, object, arguments, arena);
  if (object.is_mapping()) return dict_method(name, object, arguments, arena);
  if (object.is(Kind::none)) template_failed(fmt::format("'None' has no attribute '{}'", name));
  template_unsupported(fmt::format("the method '{}' of a {}", name, type_name(object)));
}

Value call_function(std::string_view name, const Arguments& arguments, TemplateArena& arena) {
  if (name == "raise_exception") {
    const Value* message = arguments.find(0, "message");
    throw TemplateFault{TemplateFault::Kind::refused, message == nullptr ? "" : to_text(*message)};
  }
  if (name == "namespace" || name == "dict") {
    if (!arguments.positional.empty()) template_unsupported(fmt::format("the arguments of '{}'", name));
    return arena.dict({arguments.named}, name == "namespace" ? Kind::name_space : Kind::dict);
  }
  if (name == "range") {
    const auto& places = arguments.positional;
    if (places.empty() || places.size() > 2 || !arguments.named.empty() || !std::ranges::all_of(places, &Value::is_number)) {
      template_unsupported("the arguments of 'range'");
    }
    const std::int64_t begin = places.size() == 2 ? places[0].number : 0, end = places.back().number;
    if (end > begin && (end > max_range || begin < -max_range)) template_unsupported("a 'range' that is too long");
    TemplateList numbers;
    for (std::int64_t i = begin; i < end; ++i) numbers.push_back(Value::integer(i));
    return arena.list(std::move(numbers));
  }
  if (name == "strftime_now") {
    template_unsupported("it asks for today's date (results must not depend on the day), give it in chat_template_kwargs where it takes one");
  }
  template_unsupported(fmt::format("the function '{}'", name));
}

Value attribute_of(const Value& object, std::string_view name) {
  if (object.is(Kind::undefined)) is_undefined(object);
  const Value* found = object.is_mapping() ? object.dict->find(name) : nullptr;
  return found != nullptr ? *found : Value::undefined(name);
}

Value element_of(const Value& object, const Value& key) {
  if (object.is(Kind::undefined)) is_undefined(object);
  if (key.is(Kind::string)) return attribute_of(object, key.text);
  if (!key.is_number()) return Value::undefined("element");
  if (object.is(Kind::list)) {
    const std::int64_t place = place_of(key.number, object.list->size());
    return place < 0 ? Value::undefined("element") : (*object.list)[static_cast<std::size_t>(place)];
  }
  if (object.is(Kind::string)) {
    const auto characters = characters_of(object.text);
    const std::int64_t place = place_of(key.number, characters.size());
    return place < 0 ? Value::undefined("element") : Value::string(characters[static_cast<std::size_t>(place)]);
  }
  return Value::undefined("element");
}

Value slice_of(const Value& object, const Value& begin, const Value& end, const Value& step, TemplateArena& arena) {
  const std::int64_t by = step.is_number() ? step.number : 1;
  if (by == 0) template_failed("slice step cannot be zero");
  if (by > max_range || by < -max_range) template_unsupported("a slice with such a step");
  if (object.is(Kind::list)) {
    TemplateList part;
    for (const std::size_t place : places_of_slice(object.list->size(), begin, end, by)) part.push_back((*object.list)[place]);
    return arena.list(std::move(part));
  }
  if (object.is(Kind::string)) {
    const auto characters = characters_of(object.text);
    std::string part;
    for (const std::size_t place : places_of_slice(characters.size(), begin, end, by)) part += characters[place];
    return arena.string(std::move(part));
  }
  if (object.is(Kind::undefined)) is_undefined(object);
  template_failed(fmt::format("'{}' object is not subscriptable", type_name(object)));
}

Value binary(std::string_view op, const Value& a, const Value& b, TemplateArena& arena) {
  if (op == "~") return arena.string(to_text(a) + to_text(b));
  if (a.is_number() && b.is_number()) return Value::integer(arithmetic(op, a.number, b.number));
  if (op == "+" && a.is(Kind::string) && b.is(Kind::string)) return arena.string(std::string(a.text).append(b.text));
  if (op == "+" && a.is(Kind::list) && b.is(Kind::list)) {
    TemplateList both = *a.list;
    both.insert(both.end(), b.list->begin(), b.list->end());
    return arena.list(std::move(both));
  }
  const bool repeats = op == "*" && (a.is(Kind::list) || b.is(Kind::list) || b.is(Kind::string));
  if (repeats || ((op == "%" || op == "*") && a.is(Kind::string))) template_unsupported(fmt::format("'{}' on a text or list", op));
  unsupported_operands(op, a, b);
}

bool compare(std::string_view op, const Value& a, const Value& b) {
  if (op == "==") return are_equal(a, b);
  if (op == "!=") return !are_equal(a, b);
  if (op == "in") return contains(b, a);
  int order = 0;
  if (a.is_number() && b.is_number()) order = a.number < b.number ? -1 : a.number > b.number ? 1 : 0;
  else if (a.is(Kind::string) && b.is(Kind::string)) order = a.text.compare(b.text);  // UTF-8 sorts as its code points
  else if (a.is(Kind::list) && b.is(Kind::list)) template_unsupported("an order of lists");
  else unsupported_operands(op, a, b);
  return op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
}

}  // namespace moebius::model
