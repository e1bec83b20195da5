// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a person wants to know first of a set of results: counts, accuracy, perplexity, some rows.
// Reads stored results in bounded memory; knows nothing of the run that wrote them.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/request.hpp"
#include "io/results_master.hpp"

namespace moebius::app {

struct ResultSummary {
  std::int64_t num_rows = 0, num_failed = 0;
  std::map<std::string, std::int64_t> rows_by_status;
  // Of requests with a label whose continuations were all scored.
  std::int64_t num_choices = 0, num_right = 0, num_right_per_byte = 0;
  // Of rolling log-likelihoods: rows scored from the start with neither label nor siblings.
  std::int64_t scored_rows = 0, scored_tokens = 0, scored_bytes = 0;
  double scored_logprob = 0;
  std::int64_t generated_rows = 0, generated_tokens = 0;

  [[nodiscard]] double accuracy() const;
  /// The choice with the largest log-probability per byte of its text.
  [[nodiscard]] double accuracy_per_byte() const;
  [[nodiscard]] double perplexity_per_token() const;
  [[nodiscard]] double bits_per_byte() const;
};

/// `see` is shown every row on the way, in input order.
ResultSummary summarise_results(const std::filesystem::path& directory, const std::function<void(const Row&)>& see = {});
/// A few lines for people.
std::string describe(const ResultSummary& summary);
/// Communication that nothing hid, as shares of the loops; empty where it was not measured, or there is none.
std::string describe_overlap(const std::vector<io::RankWork>& work);
/// The first rows as a table.
std::string describe_first_rows(const std::filesystem::path& directory, std::int64_t num_rows);

}  // namespace moebius::app
