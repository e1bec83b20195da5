// SPDX-License-Identifier: Apache-2.0
// write_sample <folder>: writes a result folder made from a seed, and to stdout what it holds, as JSON, for
// readers in other languages to compare.
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "tests/io/results_support.hpp"

int main(int argc, char** argv) {
  using namespace moebius;
  if (argc != 2) return 2;
  std::filesystem::remove_all(argv[1]);
  const io::FilledFolder filled = io::fill_folder(argv[1], {.seed = 12, .num_lines = 100});
  io::write_master(filled.directory, io::sample_record(static_cast<std::int64_t>(filled.rows.size())));
  nlohmann::json rows = nlohmann::json::array();
  for (const Row& row : filled.rows)
    rows.push_back({{"custom_id", row.custom_id},
                    {"input_line", row.input_line},
                    {"choice_idx", row.choice_idx},
                    {"status", to_string(row.status)},
                    {"message", row.message},
                    {"sum_logprob", row.sum_logprob},  // NaN becomes null
                    {"is_greedy", row.is_greedy},
                    {"tokens", row.token_ids},
                    {"topk_width", row.topk_width},
                    {"topk_ids", row.topk_ids},
                    {"text", row.text}});
  std::cout << nlohmann::json{{"digest", to_hex(filled.digest)}, {"rows", rows}} << '\n';
}
