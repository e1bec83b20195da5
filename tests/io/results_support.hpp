// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the tests of the result files share: rows made from a seed, folders filled with blocks, and a
// comparison that tells bits apart.

#include <bit>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "base/request.hpp"
#include "io/output_directory.hpp"
#include "io/results_block.hpp"
#include "io/results_master.hpp"
#include "io/row_digest.hpp"
#include "tests/io/input_support.hpp"

namespace moebius {

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
  });
}

/// Every field, floats by their bits.
inline bool operator==(const Row& a, const Row& b) {
  return a.custom_id == b.custom_id && a.input_line == b.input_line && a.choice_idx == b.choice_idx &&
         a.status == b.status && a.message == b.message && a.num_prompt_tokens == b.num_prompt_tokens &&
         a.num_output_tokens == b.num_output_tokens && a.finish_reason == b.finish_reason &&
         std::bit_cast<std::uint64_t>(a.sum_logprob) == std::bit_cast<std::uint64_t>(b.sum_logprob) &&
         a.is_greedy == b.is_greedy && a.num_bytes == b.num_bytes && a.label == b.label && a.token_ids == b.token_ids &&
         same_bits(a.token_logprobs, b.token_logprobs) && a.topk_width == b.topk_width && a.topk_ids == b.topk_ids &&
         same_bits(a.topk_logprobs, b.topk_logprobs) && a.text == b.text;
}

inline void PrintTo(const Row& row, std::ostream* out) {
  *out << "row " << row.input_line << "." << row.choice_idx << " " << row.custom_id << " (" << to_string(row.status)
       << ", " << row.token_ids.size() << " tokens, top " << row.topk_width << ")";
}

namespace io {

/// Rows with all kinds of content: failed and good, with and without tokens, top-k and text.
class RowMaker {
 public:
  explicit RowMaker(std::uint32_t seed) : random_(seed) {}

  /// All rows of one input line.
  std::vector<Row> request(std::int64_t input_line, int num_choices) {
    std::vector<Row> rows;
    for (int choice_idx = 0; choice_idx < num_choices; ++choice_idx) rows.push_back(row(input_line, choice_idx));
    return rows;
  }

  std::vector<Row> request(std::int64_t input_line) { return request(input_line, 1 + below(4)); }

  int below(int end) { return std::uniform_int_distribution<int>(0, end - 1)(random_); }

 private:
  Row row(std::int64_t input_line, int choice_idx) {
    Row row;
    row.custom_id = std::to_string(input_line) + text(below(6));
    row.input_line = input_line;
    row.choice_idx = choice_idx;
    row.num_prompt_tokens = below(4000);
    row.label = below(4) - 1;
    if (below(8) == 0) {
      row.status = static_cast<RowStatus>(2 + below(7));
      row.message = "cannot use it (" + text(1 + below(30)) + ")";
      return row;
    }
    if (below(5) == 0) row.status = RowStatus::truncated;
    row.num_output_tokens = below(12);
    row.finish_reason = static_cast<FinishReason>(below(3));
    row.sum_logprob = -logprob();
    row.is_greedy = below(2) == 0;
    row.num_bytes = below(1000);
    add_tokens(row, row.num_output_tokens, row.num_output_tokens == 0 ? 0 : below(3) * 2);
    row.text = text(below(40));
    return row;
  }

  void add_tokens(Row& row, int num_tokens, int topk_width) {
    row.topk_width = topk_width;
    for (int token = 0; token < num_tokens; ++token) {
      row.token_ids.push_back(below(150000));
      row.token_logprobs.push_back(token == 0 ? std::numeric_limits<float>::quiet_NaN() : logprob());
      for (int k_idx = 0; k_idx < topk_width; ++k_idx) {
        const bool there = token == 0 || k_idx < 1 + below(topk_width);  // the first token has them all
        row.topk_ids.push_back(there ? below(150000) : -1);
        row.topk_logprobs.push_back(there ? logprob() : std::numeric_limits<float>::quiet_NaN());
      }
    }
  }

