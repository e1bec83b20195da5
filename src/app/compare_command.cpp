// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "app/commands.hpp"
#include "base/request.hpp"
#include "io/results_reader.hpp"

namespace moebius::app {
namespace {

constexpr std::int64_t rows_per_read = 1024;

struct CompareArguments {
  std::string reference, other;
};

/// Sums over the positions at which both runs scored the same token.
struct Comparison {
  std::int64_t rows = 0, rows_apart = 0;      ///< compared; without a partner, or of other tokens
  std::int64_t tokens = 0, tokens_with_top = 0, same_top = 0;
  double difference = 0, absolute_difference = 0;  ///< log-prob of the other minus that of the reference
  double kl = 0;
};

/// KL(reference || other) at one position, of the tokens that both list and of all others together: the most that the
/// lists show, and never more than that of the whole distributions.
double kl_divergence(std::span<const TokenId> ids, std::span<const float> logprobs, std::span<const TokenId> other_ids,
                     std::span<const float> other_logprobs) {
  double kl = 0, rest = 1, other_rest = 1;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto found = std::ranges::find(other_ids, ids[i]);
    if (ids[i] < 0 || found == other_ids.end()) continue;
    const double p = std::exp(static_cast<double>(logprobs[i]));
    const auto other = static_cast<double>(other_logprobs[static_cast<std::size_t>(found - other_ids.begin())]);
    kl += p * (static_cast<double>(logprobs[i]) - other);
    rest -= p;
    other_rest -= std::exp(other);
  }
  // Rounded log-probs may add up to more than 1.
  return rest > 1e-6 && other_rest > 1e-6 ? kl + rest * std::log(rest / other_rest) : kl;
}

void add_tokens(const Row& reference, const Row& other, Comparison& sums) {
  const auto width = static_cast<std::size_t>(reference.topk_width), other_width = static_cast<std::size_t>(other.topk_width);
  for (std::size_t t = 0; t < reference.token_ids.size(); ++t) {
    const double difference = static_cast<double>(other.token_logprobs[t]) - static_cast<double>(reference.token_logprobs[t]);
    if (!std::isfinite(difference)) continue;
    ++sums.tokens;
    sums.difference += difference;
    sums.absolute_difference += std::abs(difference);
    if (width == 0 || other_width == 0) continue;
    const auto ids = std::span(reference.topk_ids).subspan(t * width, width), other_ids = std::span(other.topk_ids).subspan(t * other_width, other_width);
    if (ids[0] < 0 || other_ids[0] < 0) continue;
    ++sums.tokens_with_top;
    sums.same_top += ids[0] == other_ids[0] ? 1 : 0;
    sums.kl += kl_divergence(ids, std::span(reference.topk_logprobs).subspan(t * width, width), other_ids,
                             std::span(other.topk_logprobs).subspan(t * other_width, other_width));
  }
}

Comparison compare_results(const CompareArguments& arguments) {
  const io::ResultsReader reference(arguments.reference), other(arguments.other);
  if (reference.num_rows() != other.num_rows()) {
    throw Failure{ExitCode::bad_usage, fmt::format("{} and {} cannot be compared ({} and {} rows) name results of the same input", arguments.reference,
                                                   arguments.other, reference.num_rows(), other.num_rows())};
  }
  Comparison sums;
  for (std::int64_t first = 0; first < reference.num_rows(); first += rows_per_read) {
    const std::vector<Row> rows = reference.read_rows(first, rows_per_read), others = other.read_rows(first, rows_per_read);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const bool partners = rows[i].custom_id == others[i].custom_id && rows[i].choice_idx == others[i].choice_idx &&
                            succeeded(rows[i].status) && succeeded(others[i].status) && rows[i].token_ids == others[i].token_ids;
      ++(partners ? sums.rows : sums.rows_apart);
      if (partners) add_tokens(rows[i], others[i], sums);
    }
  }
  return sums;
}

ExitCode compare(const CompareArguments& arguments) {
  const Comparison sums = compare_results(arguments);
  const auto mean = [](double sum, std::int64_t count) { return count > 0 ? sum / static_cast<double>(count) : 0.0; };
  fmt::print(stderr, "{} rows of the same tokens, {} others; {} tokens, {} of them with most probable ones\n", sums.rows, sums.rows_apart, sums.tokens,
             sums.tokens_with_top);
  fmt::print("{{\"rows\":{},\"rows_apart\":{},\"tokens\":{},\"logprob_difference\":{:.6g},\"logprob_absolute_difference\":{:.6g},\"top1_agreement\":{:.6f},"
             "\"kl\":{:.6g}}}\n",
             sums.rows, sums.rows_apart, sums.tokens, mean(sums.difference, sums.tokens), mean(sums.absolute_difference, sums.tokens),
             mean(static_cast<double>(sums.same_top), sums.tokens_with_top), mean(sums.kl, sums.tokens_with_top));
  return ExitCode::done;
}

}  // namespace

void add_compare_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<CompareArguments>();
  CLI::App* command = app.add_subcommand("compare", "How far the log-probs of one run are from those of another, of the same input");
  command->add_option("reference", arguments->reference, "Results to compare with")->required();
  command->add_option("other", arguments->other, "Results of the same input")->required();
  command->footer("Prints the mean difference of log-probs per token and, where the rows have most probable tokens, how often the first of\n"
                  "them is the same and the KL divergence that these lists show (all other tokens count as one).\n"
                  "Example:\n"
                  "  moebius compare results/off results/capacity");
  command->callback([arguments, &exit_code] {
    if (is_first_process()) exit_code = static_cast<int>(guarded([&] { return compare(*arguments); }));
  });
}

}  // namespace moebius::app
