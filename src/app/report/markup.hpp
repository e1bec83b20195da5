// SPDX-License-Identifier: Apache-2.0
#pragma once
// Text of the report page: escaping, numbers for people, tables. Everything that did not come from this program goes
// through escaped().

#include <string>
#include <string_view>
#include <vector>

namespace moebius::app {

/// Safe between tags and inside of quoted attributes; bytes that are no UTF-8, and control characters, become U+FFFD.
std::string escaped(std::string_view text);

/// Three or four digits with a prefix: "1.23 M", "950", "0.0125".
std::string short_number(double value);
/// With thousands apart: "1 234 567".
std::string whole_number(long long value);
/// "1.5 GiB".
std::string byte_count(double bytes);
/// "12.3 ms"; "-" where it is not known.
std::string duration(double seconds);
std::string percent(double share);

/// A table that scrolls where it is too wide. Cells are markup; numbers stand to the right.
enum class Align : unsigned char { left, right };
struct TableHead {
  std::string name;
  Align align = Align::right;
};
std::string table(const std::vector<TableHead>& heads, const std::vector<std::vector<std::string>>& rows);
/// Two columns: names and values.
std::string facts_table(const std::vector<std::pair<std::string, std::string>>& facts);

}  // namespace moebius::app