  float logprob() { return -std::generate_canonical<float, 24>(random_) * 20.0F; }

  std::string text(int num_chars) {
    static constexpr const char* chars[] = {"a", "Z", " ", "\n", "\"", "é", "字", "🙂"};
    std::string text;
    for (int i = 0; i < num_chars; ++i) text += chars[below(8)];
    return text;
  }

  std::mt19937 random_;
};

/// A prepared folder and the rows that several ranks, taking lines in turn at random, commit to it.
struct FilledFolder {
  std::filesystem::path directory;
  std::vector<Row> rows;  ///< in input order
  Digest128 digest;
};

struct FillOptions {
  std::uint32_t seed = 1;
  int num_ranks = 3;
  int num_lines = 200;
  int rows_per_block = 16;
};

inline FilledFolder fill_folder(const std::filesystem::path& directory, const FillOptions& options) {
  FilledFolder folder{.directory = directory, .rows = {}, .digest = {}};
  prepare_output_directory(directory, OnExisting::resume);
  RowMaker make(options.seed);
  std::vector<BlockWriter> writers;
  for (int rank = 0; rank < options.num_ranks; ++rank)
    writers.emplace_back(directory, RankId(rank), options.rows_per_block, "f00d");
  for (std::int64_t line = 1; line <= options.num_lines; ++line) {
    const std::vector<Row> rows = make.request(line);
    for (const Row& row : rows) {
      folder.rows.push_back(row);
      folder.digest += row_digest(row);
    }
    writers[static_cast<std::size_t>(make.below(options.num_ranks))].add(rows);
  }
  for (BlockWriter& writer : writers) writer.finish();
  return folder;
}

inline RunRecord sample_record(std::int64_t num_rows_expected) {
  RunRecord record;
  record.texts = {{"program_version", "0.1.0"}, {"commit", "0123abcd"},       {"build_flags", "-O3"},
                  {"library_versions", "HDF5"}, {"processor", "a processor"}, {"model_path", "inputs/models/tiny"},
                  {"model_hash", "00ff"},       {"tokenizer_hash", "ff00"},   {"job_toml", "[model]\npath = \"ü\"\n"},
                  {"rank_layout", ""}};
  record.seed = 0xfedcba9876543210U;
  record.restart_count = 2;
  record.num_rows_expected = num_rows_expected;
  record.start_utc = "2025-11-23T22:57:01Z";
  record.end_utc = "2025-11-23T22:58:02Z";
  record.timing = {{.rank = 0,
                    .role = "attention",
                    .node = "one",
                    .phase = Phase::attention,
                    .total = {.seconds = 1.5, .calls = 3, .rows = 70, .bytes = 9}},
                   {.rank = 1,
                    .role = "expert",
                    .node = "another",
                    .phase = Phase::dispatch_wait,
                    .total = {.seconds = 0.25, .calls = 1, .rows = 0, .bytes = std::int64_t{1} << 40}}};
  record.prefix_caches = {{.rank = 1, .root_tokens = 5'000'000'000, .root_tokens_reused = 4'000'000'000, .kv_blocks_evicted = 17}};
  record.latencies = {{.rank = 1, .inter_token_count = 6'000'000'000, .inter_token_p50_s = 0.25, .inter_token_p99_s = 0.5, .inter_token_max_s = 2.0}};
  record.work = {{.rank = 0, .loop_s = 1.25, .tokens_fed = 5'000'000'000, .tokens_out = 7, .micro_batches = 9, .exposed_s = 0.125},
                 {.rank = 1, .loop_s = 1.5, .expert_calls = 11, .expert_rows = 6'000'000'000, .intervals_left_out = 3, .exposed_s = 0.25}};
  record.timeline = {{.rank = 0, .interval = {0.5, 0.75, 3, {.layer = 1, .micro_batch = 6}, Phase::attention}},
                     {.rank = 1, .interval = {0.0, 0.25, 70, {.layer = 2, .place = 5}, Phase::expert}},
                     {.rank = 1, .interval = {0.25, 1.0, 0, {}, Phase::idle}}};
  record.transfers = {{.rank = 1, .transfer = {.begin_s = 0.125, .end_s = 0.5, .link_s = 0.25, .pairs = 6'000'000'000, .bytes = 7'000'000'000,
                                                .from = 0, .layer = 3, .micro_batch = 4, .part = 5, .call = -1}},
                      {.rank = 0, .transfer = {.begin_s = 0.5, .end_s = 1.0, .from = 1, .layer = 3, .call = 8}}};
  record.series = {{.rank = 0, .point = {.time_s = 0.5, .tokens_fed = 4, .tokens_out = 2, .queued_tokens = 8}},
                   {.rank = 1, .point = {.time_s = 1.5, .expert_rows = 6, .queued_rows = 5}}};
  record.series[1].point.seconds[static_cast<std::size_t>(Phase::expert)] = 0.375;
  record.memory = {{.rank = 0, .peak_rss_bytes = 123456789}, {.rank = 1, .peak_rss_bytes = 5}};
  record.load = {.num_layers = 2, .num_experts = 3, .rows = {1, 2, 3, 4, 5, 6}};
  record.trace = {.step_tokens = 64, .num_steps = 2, .num_layers = 1, .num_experts = 3, .rows = {7, 8, 9, 1, 0, 2}};
  record.activation = {.num_layers = 1, .num_ranks = 3, .expert_weight_bytes = 4096, .micro_batches = {5}, .even_micro_batches = {2},
                       .largest_activated = {9}, .largest_rows = {11}, .activated = {1, 2, 3}, .rows = {4, 5, 6}, .max_activated = {7, 8, 9},
                       .max_rows = {10, 11, 12}};
  record.capacity = {.micro_batches = {3}, .cut = {2}, .kept = {30}, .dropped = {4}, .added = {1}};
  record.emulation = {.dilation = 50, .seconds = 1.5, .tokens_per_s = 7, .compute_share = 0.25, .slip = 0.01, .missed_share = 0.02,
                      .processor_s = {1, 2}, .loop_s = {3, 4}, .modelled_s = {5, 6}, .late_s = {7, 8}, .latest_s = {9, 10}, .shortest_s = {11, 12},
                      .stages = {13, 14}, .late_stages = {15, 16}};
  record.predicted = {.seconds = 1, .measured_seconds = 2, .tokens = 3, .measured_tokens = 4, .layer_seconds = 5, .measured_layer_seconds = 6, .is_bound = 1};
  record.placement = {
      .num_generations = 1, .num_layers = 2, .num_ranks = 2, .num_places = 2, .expert = {0, 2, 1, -1, 0, 1, 2, -1}};
  record.changes = {{.time_s = 1.5, .generation = 1, .predicted_gain_s = 0.5, .measured_gain_s = 0.25, .cost_s = 0.125, .staging_s = 0.75, .num_moves = 2,
                     .bytes = 2048, .rank_s = 0.5},
                    {.time_s = 3.0, .generation = 2, .predicted_gain_s = 1.0, .measured_gain_s = -0.125, .num_moves = 1, .bytes = 1024, .rank_s = 0}};
  record.rebalance = {{.rank = 0, .total_s = 0.25},
                      {.rank = 1, .experts_received = 3, .bytes_staged = 4096, .staging_s = 0.5, .total_s = 1.0, .largest_stall_s = 0.125,
                       .longest_expert_call_s = 2.0}};
  return record;
}

/// Files of blocks/ by name.
inline std::vector<std::filesystem::path> block_files(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(blocks_path(directory))) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

inline std::string content_of(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

inline void set_content(const std::filesystem::path& file, std::string_view content) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << content;
}

}  // namespace io
}  // namespace moebius
