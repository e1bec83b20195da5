// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tables /rows, /tokens and /text of a result file: one list of columns that the block writer, the
// master and the readers all walk, so that they cannot disagree. For the sources of `io` only.
// Ragged columns are offsets [rows + 1] into a table of values; offsets start at 0 and never fall.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/request.hpp"
#include "io/hdf5_data.hpp"

namespace moebius::io {

/// What the first dimension of a column counts.
enum class Extent : std::uint8_t { rows, row_offsets, custom_id_bytes, message_bytes, tokens, topk, text_bytes };
inline constexpr Extent ragged_extents[] = {Extent::custom_id_bytes, Extent::message_bytes, Extent::tokens,
                                            Extent::text_bytes};

struct Column : ArraySpec {
  Extent extent;
};

/// Rows turned on their side. A part of a file, or all of a block.
struct RowColumns {
  std::vector<std::int64_t> custom_id_offsets{0};  // [rows + 1]
  std::vector<std::uint8_t> custom_id;             // [custom_id bytes]
  std::vector<std::int64_t> input_line;            // [rows], as all below up to digest_high
  std::vector<std::int32_t> choice_idx;
  std::vector<std::uint8_t> status;
  std::vector<std::int64_t> message_offsets{0};  // [rows + 1]
  std::vector<std::uint8_t> message;             // [message bytes]
  std::vector<std::int32_t> num_prompt_tokens;
  std::vector<std::int32_t> num_output_tokens;
  std::vector<std::uint8_t> finish_reason;
  std::vector<double> sum_logprob;
  std::vector<std::int8_t> is_greedy;
  std::vector<std::int64_t> num_bytes;
  std::vector<std::int32_t> label;
  std::vector<std::uint64_t> digest_low;
  std::vector<std::uint64_t> digest_high;
  std::vector<std::int64_t> token_offsets{0};  // [rows + 1]
  std::vector<TokenId> token_id;               // [tokens]
  std::vector<float> token_logprob;            // [tokens]
  std::int64_t topk_width = 0;
  std::vector<TokenId> topk_id;               // [tokens, topk_width]
  std::vector<float> topk_logprob;            // [tokens, topk_width]
  std::vector<std::int64_t> text_offsets{0};  // [rows + 1]
  std::vector<std::uint8_t> text;             // [text bytes]

