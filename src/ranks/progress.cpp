// SPDX-License-Identifier: Apache-2.0
#include "ranks/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/clock.hpp"

namespace moebius::ranks {
namespace {

constexpr double bar_period_s = 0.2, json_period_s = 5.0;

}  // namespace

ProgressDisplay::ProgressDisplay(ProgressKind kind) : kind_(kind), start_s_(now_s()) {
  if (kind_ == ProgressKind::automatic) kind_ = isatty(STDERR_FILENO) != 0 ? ProgressKind::bar : ProgressKind::json;
  period_s_ = kind_ == ProgressKind::bar ? bar_period_s : json_period_s;
  next_s_ = start_s_ + std::min(period_s_, 1.0);
}

bool ProgressDisplay::due(double now) const { return kind_ != ProgressKind::off && now >= next_s_; }

void ProgressDisplay::show(const ProgressNumbers& numbers, double now) {
  write(numbers, now);
  next_s_ = now + period_s_;
}

void ProgressDisplay::finish(const ProgressNumbers& numbers, double now) {
  if (kind_ == ProgressKind::off) return;
  write(numbers, now);
  if (kind_ == ProgressKind::bar) std::fputc('\n', stderr);
}

void ProgressDisplay::write(const ProgressNumbers& numbers, double now) const {
  const std::string line = progress_line(kind_, numbers, now - start_s_);
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

std::string progress_line(ProgressKind kind, const ProgressNumbers& n, double elapsed_s) {
  const double rate = elapsed_s > 0 ? static_cast<double>(n.tokens) / elapsed_s : 0.0;
  const double done = n.num_requests > 0 ? static_cast<double>(n.requests_done) / static_cast<double>(n.num_requests) : 1.0;
  const double eta_s = done > 0 ? elapsed_s * (1.0 - done) / done : 0.0;
  if (kind == ProgressKind::bar) {
    constexpr int width = 24;
    const int filled = static_cast<int>(done * width);
    return fmt::format("\r[{:#<{}}{:.<{}}] {}/{} requests  {}{:.0f} tokens/s  ETA {:.0f} s  queued {}  imbalance {:.2f}  failed {} \033[K",
                       "", filled, "", width - filled, n.requests_done, n.num_requests, n.dilation > 0 ? "emulated " : "",
                       n.dilation > 0 ? rate * n.dilation : rate, eta_s, n.queued_rows, n.imbalance, n.rows_failed);
  }
  return fmt::format("{{\"requests_done\":{},\"num_requests\":{},\"rows_failed\":{},\"tokens\":{},\"tokens_per_s\":{:.1f},"
                     "\"elapsed_s\":{:.1f},\"eta_s\":{:.1f},\"queued_rows\":{},\"imbalance\":{:.3f}{}}}\n",
                     n.requests_done, n.num_requests, n.rows_failed, n.tokens, rate, elapsed_s, eta_s, n.queued_rows,
                     n.imbalance, n.dilation > 0 ? fmt::format(",\"emulated_tokens_per_s\":{:.1f}", rate * n.dilation) : "");
}

}  // namespace moebius::ranks
