// SPDX-License-Identifier: Apache-2.0
#include "io/row_digest.hpp"

#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "tests/io/results_support.hpp"

namespace moebius::io {
namespace {

Row sample() {
  Row row;
  row.custom_id = "ab";
  row.input_line = 7;
  row.choice_idx = 1;
  row.num_prompt_tokens = 3;
  row.num_output_tokens = 2;
  row.finish_reason = FinishReason::length;
  row.sum_logprob = -0.5;
  row.is_greedy = true;
  row.num_bytes = 5;
  row.token_ids = {258, -2};
  row.token_logprobs = {-1.0F, std::numeric_limits<float>::quiet_NaN()};
  row.topk_width = 2;
  row.topk_ids = {9, -1, -1, -1};
  row.topk_logprobs = {-2.0F, -3.0F, 0.0F, 0.0F};
  row.text = "xyz";
  return row;
}

TEST(RowDigest, IsThatOfTheBytesInTheFormatPage) {
  using std::string_literals::operator""s;
  const std::string bytes =
      "\2\0\0\0\0\0\0\0ab"s  // length and bytes of custom_id
      "\1\0\0\0"s            // choice_idx
      "\0"s                  // status ok
      "\3\0\0\0"
      "\2\0\0\0"s  // prompt and output tokens
      "\2"
      "\1"s                    // finish reason length, greedy
      "\5\0\0\0\0\0\0\0"s      // num_bytes
      "\0\0\0\0\0\0\xe0\xbf"s  // sum_logprob -0.5
      "\2\0\0\0\0\0\0\0"s      // tokens
      "\2\1\0\0"
      "\xfe\xff\xff\xff"s  // ids
      "\0\0\x80\xbf"
      "\0\0\xc0\x7f"s  // log-probs -1, NaN
      "\1\0\0\0"
      "\x09\0\0\0"
      "\0\0\0\xc0"s            // one top-k entry at the first position: 9, -2.0
      "\0\0\0\0"s              // none at the second
      "\3\0\0\0\0\0\0\0xyz"s;  // text
  EXPECT_EQ(row_digest(sample()), xxh3_128(std::as_bytes(std::span(bytes))));
}

TEST(RowDigest, ChangesWithEverythingThatARowSays) {
  const std::vector<std::function<void(Row&)>> changes = {
      [](Row& r) { r.custom_id = "ac"; },
      [](Row& r) { r.choice_idx = 2; },
      [](Row& r) { r.status = RowStatus::truncated; },
      [](Row& r) { r.num_prompt_tokens += 1; },
      [](Row& r) { r.num_output_tokens += 1; },
      [](Row& r) { r.finish_reason = FinishReason::stop; },
      [](Row& r) { r.is_greedy = false; },
      [](Row& r) { r.num_bytes += 1; },
      [](Row& r) { r.sum_logprob = std::nextafter(r.sum_logprob, 0.0); },
      [](Row& r) { r.token_ids[0] += 1; },
      [](Row& r) { r.token_logprobs[0] = std::nextafter(r.token_logprobs[0], 0.0F); },
      [](Row& r) { r.topk_ids[0] += 1; },
      [](Row& r) { r.topk_ids[1] = 4; },
      [](Row& r) { r.topk_logprobs[0] = std::nextafter(r.topk_logprobs[0], 0.0F); },
      [](Row& r) { r.text += "!"; },
      [](Row& r) { std::swap(r.custom_id, r.text); },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    Row row = sample();
    changes[i](row);
    EXPECT_NE(row_digest(row), row_digest(sample())) << "change " << i;
  }
}

TEST(RowDigest, LeavesOutPlaceAndWordingAndLabel) {
  Row row = sample();
  row.input_line = 99;
  row.message = "something";
  row.label = 3;
  EXPECT_EQ(row_digest(row), row_digest(sample()));
}

TEST(RowDigest, DoesNotDependOnTheSpellingOfNanOrTheWidthOfTheTable) {
  Row row = sample();
  row.token_logprobs[1] = -std::numeric_limits<float>::quiet_NaN();
  row.topk_width = 3;
  row.topk_ids = {9, -1, -1, -1, -1, -1};
  row.topk_logprobs = {-2.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F};
  EXPECT_EQ(row_digest(row), row_digest(sample()));
}

TEST(RowDigest, SumsToTheSameInAnyOrder) {
  RowMaker make(5);
  const std::vector<Row> rows = make.request(1, 9);
  Digest128 forward, backward;
  for (auto row = rows.begin(); row != rows.end(); ++row) forward += row_digest(*row);
  for (auto row = rows.rbegin(); row != rows.rend(); ++row) backward += row_digest(*row);
  EXPECT_EQ(forward, backward);
}

TEST(RowDigest, RefusesVectorsOfDifferentLengths) {
  Row row = sample();
  row.token_logprobs.pop_back();
  EXPECT_THROW(row_digest(row), std::logic_error);
}

}  // namespace
}  // namespace moebius::io
