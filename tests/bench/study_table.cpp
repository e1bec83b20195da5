// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "tests/bench/study.hpp"

namespace moebius::bench {

std::string StudyTable::markdown() const {
  std::vector<std::size_t> widths(rows_.front().size());
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    for (std::size_t i = 0; i < widths.size(); ++i) {
      text += i == 0 ? fmt::format("| {:<{}} |", rows_[r][i], widths[i]) : fmt::format(" {:>{}} |", rows_[r][i], widths[i]);
    }
    text += '\n';
    if (r > 0) continue;
    for (std::size_t i = 0; i < widths.size(); ++i) text += i == 0 ? fmt::format("|{:-<{}}|", "-", widths[i] + 2) : fmt::format("{:->{}}:|", "-", widths[i] + 1);
    text += '\n';
  }
  return text;
}

std::string machine_line() {
  std::string line, processor = "unknown processor";
  std::ifstream info("/proc/cpuinfo");
  while (std::getline(info, line)) {
    if (!line.starts_with("model name")) continue;
    processor = line.substr(line.find(':') + 2);
    break;
  }
  const auto today = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
  const std::chrono::year_month_day date{today};
  return fmt::format("{}, {} cores, {:04}-{:02}-{:02}", processor, std::thread::hardware_concurrency(), static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
}

std::string fixed(double value, int digits) { return fmt::format("{:.{}f}", value, digits); }
std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

}  // namespace moebius::bench
