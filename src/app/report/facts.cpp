// SPDX-License-Identifier: Apache-2.0
// What was run and what came out, in words and numbers.
#include <fmt/format.h>

#include <algorithm>

#include "app/report/figures.hpp"
#include "app/report/markup.hpp"

namespace moebius::app {
namespace {

using Facts = std::vector<std::pair<std::string, std::string>>;

void add_speed(const ReportData& data, Facts& facts) {
  double loop_s = 0;
  std::int64_t fed = 0, out = 0, calls = 0, rows = 0;
  for (const io::RankWork& work : data.work) {
    loop_s = std::max(loop_s, work.loop_s);
    fed += work.tokens_fed;
    out += work.tokens_out;
    calls += work.expert_calls;
    rows += work.expert_rows;
  }
  if (data.slow_motion.dilation > 0) {
    facts.emplace_back("Emulated speed", fmt::format("{} tokens/s, {} of the device; valid: {}", short_number(data.slow_motion.tokens_per_s),
                                                     duration(data.slow_motion.seconds), escaped(data.attribute("emulation_valid"))));
  }
  if (loop_s > 0) {
    facts.emplace_back(
        data.slow_motion.dilation > 0 ? "Speed by the clock" : "Speed",
        fmt::format("{} tokens/s computed, {} tokens/s scored or generated ({} and {} tokens in {})", short_number(static_cast<double>(fed) / loop_s),
                    short_number(static_cast<double>(out) / loop_s), whole_number(fed), whole_number(out), duration(loop_s)));
  }
  if (const std::string overlap = describe_overlap(data.work); !overlap.empty()) facts.emplace_back("Communication not hidden", overlap);
  if (const io::PredictedTable& predicted = data.predicted; predicted.seconds > 0 && predicted.measured_seconds > 0) {
    facts.emplace_back("Predicted", fmt::format("{}{}, measured {}: {:+.1f} %; a layer of a mini-batch {}, measured {} ({})", predicted.is_bound > 0 ? "at least " : "",
                                                duration(predicted.seconds), duration(predicted.measured_seconds),
                                                100 * (predicted.seconds / predicted.measured_seconds - 1), duration(predicted.layer_seconds),
                                                duration(predicted.measured_layer_seconds), escaped(data.attribute("prediction"))));
  }
  if (calls > 0) facts.emplace_back("Rows of an expert call", short_number(static_cast<double>(rows) / static_cast<double>(calls)) + " in the mean");
  double p50 = 0, p99 = 0;
  std::int64_t times = 0;
  for (const io::RankLatency& latency : data.latencies) {
    times += latency.inter_token_count;
    p50 = std::max(p50, latency.inter_token_p50_s);
    p99 = std::max(p99, latency.inter_token_p99_s);
  }
  if (times > 0)
    facts.emplace_back("Time between tokens",
                       fmt::format("median {}, 99th percentile {} (of the slowest attention rank)", duration(p50), duration(p99)));
}

void add_memory(const ReportData& data, Facts& facts) {
  std::int64_t largest = 0, sum = 0;
  for (const io::RankMemory& memory : data.memory) {
    largest = std::max(largest, memory.peak_rss_bytes);
    sum += memory.peak_rss_bytes;
  }
  if (sum > 0)
    facts.emplace_back("Peak memory", fmt::format("{} for the largest rank, {} for all", byte_count(static_cast<double>(largest)),
                                                  byte_count(static_cast<double>(sum))));
  std::int64_t tokens = 0, reused = 0;
  for (const io::RankPrefixCache& cache : data.prefix_caches) {
    tokens += cache.root_tokens;
    reused += cache.root_tokens_reused;
  }
  if (reused > 0)
    facts.emplace_back("Prefix cache", fmt::format("{} of {} prompt tokens were there already",
                                                   percent(static_cast<double>(reused) / static_cast<double>(tokens)), whole_number(tokens)));
}

void add_quality(const ResultSummary& summary, Facts& facts) {
  std::string rows = whole_number(summary.num_rows) + ":";
  for (const auto& [status, count] : summary.rows_by_status) rows += fmt::format(" {} {}", whole_number(count), escaped(status));
  facts.emplace_back("Rows", rows);
  if (summary.num_choices > 0) {
    facts.emplace_back("Accuracy", fmt::format("{} raw, {} per byte, over {} choices", percent(summary.accuracy()),
                                               percent(summary.accuracy_per_byte()), whole_number(summary.num_choices)));
  }
  if (summary.scored_rows > 0) {
    std::string text = fmt::format("{:.4f} per token over {} texts, {} tokens", summary.perplexity_per_token(), whole_number(summary.scored_rows),
                                   whole_number(summary.scored_tokens));
    if (summary.scored_bytes > 0) text += fmt::format("; {:.4f} bits per byte", summary.bits_per_byte());
    facts.emplace_back("Perplexity", text);
  }
  if (summary.generated_rows > 0)
    facts.emplace_back("Generated",
                       fmt::format("{} tokens in {} rows", whole_number(summary.generated_tokens), whole_number(summary.generated_rows)));
}

std::string failed_rows_table(const std::vector<Row>& failed) {
  if (failed.empty()) return "";
  std::vector<std::vector<std::string>> rows;
  for (const Row& row : failed) rows.push_back({std::to_string(row.input_line), escaped(row.custom_id), to_string(row.status), escaped(row.message)});
  return "<h3>Rows that failed (the first of them)</h3>\n" +
         table({{"input line"}, {"custom_id", Align::left}, {"status", Align::left}, {"message", Align::left}}, rows);
}

}  // namespace

std::string facts_section(const ReportData& data) {
  Facts facts;
  const auto add = [&](const char* name, const char* attribute) {
    const std::string value = data.attribute(attribute);
    if (!value.empty()) facts.emplace_back(name, escaped(value));
  };
  add("Model", "model_path");
  add("Layout", "rank_layout");
  add("Placement of experts", "expert_placement");
  add("Capacity", "capacity");
  add_quality(data.summary, facts);
  facts.emplace_back("Digest", "<code>" + escaped(data.attribute("invariance_digest")) + "</code>");
  add_speed(data, facts);
  add_memory(data, facts);
  facts.emplace_back("Run", fmt::format("{} to {}, resumed {} times", escaped(data.attribute("start_utc")), escaped(data.attribute("end_utc")),
                                        escaped(data.attribute("restart_count"))));
  add("Processor", "processor");
  add("Program", "program_version");
  add("Commit", "commit");
  return "<section id=\"facts\">\n" + facts_table(facts) + failed_rows_table(data.failed_rows) +
         "<details><summary>The job as it was resolved</summary><pre>" + escaped(data.attribute("job_toml")) + "</pre></details></section>\n";
}

}  // namespace moebius::app