  [[nodiscard]] std::size_t num_rows() const { return input_line.size(); }
};

namespace columns {
using Kind = ElementKind;
inline constexpr Column custom_id_offsets{
    {"/rows/custom_id_offsets", Kind::i64, "where the custom_id of each row starts in /rows/custom_id", "bytes"},
    Extent::row_offsets};
inline constexpr Column custom_id{
    {"/rows/custom_id", Kind::byte, "custom_id of each request, one after the other", "UTF-8"},
    Extent::custom_id_bytes};
inline constexpr Column input_line{{"/rows/input_line", Kind::i64, "line of the input file, from 1", "1"},
                                   Extent::rows};
inline constexpr Column choice_idx{
    {"/rows/choice_idx", Kind::i32, "which continuation or choice of that line, from 0", "1"}, Extent::rows};
inline constexpr Column status{{"/rows/status", Kind::status, "what became of the row", "1"}, Extent::rows};
inline constexpr Column message_offsets{
    {"/rows/message_offsets", Kind::i64, "where the message of each row starts in /rows/message", "bytes"},
    Extent::row_offsets};
inline constexpr Column message{{"/rows/message", Kind::byte, "what is wrong with the rows that failed", "UTF-8"},
                                Extent::message_bytes};
inline constexpr Column num_prompt_tokens{{"/rows/num_prompt_tokens", Kind::i32, "tokens of the context", "tokens"},
                                          Extent::rows};
inline constexpr Column num_output_tokens{
    {"/rows/num_output_tokens", Kind::i32, "tokens scored or generated", "tokens"}, Extent::rows};
inline constexpr Column finish_reason{{"/rows/finish_reason", Kind::finish_reason, "why the generation ended", "1"},
                                      Extent::rows};
inline constexpr Column sum_logprob{
    {"/rows/sum_logprob", Kind::f64, "sum of the log-probabilities of the tokens", "nat"}, Extent::rows};
inline constexpr Column is_greedy{
    {"/rows/is_greedy", Kind::truth, "whether every scored token was the most probable one", "1"}, Extent::rows};
inline constexpr Column num_bytes{
    {"/rows/num_bytes", Kind::i64, "UTF-8 bytes of the scored or generated text", "bytes"}, Extent::rows};
inline constexpr Column label{
    {"/rows/label", Kind::i32, "index of the right continuation, -1 where none is given", "1"}, Extent::rows};
inline constexpr Column digest_low{{"/rows/digest_low", Kind::u64, "low half of the digest of the row", "1"},
                                   Extent::rows};
inline constexpr Column digest_high{{"/rows/digest_high", Kind::u64, "high half of the digest of the row", "1"},
                                    Extent::rows};
inline constexpr Column token_offsets{{"/tokens/offsets", Kind::i64, "where the tokens of each row start", "tokens"},
                                      Extent::row_offsets};
inline constexpr Column token_id{{"/tokens/id", Kind::i32, "tokens scored or generated", "vocabulary entry"},
                                 Extent::tokens};
inline constexpr Column token_logprob{{"/tokens/logprob", Kind::f32, "log-probability of each token", "nat"},
                                      Extent::tokens};
inline constexpr Column topk_id{{"/tokens/topk_id", Kind::i32,
                                 "most probable tokens at each position, -1 where there are fewer", "vocabulary entry"},
                                Extent::topk};
inline constexpr Column topk_logprob{{"/tokens/topk_logprob", Kind::f32, "log-probabilities of topk_id", "nat"},
                                     Extent::topk};
inline constexpr Column text_offsets{
    {"/text/offsets", Kind::i64, "where the text of each row starts in /text/blob", "bytes"}, Extent::row_offsets};
inline constexpr Column text{{"/text/blob", Kind::byte, "generated texts, one after the other", "UTF-8"},
                             Extent::text_bytes};
}  // namespace columns

/// Calls visit(column, values) for every column, in the order of FORMAT.md.
template <class Columns, class Visit>
void for_each_column(Columns& c, Visit&& visit) {
  visit(columns::custom_id_offsets, c.custom_id_offsets);
  visit(columns::custom_id, c.custom_id);
  visit(columns::input_line, c.input_line);
  visit(columns::choice_idx, c.choice_idx);
  visit(columns::status, c.status);
  visit(columns::message_offsets, c.message_offsets);
  visit(columns::message, c.message);
  visit(columns::num_prompt_tokens, c.num_prompt_tokens);
  visit(columns::num_output_tokens, c.num_output_tokens);
  visit(columns::finish_reason, c.finish_reason);
  visit(columns::sum_logprob, c.sum_logprob);
  visit(columns::is_greedy, c.is_greedy);
  visit(columns::num_bytes, c.num_bytes);
  visit(columns::label, c.label);
  visit(columns::digest_low, c.digest_low);
  visit(columns::digest_high, c.digest_high);
  visit(columns::token_offsets, c.token_offsets);
  visit(columns::token_id, c.token_id);
  visit(columns::token_logprob, c.token_logprob);
  visit(columns::topk_id, c.topk_id);
  visit(columns::topk_logprob, c.topk_logprob);
  visit(columns::text_offsets, c.text_offsets);
  visit(columns::text, c.text);
}

/// The status that rows of an absent block read as; no RowStatus has it.
inline constexpr std::uint8_t missing_status = 255;

/// The rows in the order given, with their digests.
RowColumns to_columns(std::span<const Row> rows);
/// The inverse, but for the top-k width of a row, which comes back as the widest of its positions.
/// No row may be missing, and the offsets must have been checked.
std::vector<Row> to_rows(const RowColumns& columns);

}  // namespace moebius::io
