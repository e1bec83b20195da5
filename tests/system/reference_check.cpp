// SPDX-License-Identifier: Apache-2.0
// Compares stored results of the three jobs with tests/data/reference.json (transformers, float32).
//   reference_check JOB RESULTS TOLERANCE      JOB: endings | heldout_text | prompts
// Prints the differences; exit code 1 when a row is further off than TOLERANCE or a printed digit differs.
// TOLERANCE "report": print only (for bf16, whose differences are a property of the format).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/results_reader.hpp"

namespace {

using moebius::Row;
using nlohmann::json;

struct Result {
  double worst = 0, sum = 0;
  std::string worst_row;
  int compared = 0, failures = 0;
  void difference(const std::string& row, double value) {
    ++compared;
    sum += std::abs(value);
    if (std::abs(value) <= worst) return;
    worst = std::abs(value);
    worst_row = row;
  }
  void expect(bool holds, const std::string& what) {
    if (holds) return;
    ++failures;
    fmt::print("  {}\n", what);
  }
};

using Rows = std::map<std::pair<std::string, int>, Row>;

void check_endings(const json& reference, const Rows& rows, Result& result) {
  int requests = 0, right = 0, right_per_byte = 0;
  for (const json& request : reference["rows"]) {
    const std::string id = request["custom_id"];
    std::vector<double> sums, per_byte;
    for (std::size_t choice = 0; choice < request["choices"].size(); ++choice) {
      const json& expected = request["choices"][choice];
      const Row& row = rows.at({id, static_cast<int>(choice)});
      result.expect(row.num_output_tokens == expected["num_tokens"], fmt::format("{} choice {}: {} tokens", id, choice, row.num_output_tokens));
      result.difference(id, row.sum_logprob - expected["sum_logprob"].get<double>());
      sums.push_back(row.sum_logprob);
      per_byte.push_back(row.sum_logprob / static_cast<double>(row.num_bytes));
    }
    const int label = rows.at({id, 0}).label;
    ++requests;
    right += std::ranges::max_element(sums) - sums.begin() == label;
    right_per_byte += std::ranges::max_element(per_byte) - per_byte.begin() == label;
  }
  const double accuracy = static_cast<double>(right) / requests, accuracy_per_byte = static_cast<double>(right_per_byte) / requests;
  fmt::print("  accuracy {:.3f} (reference {:.3f}), per byte {:.3f} (reference {:.3f})\n", accuracy, reference["accuracy"].get<double>(),
             accuracy_per_byte, reference["accuracy_per_byte"].get<double>());
  result.expect(fmt::format("{:.3f}", accuracy) == fmt::format("{:.3f}", reference["accuracy"].get<double>()), "accuracy differs");
  result.expect(fmt::format("{:.3f}", accuracy_per_byte) == fmt::format("{:.3f}", reference["accuracy_per_byte"].get<double>()),
                "accuracy per byte differs");
}

void check_texts(const json& reference, const Rows& rows, Result& result) {
  double sum = 0;
  std::int64_t tokens = 0, bytes = 0;
  for (const json& expected : reference["rows"]) {
    const std::string id = expected["custom_id"];
    const Row& row = rows.at({id, 0});
    result.expect(row.num_output_tokens == expected["num_tokens"], fmt::format("{}: {} tokens", id, row.num_output_tokens));
    result.difference(id, row.sum_logprob - expected["sum_logprob"].get<double>());
    sum += row.sum_logprob;
    tokens += row.num_output_tokens;
    bytes += row.num_bytes;
  }
  const double perplexity = std::exp(-sum / static_cast<double>(tokens)), bits = -sum / (std::log(2.0) * static_cast<double>(bytes));
  fmt::print("  perplexity {:.6f} (reference {:.6f}), bits per byte {:.6f} (reference {:.6f})\n", perplexity,
             reference["perplexity_per_token"].get<double>(), bits, reference["bits_per_byte"].get<double>());
  result.expect(tokens == reference["num_tokens"], "number of tokens differs");
  result.expect(fmt::format("{:.2f}", perplexity) == fmt::format("{:.2f}", reference["perplexity_per_token"].get<double>()), "perplexity differs");
  result.expect(fmt::format("{:.3f}", bits) == fmt::format("{:.3f}", reference["bits_per_byte"].get<double>()), "bits per byte differ");
}

// Greedy tokens agree as long as the reference's smallest margin is above what float32 can decide.
void check_generations(const json& reference, const Rows& rows, Result& result) {
  constexpr double decidable_margin = 1e-3;
  int equal = 0, undecided = 0;
  for (const json& expected : reference["rows"]) {
    const std::string id = expected["custom_id"];
    const Row& row = rows.at({id, 0});
    const std::vector<int> ids = expected["token_ids_without_stop_strings"];
    // Stop strings end our rows earlier: compare what there is.
    const bool prefix = row.token_ids.size() <= ids.size() && std::equal(row.token_ids.begin(), row.token_ids.end(), ids.begin());
    const bool complete = row.finish_reason == moebius::FinishReason::stop || row.token_ids.size() == ids.size();
    if (prefix && complete) {
      ++equal;
    } else if (expected["smallest_margin"].get<double>() < decidable_margin) {
      ++undecided;
      fmt::print("  {}: differs where the margin is {:.2g}\n", id, expected["smallest_margin"].get<double>());
    } else {
      result.difference(id, 1.0);
      result.expect(false, fmt::format("{}: other tokens, smallest margin {:.3g}", id, expected["smallest_margin"].get<double>()));
    }
  }
  fmt::print("  {} generations equal, {} differ within an undecidable margin\n", equal, undecided);
  result.expect(equal > 0, "no generation was compared");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "use: reference_check endings|heldout_text|prompts RESULTS TOLERANCE|report\n");
    return 2;
  }
  const std::string job = argv[1], tolerance = argv[3];
  std::ifstream file("tests/data/reference.json");
  const json reference = json::parse(file)[job];
  Rows rows;
  const moebius::io::ResultsReader reader{std::string(argv[2])};
  for (Row& row : reader.read_rows(0, reader.num_rows())) rows[{row.custom_id, row.choice_idx}] = std::move(row);

  Result result;
  if (job == "endings") check_endings(reference, rows, result);
  if (job == "heldout_text") check_texts(reference, rows, result);
  if (job == "prompts") check_generations(reference, rows, result);
  if (result.compared > 0 && job != "prompts") {
    fmt::print("  {} sums compared: largest difference {:.3g} ({}), mean {:.3g}\n", result.compared, result.worst, result.worst_row,
               result.sum / result.compared);
  }
  if (tolerance == "report") return 0;
  return result.failures > 0 || result.worst > std::strtod(tolerance.c_str(), nullptr) ? 1 : 0;
}
