// SPDX-License-Identifier: Apache-2.0
#include "app/report/markup.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "io/utf8.hpp"

namespace moebius::app {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";

void append_escaped(std::string& out, std::string_view valid) {
  for (const char c : valid) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      case '\n':
      case '\t': out += c; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) out += replacement;
        else out += c;
    }
  }
}

std::string digits(double value) {
  const double size = std::abs(value);
  if (std::abs(value - std::round(value)) < 5e-4 * size) return fmt::format("{:.0f}", value);
  return size >= 100  ? fmt::format("{:.0f}", value)
         : size >= 10 ? fmt::format("{:.1f}", value)
         : size >= 1  ? fmt::format("{:.2f}", value)
                      : fmt::format("{:.3g}", value);
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  while (const auto bad = io::first_invalid_utf8(text)) {
    append_escaped(out, text.substr(0, *bad));
    out += replacement;
    text.remove_prefix(*bad + 1);
  }
  append_escaped(out, text);
  return out;
}

std::string short_number(double value) {
  if (!std::isfinite(value)) return "-";
  constexpr std::array<std::pair<double, const char*>, 4> units = {{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}};
  for (const auto& [size, unit] : units) {
    if (std::abs(value) >= size * 0.9995) return digits(value / size) + " " + unit;
  }
  return digits(value);
}

std::string whole_number(long long value) {
  std::string text = fmt::format("{}", value);
  const std::size_t first = value < 0 ? 1 : 0;
  for (std::size_t at = text.size(); at > first + 3;) text.insert(at -= 3, 1, ' ');
  return text;
}

std::string byte_count(double bytes) {
  constexpr std::array<std::pair<double, const char*>, 4> units = {
      {{1099511627776.0, "TiB"}, {1073741824.0, "GiB"}, {1048576.0, "MiB"}, {1024.0, "KiB"}}};
  for (const auto& [size, unit] : units) {
    if (bytes >= size) return digits(bytes / size) + " " + unit;
  }
  return digits(bytes) + " B";
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  const double size = std::abs(seconds);
  if (seconds == 0) return "0 s";
  if (size < 1e-3) return digits(seconds * 1e6) + " \xC2\xB5s";
  if (size < 1) return digits(seconds * 1e3) + " ms";
  return size < 1000 ? digits(seconds) + " s" : fmt::format("{:.0f} s", seconds);
}

std::string percent(double share) { return std::isfinite(share) ? fmt::format("{:.1f} %", 100 * share) : std::string("-"); }

std::string table(const std::vector<TableHead>& heads, const std::vector<std::vector<std::string>>& rows) {
  const auto alignment = [&](std::size_t i) { return heads[i].align == Align::right ? " class=\"n\"" : ""; };
  std::string out = "<div class=\"scroll\"><table><thead><tr>";
  for (std::size_t i = 0; i < heads.size(); ++i) out += fmt::format("<th{}>{}</th>", alignment(i), heads[i].name);
  out += "</tr></thead><tbody>\n";
  for (const auto& row : rows) {
    out += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) out += fmt::format("<td{}>{}</td>", alignment(i), row[i]);
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string facts_table(const std::vector<std::pair<std::string, std::string>>& facts) {
  std::string out = "<div class=\"scroll\"><table class=\"facts\"><tbody>\n";
  for (const auto& [name, value] : facts) out += fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", name, value);
  return out + "</tbody></table></div>\n";
}

}  // namespace moebius::app
