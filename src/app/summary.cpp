// SPDX-License-Identifier: Apache-2.0
#include "app/summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "base/request.hpp"
#include "io/results_reader.hpp"

namespace moebius::app {
namespace {

constexpr std::int64_t rows_per_read = 1024;

double ratio(std::int64_t part, std::int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : std::nan("");
}

/// Rows of one input line, in order of their choices.
class RequestGroups {
 public:
  explicit RequestGroups(ResultSummary& summary) : summary_(summary) {}
  void add(Row row) {
    if (!rows_.empty() && rows_.front().input_line != row.input_line) finish();
    rows_.push_back(std::move(row));
  }
  void finish();

 private:
  ResultSummary& summary_;
  std::vector<Row> rows_;
};

void RequestGroups::finish() {
  const std::vector<Row> rows = std::exchange(rows_, {});
  if (rows.empty() || !std::ranges::all_of(rows, [](const Row& row) { return succeeded(row.status); })) return;
  if (rows.front().finish_reason != FinishReason::none) {
    for (const Row& row : rows) {
      ++summary_.generated_rows;
      summary_.generated_tokens += row.num_output_tokens;
    }
    return;
  }
  if (rows.front().label >= 0) {
    const auto label = static_cast<std::size_t>(rows.front().label);
    const auto per_byte = [](const Row& row) { return row.sum_logprob / static_cast<double>(std::max<std::int64_t>(row.num_bytes, 1)); };
    const auto best = std::ranges::max_element(rows, {}, &Row::sum_logprob) - rows.begin();
    const auto best_per_byte = std::ranges::max_element(rows, {}, per_byte) - rows.begin();
    ++summary_.num_choices;
    summary_.num_right += static_cast<std::size_t>(best) == label;
    summary_.num_right_per_byte += static_cast<std::size_t>(best_per_byte) == label;
    return;
  }
  for (const Row& row : rows) {
    ++summary_.scored_rows;
    summary_.scored_tokens += row.num_output_tokens;
    summary_.scored_bytes += row.num_bytes;
    summary_.scored_logprob += row.sum_logprob;
  }
}

/// One line of a table: control characters become spaces, long text is cut between characters.
std::string excerpt(const std::string& text, std::size_t max_bytes) {
  std::string shown = text.substr(0, max_bytes);
  while (shown.size() < text.size() && !shown.empty() && (static_cast<unsigned char>(text[shown.size()]) & 0xC0U) == 0x80U) {
    shown.pop_back();
  }
  std::ranges::replace_if(shown, [](unsigned char c) { return c < 0x20; }, ' ');
  return shown.size() < text.size() ? shown + "..." : shown;
}

}  // namespace

double ResultSummary::accuracy() const { return ratio(num_right, num_choices); }
double ResultSummary::accuracy_per_byte() const { return ratio(num_right_per_byte, num_choices); }
double ResultSummary::perplexity_per_token() const { return std::exp(-scored_logprob / static_cast<double>(scored_tokens)); }
double ResultSummary::bits_per_byte() const {
  return -scored_logprob / (std::numbers::ln2 * static_cast<double>(scored_bytes));
}

ResultSummary summarise_results(const std::filesystem::path& directory, const std::function<void(const Row&)>& see) {
  ResultSummary summary;
  io::ResultsReader reader(directory);
  RequestGroups groups(summary);
  for (std::int64_t first = 0; first < reader.num_rows(); first += rows_per_read) {
    for (Row& row : reader.read_rows(first, std::min(rows_per_read, reader.num_rows() - first))) {
      if (see) see(row);
      ++summary.num_rows;
      ++summary.rows_by_status[to_string(row.status)];
      if (!succeeded(row.status)) ++summary.num_failed;
      groups.add(std::move(row));
    }
  }
  groups.finish();
  return summary;
}

std::string describe_overlap(const std::vector<io::RankWork>& work) {
  double sum = 0, most = -1;
  int most_rank = 0;
  for (const io::RankWork& rank : work) {
    const double share = rank.loop_s > 0 ? rank.exposed_s / rank.loop_s : 0.0;
    if (std::isnan(share)) return {};
    sum += share;
    if (share <= most) continue;
    most = share;
    most_rank = rank.rank;
  }
  if (work.size() < 2) return {};
  return fmt::format("{:.1f} % of the loop in the mean of ranks, {:.1f} % of rank {}", 100 * sum / static_cast<double>(work.size()), 100 * most, most_rank);
}

std::string describe(const ResultSummary& summary) {
  std::string text = fmt::format("{} rows:", summary.num_rows);
  for (const auto& [status, count] : summary.rows_by_status) text += fmt::format(" {} {}", count, status);
  if (summary.num_choices > 0) {
    text += fmt::format("\naccuracy over {} choices: {:.1f} % raw, {:.1f} % per byte", summary.num_choices,
                        100 * summary.accuracy(), 100 * summary.accuracy_per_byte());
  }
  if (summary.scored_rows > 0) {
    text += fmt::format("\nperplexity over {} texts, {} tokens: {:.4f} per token, ", summary.scored_rows, summary.scored_tokens,
                        summary.perplexity_per_token());
    // Requests of token ids have no bytes where the model has no tokenizer.
    text += summary.scored_bytes > 0 ? fmt::format("{:.4f} bits per byte", summary.bits_per_byte())
                                     : std::string("bits per byte unknown (no tokenizer)");
  }
  if (summary.generated_rows > 0) {
    text += fmt::format("\n{} tokens generated in {} rows", summary.generated_tokens, summary.generated_rows);
  }
  return text;
}

std::string describe_first_rows(const std::filesystem::path& directory, std::int64_t num_rows) {
  io::ResultsReader reader(directory);
  std::string text = fmt::format("{:<24} {:>6} {:<12} {:>7} {:>13} {:>6}  {}\n", "custom_id", "choice", "status", "tokens",
                                 "sum log-prob", "greedy", "text or message");
  for (const Row& row : reader.read_rows(0, std::min(num_rows, reader.num_rows()))) {
    text += fmt::format("{:<24} {:>6} {:<12} {:>7} {:>13.4f} {:>6}  {}\n", excerpt(row.custom_id, 24), row.choice_idx,
                        to_string(row.status), row.num_output_tokens, row.sum_logprob, row.is_greedy ? "yes" : "no",
                        excerpt(row.message.empty() ? row.text : row.message, 72));
  }
  return text;
}

}  // namespace moebius::app
