// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention.hpp"

#include <cmath>
#include <limits>

#include "tests/kernels/kernel_test.hpp"

namespace moebius::kernels {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

struct Heads {
  int num_heads, num_kv_heads, key_dim, value_dim;
};

/// One sequence: its q, k, v, and KV blocks that are NaN wherever nothing was stored.
struct Sequence {
  KvLayout layout;
  Heads heads;
  int num_tokens;
  int window = 0;
  std::vector<float> q, k;    // [num_tokens, heads, key_dim]
  std::vector<float> v, out;  // [num_tokens, heads, value_dim]
  std::vector<std::vector<float>> memory;
  std::vector<const std::byte*> blocks;

  void clear() {
    memory.assign(static_cast<std::size_t>((num_tokens + 31) / 32),
                  std::vector<float>(layout.block_layer_bytes() / sizeof(float), nan));
    blocks.clear();
    for (const auto& block : memory) blocks.push_back(reinterpret_cast<const std::byte*>(block.data()));
    out.assign(static_cast<std::size_t>(num_tokens * out_stride()), nan);
  }
  [[nodiscard]] std::int64_t q_stride() const { return std::int64_t{heads.num_heads} * heads.key_dim; }
  [[nodiscard]] std::int64_t out_stride() const { return std::int64_t{heads.num_heads} * heads.value_dim; }
  [[nodiscard]] std::int64_t k_stride() const { return std::int64_t{heads.num_kv_heads} * heads.key_dim; }
  [[nodiscard]] std::int64_t v_stride() const { return std::int64_t{heads.num_kv_heads} * heads.value_dim; }
  [[nodiscard]] AttentionShape shape(float scale) const { return {heads.num_heads, scale, window}; }
  void store(int position) {
    auto* block = reinterpret_cast<std::byte*>(memory[static_cast<std::size_t>(position / 32)].data());
    store_kv(layout, block, position % 32, k.data() + position * k_stride(), v.data() + position * v_stride());
  }
  SegmentQueries segment(int first, int count) {
    return {q.data() + first * q_stride(), q_stride(), out.data() + first * out_stride(), out_stride(),
            blocks.data(),                 first,      count};
  }
  /// Stores and attends chunk by chunk; `chunk` 0 is all at once.
  std::vector<float> run(int chunk, float scale) {
    clear();
    for (int first = 0; first < num_tokens;) {
      const int count = std::min(chunk == 0 ? num_tokens : chunk, num_tokens - first);
      for (int i = 0; i < count; ++i) store(first + i);
      const SegmentQueries queries = segment(first, count);
      attention(layout, shape(scale), {&queries, 1});
      first += count;
    }
    return out;
  }
};

class AttentionTest : public KernelTest {
 protected:
  Sequence sequence(ComputeType type, Heads heads, int num_tokens, float deviation = 1.0F) {
    Sequence s;
    s.layout = KvLayout{type, heads.num_kv_heads, heads.key_dim, heads.value_dim};
    s.heads = heads;
    s.num_tokens = num_tokens;
    s.q = normal(static_cast<std::size_t>(num_tokens * s.q_stride()), deviation);
    s.k = normal(static_cast<std::size_t>(num_tokens * s.k_stride()), deviation);
    s.v = normal(static_cast<std::size_t>(num_tokens * s.v_stride()));
    s.clear();
    return s;
  }
};

/// Queries and probabilities are rounded to bf16 where products take pairs of it.
bool rounds(const Sequence& s) { return s.layout.type == ComputeType::bf16 && active_isa() == Isa::avx512_bf16; }

std::vector<double> naive(const Sequence& s, float scale, int position, int head) {
  const int key_dim = s.heads.key_dim, value_dim = s.heads.value_dim;
  const int kv_head = head / (s.heads.num_heads / s.heads.num_kv_heads);
  const int first = s.window > 0 ? std::max(0, position - s.window + 1) : 0;
  std::vector<double> score(static_cast<std::size_t>(position + 1), 0.0);
  double max = -1e300;
  const auto query = [&](float q) { return rounds(s) ? double{as_stored(ComputeType::bf16, q * scale)} : double{scale} * double{q}; };
  for (int t = first; t <= position; ++t) {
    for (int d = 0; d < key_dim; ++d) {
      score[static_cast<std::size_t>(t)] +=
          query(s.q[static_cast<std::size_t>(position * s.q_stride() + head * key_dim + d)]) *
          double{as_stored(s.layout.type, s.k[static_cast<std::size_t>(t * s.k_stride() + kv_head * key_dim + d)])};
    }
    max = std::max(max, score[static_cast<std::size_t>(t)]);
  }
  std::vector<double> out(static_cast<std::size_t>(value_dim), 0.0);
  double sum = 0;
  for (int t = first; t <= position; ++t) {
    const double e = std::exp(score[static_cast<std::size_t>(t)] - max);
    sum += e;
    for (int d = 0; d < value_dim; ++d) {
      out[static_cast<std::size_t>(d)] +=
          e * double{as_stored(s.layout.type, s.v[static_cast<std::size_t>(t * s.v_stride() + kv_head * value_dim + d)])};
    }
  }
  for (double& value : out) value /= sum;
  return out;
}

void expect_naive(Sequence& s, const std::vector<float>& out, float scale) {
  for (int position = 0; position < s.num_tokens; ++position) {
    for (int head = 0; head < s.heads.num_heads; ++head) {
      const auto expected = naive(s, scale, position, head);
      for (int d = 0; d < s.heads.value_dim; ++d) {
        const auto i = static_cast<std::size_t>(position * s.out_stride() + head * s.heads.value_dim + d);
        // A probability is off by half a unit of the last place of bf16 at most, a mean of values by about that
        // share of their size.
        ASSERT_NEAR(out[i], expected[static_cast<std::size_t>(d)], rounds(s) ? 4.0 / 512 : 5e-6)
            << "position " << position << " head " << head << " d " << d << " of " << s.heads.value_dim << ", key_dim "
            << s.heads.key_dim << ", window " << s.window;
      }
    }
  }
}

TEST_P(AttentionTest, EqualsTheDoubleLoops) {
  const Heads shapes[] = {{4, 2, 16, 16}, {8, 2, 32, 32}, {3, 3, 80, 80},    {6, 1, 128, 128},
                          {64, 1, 24, 24}, {2, 2, 300, 300}, {4, 1, 40, 32}, {16, 1, 576, 512}, {3, 3, 24, 70}};
  for (const ComputeType type : compute_types) {
    for (const Heads heads : shapes) {
      Sequence s = sequence(type, heads, between(1, 90));
      const float scale = 1.0F / std::sqrt(static_cast<float>(heads.key_dim));
      expect_naive(s, s.run(0, scale), scale);
    }
  }
}

TEST_P(AttentionTest, AWindowHidesWhatLiesBeforeIt) {
  for (const ComputeType type : compute_types) {
    for (const Heads heads : {Heads{4, 2, 16, 16}, Heads{6, 1, 40, 32}, Heads{16, 1, 24, 24}}) {
      for (const int window : {1, 5, 32, 33, 64, 150}) {
        Sequence s = sequence(type, heads, between(100, 200));
        s.window = window;
        expect_naive(s, s.run(0, 0.2F), 0.2F);
      }
    }
  }
}

/// A window as long as the sequence is no window.
TEST_P(AttentionTest, AWideWindowChangesNoBit) {
  Sequence s = sequence(ComputeType::fp32, {8, 2, 32, 32}, 150);
  const auto all = s.run(0, 0.2F);
  s.window = 150;
  EXPECT_TRUE(same_bits(s.run(0, 0.2F), all));
  s.window = 149;
  EXPECT_FALSE(same_bits(s.run(0, 0.2F), all));
}

/// What lies before the window may be anything, as what lies behind a position may.
TEST_P(AttentionTest, KeysBeforeTheWindowAreNotRead) {
  for (const ComputeType type : compute_types) {
    Sequence s = sequence(type, {8, 2, 32, 32}, 100);
    s.window = 20;
    const auto clean = s.run(0, 0.2F);
    for (std::int64_t i = 0; i < 60 * s.k_stride(); ++i) s.k[static_cast<std::size_t>(i)] = nan;
    for (std::int64_t i = 0; i < 60 * s.v_stride(); ++i) s.v[static_cast<std::size_t>(i)] = nan;
    const auto out = s.run(0, 0.2F);
    const auto hidden_until = static_cast<std::size_t>(79 * s.out_stride());  // the first query that sees 60..79 only
    EXPECT_TRUE(same_bits(std::span(out).subspan(hidden_until), std::span(clean).subspan(hidden_until)));
    EXPECT_TRUE(std::isnan(out[hidden_until - 1]));
  }
}

TEST_P(AttentionTest, TheBitsDoNotDependOnTheSegments) {
  for (const ComputeType type : compute_types) {
    for (const Heads heads : {Heads{8, 2, 32, 32}, Heads{3, 3, 80, 80}, Heads{8, 1, 72, 64}}) {
      for (const int window : {0, 1, 40, 270}) {
        Sequence s = sequence(type, heads, 331);  // crosses the border of a piece of 256 scores
        s.window = window;
        const auto whole = s.run(0, 0.2F);
        for (const int chunk : {1, 7, 32, 33, 100}) {
          EXPECT_TRUE(same_bits(s.run(chunk, 0.2F), whole)) << "chunks of " << chunk << " " << to_string(type) << " window " << window;
        }
      }
    }
  }
}

TEST_P(AttentionTest, TheBitsDoNotDependOnTheOtherSequences) {
  const Heads heads{4, 2, 32, 32};
  std::vector<Sequence> sequences;
  std::vector<std::vector<float>> alone;
  std::vector<SegmentQueries> together;
  for (const int num_tokens : {5, 64, 1, 130}) sequences.push_back(sequence(ComputeType::fp32, heads, num_tokens));
  for (Sequence& s : sequences) alone.push_back(s.run(0, 0.2F));
  for (Sequence& s : sequences) {
    std::fill(s.out.begin(), s.out.end(), nan);
    const int cut = s.num_tokens / 3;
    together.push_back(s.segment(0, cut));
    together.push_back(s.segment(cut, s.num_tokens - cut));
  }
  attention(sequences[0].layout, sequences[0].shape(0.2F), together);
  for (std::size_t i = 0; i < sequences.size(); ++i) EXPECT_TRUE(same_bits(sequences[i].out, alone[i])) << i;
}

/// Keys and values that are not numbers, in the middle of a segment, must not reach earlier queries.
TEST_P(AttentionTest, ACopiedBlockHasWhatWasStoredAndNoMoreIsNeeded) {
  for (const ComputeType type : compute_types) {
    Sequence s = sequence(type, {4, 2, 7, 40}, 32);
    const std::vector<float> expected = s.run(0, 0.3F);
    const std::vector<std::vector<float>> full = s.memory;
    for (int stored = 1; stored <= 32; ++stored) {
      s.clear();  // all NaN
      copy_kv(s.layout, reinterpret_cast<const std::byte*>(full[0].data()), reinterpret_cast<std::byte*>(s.memory[0].data()), stored);
      for (int position = stored; position < 32; ++position) s.store(position);  // a branch goes on behind it
      const SegmentQueries queries = s.segment(0, 32);
      attention(s.layout, s.shape(0.3F), {&queries, 1});
      ASSERT_TRUE(same_bits(s.out, expected)) << stored << " positions copied";
    }
  }
}

TEST_P(AttentionTest, LaterKeysOfTheSameSegmentAreNotSeen) {
  for (const ComputeType type : compute_types) {
    for (const int poisoned : {1, 31, 32, 45, 63}) {
      Sequence s = sequence(type, {4, 2, 32, 32}, 64);
      const auto clean = s.run(0, 0.2F);
      for (std::int64_t i = poisoned * s.k_stride(); i < (poisoned + 1) * s.k_stride(); ++i) {
        s.k[static_cast<std::size_t>(i)] = nan;
        s.v[static_cast<std::size_t>(i)] = std::numeric_limits<float>::infinity();
      }
      const auto out = s.run(0, 0.2F);
      const auto seen = static_cast<std::size_t>(poisoned * s.out_stride());
      EXPECT_TRUE(same_bits(std::span(out).first(seen), std::span(clean).first(seen))) << "poisoned " << poisoned;
      EXPECT_TRUE(std::isnan(out[seen])) << "the poisoned position sees itself";
    }
  }
}

/// Scores of hundreds would overflow an exponential that is not taken relative to the maximum.
TEST_P(AttentionTest, LargeScoresStayFinite) {
  Sequence s = sequence(ComputeType::fp32, {2, 1, 64, 64}, 70, 8.0F);
  const auto out = s.run(0, 1.0F);
  for (int position = 0; position < s.num_tokens; ++position) {
    const auto expected = naive(s, 1.0F, position, 1);
    for (int d = 0; d < 64; ++d) {
      const auto at = static_cast<std::size_t>(position * s.out_stride() + 64 + d);
      ASSERT_NEAR(out[at], expected[static_cast<std::size_t>(d)], 2e-3);
    }
  }
}

MOEBIUS_FOR_ALL_ISAS(AttentionTest);

}  // namespace
}  // namespace moebius::kernels
