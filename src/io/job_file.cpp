// SPDX-License-Identifier: Apache-2.0
#include "io/job_file.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <sstream>
#include <toml.hpp>

#include "base/failure.hpp"
#include "base/hash.hpp"
#include "io/input_file.hpp"
#include "io/job_keys.hpp"
#include "io/utf8.hpp"

namespace moebius::io {
namespace {

using Toml = toml::basic_value<toml::discard_comments, std::map, std::vector>;

// A job file is a page. These bounds keep the parser, which recurses, away from absurd ones.
constexpr std::int64_t max_job_bytes = 1 << 20;
constexpr std::ptrdiff_t max_brackets = 1000;

[[noreturn]] void fail(const std::string& message) { throw Failure{ExitCode::bad_usage, message}; }

/// A name as a message shows it: not too long, and on one line whatever it contains.
std::string shown(std::string_view name) {
  const auto quoted = quoted_toml(utf8_prefix(name, 200));
  return quoted.substr(1, quoted.size() - 2);
}

/// What one line of the job file or one --set says.
struct Setting {
  std::string name;  // "limits.kv_tokens"
  Toml value;
  std::string where;   // "job.toml:12" or "--set limits.kv_tokens", for messages
  std::string origin;  // "job.toml:12" or "command line"
  std::uint_least32_t line = 0;
};

// Names that are nearly right ---------------------------------------------------------------------

/// Levenshtein's distance.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({replaced, row[j] + 1, row[j - 1] + 1}));
    }
  }
  return row[b.size()];
}

/// The known name nearest to a wrong one: by the key itself first (it may stand in the wrong section),
/// then by the whole name; ties to the first of the table.
std::string_view nearest_key(std::string_view name) {
  const auto key_of = [](std::string_view full) { return full.substr(full.rfind('.') + 1); };
  name = name.substr(0, 200);
  const auto table = job_key_table();
  return std::ranges::min(table, {},
                          [&](const JobKey& key) {
                            return std::pair(edit_distance(key_of(name), key_of(key.name)),
                                             edit_distance(name, key.name));
                          })
      .name;
}

std::vector<std::string_view> section_names() {
  std::vector<std::string_view> names;
  for (const auto& key : job_key_table()) {
    if (names.empty() || names.back() != section_of(key.name)) names.push_back(section_of(key.name));
  }
  return names;
}

[[noreturn]] void fail_unknown_section(const std::string& where, const std::string& name) {
  const auto names = section_names();
  const auto nearest =
      std::ranges::min(names, {}, [&](std::string_view known) { return edit_distance(name.substr(0, 200), known); });
  fail(fmt::format("{}: unknown section [{}] (the nearest known one is [{}]; sections are {}) correct or remove it",
                   where, shown(name), nearest, fmt::join(names, ", ")));
}

const JobKey& known_key(const std::string& name, const std::string& where) {
  const auto table = job_key_table();
  const auto found = std::ranges::find(table, name, &JobKey::name);
  if (found == table.end()) {
    fail(fmt::format(
        "{}: unknown key {} (the nearest known key is {}) correct or remove it; moebius show --keys lists all", where,
        shown(name), nearest_key(name)));
  }
  return *found;
}

// Values ------------------------------------------------------------------------------------------

std::string excerpt(const Toml& value) {
  if (value.is_string()) {
    const auto& text = value.as_string().str;
    const auto prefix = utf8_prefix(text, 60);
    return quoted_toml(prefix) + (prefix.size() < text.size() ? "..." : "");
  }
  if (value.is_integer()) return std::to_string(value.as_integer());
  if (value.is_floating()) return number_as_toml(value.as_floating());
  if (value.is_boolean()) return value.as_boolean() ? "true" : "false";
  if (value.is_array()) return "a list";
  if (value.is_table()) return "a table";
  return "a date or time";
}

/// Sets the member of the job that belongs to a key's type; false where the value is not allowed.
struct Setter {
  Job& job;
  const Toml& value;

