// SPDX-License-Identifier: Apache-2.0
#include "ranks/time_left.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace moebius::ranks {
namespace {

bool is_number(std::string_view text) {
  return !text.empty() && text.size() <= 9 && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<double> number(std::string_view text) {
  long value = 0;
  if (!is_number(text)) return {};
  std::from_chars(text.data(), text.data() + text.size(), value);
  return static_cast<double>(value);
}

/// What squeue prints of a job; empty where it cannot be asked. The id is a number, so that the shell sees no more.
std::string ask_squeue(std::string_view job) {
  std::FILE* answer = ::popen(fmt::format("timeout 10 squeue -h -j {} -o %L 2>/dev/null", job).c_str(), "r");
  if (answer == nullptr) return {};
  char buffer[256];
  std::string text(buffer, std::fread(buffer, 1, sizeof buffer, answer));
  ::pclose(answer);
  text.resize(std::min(text.find_first_of("\n "), text.size()));
  return text;
}

}  // namespace

std::optional<double> parse_duration_s(std::string_view text) {
  double days = 0;
  const bool has_days = text.find('-') != std::string_view::npos;
  if (has_days) {
    const auto dash = text.find('-');
    const auto value = number(text.substr(0, dash));
    if (!value) return {};
    days = *value;
    text.remove_prefix(dash + 1);
  }
  double parts[3] = {};
  std::size_t num_parts = 0;
  while (true) {
    const auto colon = text.find(':');
    const auto value = number(text.substr(0, colon));
    if (!value || num_parts == 3) return {};
    parts[num_parts++] = *value;
    if (colon == std::string_view::npos) break;
    text.remove_prefix(colon + 1);
  }
  // Behind days the first part is hours; else the last is seconds.
  double seconds = 0;
  for (std::size_t i = 0; i < num_parts; ++i) seconds = seconds * 60 + parts[i];
  if (has_days) {
    for (std::size_t i = num_parts; i < 3; ++i) seconds *= 60;
  }
  return days * 86400 + seconds;
}

std::optional<double> slurm_time_left_s() {
  if (const char* end = std::getenv("SLURM_JOB_END_TIME"); end != nullptr) {
    long long seconds = 0;
    const std::string_view digits(end);
    const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), seconds);
    if (error == std::errc{} && rest == digits.data() + digits.size()) {
      const auto now = std::chrono::system_clock::now().time_since_epoch();
      return std::max(0.0, static_cast<double>(seconds) - std::chrono::duration<double>(now).count());
    }
  }
  const char* job = std::getenv("SLURM_JOB_ID");
  if (job == nullptr || !is_number(job)) return {};
  return parse_duration_s(ask_squeue(job));
}

}  // namespace moebius::ranks
