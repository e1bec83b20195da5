// SPDX-License-Identifier: Apache-2.0
#include "io/row_digest.hpp"

#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/check.hpp"

namespace moebius::io {
namespace {

/// Spells values as bytes, least significant first, whatever the machine does.
class Bytes {
 public:
  template <std::unsigned_integral U>
  void add(U value) {
    for (std::size_t byte = 0; byte < sizeof(U); ++byte)
      bytes_.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * byte) & 0xffU));
  }
  template <std::signed_integral S>
  void add(S value) {
    add(static_cast<std::make_unsigned_t<S>>(value));
  }
  void add(float value) { add(std::isnan(value) ? 0x7fc00000U : std::bit_cast<std::uint32_t>(value)); }
  void add(double value) {
    add(std::isnan(value) ? std::uint64_t{0x7ff8000000000000U} : std::bit_cast<std::uint64_t>(value));
  }
  void add(std::string_view text) {
    add(static_cast<std::uint64_t>(text.size()));
    bytes_ += text;
  }
  [[nodiscard]] std::span<const std::byte> bytes() const { return std::as_bytes(std::span(bytes_)); }

 private:
  std::string bytes_;
};

}  // namespace

int num_topk(const TokenId* ids, int width) {
  while (width > 0 && ids[width - 1] == -1) --width;
  return width;
}

Digest128 row_digest(const Row& row) {
  const std::size_t num_tokens = row.token_ids.size();
  const auto width = static_cast<std::size_t>(row.topk_width);
  MOEBIUS_EXPECT(row.token_logprobs.size() == num_tokens && row.topk_ids.size() == num_tokens * width &&
                 row.topk_logprobs.size() == num_tokens * width);
  Bytes bytes;
  bytes.add(std::string_view(row.custom_id));
  bytes.add(row.choice_idx);
  bytes.add(static_cast<std::uint8_t>(row.status));
  bytes.add(row.num_prompt_tokens);
  bytes.add(row.num_output_tokens);
  bytes.add(static_cast<std::uint8_t>(row.finish_reason));
  bytes.add(static_cast<std::uint8_t>(row.is_greedy ? 1 : 0));
  bytes.add(row.num_bytes);
  bytes.add(row.sum_logprob);
  bytes.add(static_cast<std::uint64_t>(num_tokens));
  for (const TokenId id : row.token_ids) bytes.add(id);
  for (const float logprob : row.token_logprobs) bytes.add(logprob);
  for (std::size_t token = 0; token < num_tokens; ++token) {
    const TokenId* ids = row.topk_ids.data() + token * width;
    const int num_entries = num_topk(ids, row.topk_width);
    bytes.add(static_cast<std::uint32_t>(num_entries));
    for (std::size_t k_idx = 0; k_idx < static_cast<std::size_t>(num_entries); ++k_idx) {
      bytes.add(ids[k_idx]);
      bytes.add(row.topk_logprobs[token * width + k_idx]);
    }
  }
  bytes.add(std::string_view(row.text));
  return xxh3_128(bytes.bytes());
}

}  // namespace moebius::io