  bool operator()(const IntegerKey& type) const {
    if (!value.is_integer() || value.as_integer() < type.min || value.as_integer() > type.max) return false;
    type.set(job, value.as_integer());
    return true;
  }
  bool operator()(const NumberKey& type) const {
    if (!value.is_integer() && !value.is_floating()) return false;
    const double number = value.is_integer() ? static_cast<double>(value.as_integer()) : value.as_floating();
    if (!(number >= type.min && number <= type.max)) return false;  // written so that nan is refused
    type.set(job, number);
    return true;
  }
  bool operator()(const SwitchKey& type) const {
    if (!value.is_boolean()) return false;
    type.of(job) = value.as_boolean();
    return true;
  }
  bool operator()(const PathKey& type) const {
    return value.is_string() && !value.as_string().str.empty() && set_path(type.of(job));
  }
  bool operator()(const OptionalPathKey& type) const { return value.is_string() && set_path(type.of(job)); }
  bool operator()(const NumberListKey& type) const {
    if (!value.is_array()) return false;
    std::vector<double> numbers;
    for (const auto& element : value.as_array()) {
      if (!element.is_integer() && !element.is_floating()) return false;
      numbers.push_back(element.is_integer() ? static_cast<double>(element.as_integer()) : element.as_floating());
      if (!(numbers.back() >= type.min && numbers.back() <= type.max)) return false;
    }
    type.of(job) = numbers;
    return true;
  }
  bool operator()(const ChoiceKey& type) const {
    if (!value.is_string() || std::ranges::find(type.allowed, value.as_string().str) == type.allowed.end())
      return false;
    type.set(job, value.as_string().str);
    return true;
  }

 private:
  [[nodiscard]] bool set_path(std::string& path) const {
    // A path with a NUL would be cut short by the system, and name another file.
    if (value.as_string().str.find('\0') != std::string::npos) return false;
    if (first_invalid_utf8(value.as_string().str)) return false;  // it could not be written into results
    path = value.as_string().str;
    return true;
  }
};

void apply(const Setting& setting, ResolvedJob& resolved, std::map<std::string_view, std::string>& origins) {
  const auto& key = known_key(setting.name, setting.where);
  if (!std::visit(Setter{resolved.job, setting.value}, key.type)) {
    fail(fmt::format("{}: {} is {} (it must be {}) correct it", setting.where, key.name, excerpt(setting.value), describe_allowed(key)));
  }
  origins[key.name] = setting.origin;
}

// Texts -------------------------------------------------------------------------------------------

/// The first line of what the parser says, without its own function names.
std::string short_reason(std::string what) {
  what = what.substr(0, what.find('\n'));
  if (what.starts_with("[error] ")) what.erase(0, 8);
  if (what.starts_with("toml::")) {
    if (const auto colon = what.find(": "); colon != std::string::npos) what.erase(0, colon + 2);
  }
  return std::string(utf8_prefix(what, 200));
}

Toml parse_toml(const std::string& text, const std::string& name) {
  if (const auto offset = first_invalid_utf8(text)) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(*offset), '\n');
    fail(fmt::format("{}:{}: not valid TOML (byte {} of the file is not UTF-8) save it as UTF-8", name, line,
                     *offset + 1));
  }
  if (std::count(text.begin(), text.end(), '[') + std::count(text.begin(), text.end(), '{') > max_brackets) {
    fail(fmt::format("{}: not a job file (more than {} brackets) check that this is the right file", name,
                     max_brackets));
  }
  try {
    std::istringstream stream(text);
    return toml::parse<toml::discard_comments, std::map, std::vector>(stream, name);
  } catch (const toml::exception& error) {
    fail(fmt::format("{}:{}: not valid TOML ({}) correct the line", name, error.location().line(),
                     short_reason(error.what())));
  } catch (const std::exception& error) {  // of the standard library, for numbers that do not fit
    fail(fmt::format("{}: not valid TOML ({}) look for numbers that are too large", name, short_reason(error.what())));
  }
}

std::vector<Setting> settings_of_text(const std::string& text, const std::string& file) {
  const auto document = parse_toml(text, file);
  std::vector<Setting> settings;
  const auto known = section_names();
  for (const auto& [section, content] : document.as_table()) {
    const auto where = fmt::format("{}:{}", file, content.location().line());
    if (!content.is_table()) {
      fail(fmt::format("{}: key {} stands in no section (the nearest known key is {}) put it under its [section]",
                       where, shown(section), nearest_key(section)));
    }
    if (std::ranges::find(known, section) == known.end()) fail_unknown_section(where, section);
    for (const auto& [key, value] : content.as_table()) {
      const auto line = value.location().line();
      const auto place = fmt::format("{}:{}", file, line);
      settings.push_back({section + "." + key, value, place, place, line});
    }
  }
  std::ranges::stable_sort(settings, {}, &Setting::line);  // of several errors the first is named
  return settings;
}

Setting setting_of_override(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos) {
    fail(fmt::format("--set {}: no value (there is no '=') write --set section.key=value", shown(text)));
  }
  const auto name = text.substr(0, equals), value = text.substr(equals + 1);
  const auto where = fmt::format("--set {}", shown(name));
  const auto& key = known_key(name, "--set");
  const bool is_text = std::holds_alternative<PathKey>(key.type) || std::holds_alternative<OptionalPathKey>(key.type) ||
                       std::holds_alternative<ChoiceKey>(key.type);
  if (is_text && !value.starts_with('"') && !value.starts_with('\'')) return {name, Toml(value), where, "command line"};
  // One value and no more: a line break would let another key in.
  if (std::ranges::any_of(value, [](char c) { return c == '\n' || c == '\r'; })) {
    fail(fmt::format("{}: the value has a line break (it must be {}) correct it", where, describe_allowed(key)));
  }
  try {
    return {name, parse_toml("value = " + value, "--set").at("value"), where, "command line"};
  } catch (const Failure&) {
    fail(fmt::format("{}: the value is {} (it must be {}) correct it", where, shown(value), describe_allowed(key)));
  }
}

void require_paths(ResolvedJob& resolved, const std::string& file) {
  for (const auto& key : job_key_table()) {
    const auto* path = std::get_if<PathKey>(&key.type);
    if (path == nullptr || !path->of(resolved.job).empty()) continue;
    const auto section = section_of(key.name);
    fail(fmt::format("{}: {} is missing (it has no default) write path = \"...\" under [{}], or --set {}=...", file,
                     key.name, section, key.name));
  }
}

}  // namespace

ResolvedJob read_job(const std::filesystem::path& file, std::span<const std::string> overrides) {
  return read_job_text(read_text_file(file, max_job_bytes, ExitCode::bad_usage), file.string(), overrides);
}

ResolvedJob read_job_text(const std::string& text, const std::string& name, std::span<const std::string> overrides) {
  ResolvedJob resolved;
  std::map<std::string_view, std::string> origins;
  for (const auto& setting : settings_of_text(text, name)) apply(setting, resolved, origins);
  for (const auto& override_text : overrides) apply(setting_of_override(override_text), resolved, origins);
  require_paths(resolved, name);
  for (const auto& key : job_key_table()) {
    const auto found = origins.find(key.name);
    resolved.entries.push_back(
        {std::string(key.name), value_as_toml(key, resolved.job), found == origins.end() ? "default" : found->second});
  }
  return resolved;
}

std::string to_toml(const ResolvedJob& job) {
  std::string text;
  std::string_view section;
  for (const auto& key : job_key_table()) {
    if (section_of(key.name) != section) {
      section = section_of(key.name);
      text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", section);
    }
    text += fmt::format("{} = {}\n", key.name.substr(section.size() + 1), value_as_toml(key, job.job));
  }
  return text;
}

std::uint64_t fingerprint(const ResolvedJob& job) {
  std::string text;
  for (const auto& [name, value] : result_keys(job)) text += fmt::format("{} = {}\n", name, value);
  return xxh3_64(text);
}

std::vector<std::pair<std::string, std::string>> result_keys(const ResolvedJob& job) {
  std::vector<std::pair<std::string, std::string>> keys;
  for (const auto& key : job_key_table()) {
    if (key.effect == Effect::results) keys.emplace_back(key.name, value_as_toml(key, job.job));
  }
  return keys;
}

std::span<const KeyDoc> job_keys() {
  static const auto docs = [] {
    std::vector<KeyDoc> all;
    for (const auto& key : job_key_table()) {
      const bool is_path = std::holds_alternative<PathKey>(key.type);
      all.push_back({std::string(key.name), describe_allowed(key), is_path ? "" : value_as_toml(key, Job{}),
                     std::string(key.help)});
    }
    return all;
  }();
  return docs;
}

}  // namespace moebius::io
