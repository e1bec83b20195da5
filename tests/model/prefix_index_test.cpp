// SPDX-License-Identifier: Apache-2.0
#include "model/prefix_index.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <set>

#include "base/check.hpp"
#include "model/kv_cache.hpp"

namespace moebius::model {
namespace {

using Tokens = std::vector<TokenId>;
constexpr int block = KvCache::block_tokens;

TEST(PrefixIndex, NodesAreRunsOfTokensFromTheStart) {
  PrefixIndex index;
  const Tokens a(32, 1), b(32, 2);
  EXPECT_EQ(index.find(PrefixIndex::none, a), PrefixIndex::none);
  const auto first = index.announce(PrefixIndex::none, a);
  const auto second = index.announce(first, b);
  EXPECT_EQ(index.find(PrefixIndex::none, a), first);
  EXPECT_EQ(index.find(first, b), second);
  EXPECT_EQ(index.find(PrefixIndex::none, b), PrefixIndex::none);  // the same tokens after others are others
  EXPECT_EQ(index.find(second, b), PrefixIndex::none);
  EXPECT_EQ(index.block(first), PrefixIndex::none);
  index.set_block(first, 7);
  EXPECT_EQ(index.block(first), 7);
  EXPECT_THROW(index.set_block(first, 8), ContractError);
  EXPECT_THROW(index.announce(first, b), ContractError);
  EXPECT_THROW(index.erase(first), ContractError);  // it has a child
  index.erase(second);
  index.erase(first);
  EXPECT_EQ(index.num_nodes(), 0);
}

TEST(PrefixIndex, IdleNodesGoInTheOrderInWhichTheyBecameIdle) {
  PrefixIndex index;
  std::vector<std::int32_t> nodes;
  for (TokenId token = 0; token < 4; ++token) {
    nodes.push_back(index.announce(PrefixIndex::none, Tokens(32, token)));
    index.set_block(nodes.back(), token);
  }
  EXPECT_EQ(index.oldest_idle(), PrefixIndex::none);
  for (const int i : {2, 0, 3, 1}) index.make_idle(nodes[static_cast<std::size_t>(i)]);
  EXPECT_THROW(index.make_idle(nodes[0]), ContractError);
  EXPECT_THROW(index.erase(nodes[0]), ContractError);
  index.make_busy(nodes[0]);  // from the middle
  index.make_idle(nodes[0]);  // to the end
  std::vector<std::int32_t> order;
  while (index.oldest_idle() != PrefixIndex::none) {
    order.push_back(index.oldest_idle());
    index.make_busy(order.back());
    index.erase(order.back());
  }
  EXPECT_EQ(order, (std::vector{nodes[2], nodes[3], nodes[1], nodes[0]}));
  EXPECT_EQ(index.num_idle(), 0);
}

/// Sequences over few tokens, so that most begin like another, beside an exact model of the cache that knows
/// each block by all tokens up to its end.
class PrefixUse {
 public:
  explicit PrefixUse(std::uint64_t seed) : random_(seed) {}

  void run(int num_steps) {
    for (int step = 0; step < num_steps && !::testing::Test::HasFatalFailure(); ++step) {
      switch (draw(4)) {
        case 0: start(); break;
        case 1: end(); break;
        default: grow(); break;
      }
      check_counts();
    }
    while (!live_.empty()) end();
    check_counts();
    EXPECT_EQ(kv_.num_used(), 0);
    EXPECT_EQ(kv_.num_reserved(), 0);
    EXPECT_GT(num_adopted_, num_steps / 20);
    EXPECT_GT(kv_.num_evicted(), num_steps / 40);
    EXPECT_GT(num_awaited_, 0);
  }

 private:
  struct Sequence {
    Tokens tokens;
    KvTable table;
    int num_written = 0;           // positions
    int num_known = 0;             // first blocks that stand in known_ through this sequence
    std::int64_t promised = 0;
  };
  struct Known {
    bool is_written = false;
    int num_holders = 0;
  };

  int draw(int end) { return static_cast<int>(random_() % static_cast<std::uint64_t>(end)); }
  static Tokens prefix_of(const Tokens& tokens, int num_blocks) { return {tokens.begin(), tokens.begin() + num_blocks * block}; }
  /// What position p of a sequence holds: a function of all tokens up to p, as keys and values are.
  static std::vector<std::uint32_t> content_of(const Tokens& tokens) {
    std::vector<std::uint32_t> content;
    std::uint32_t hash = 1;
    for (const TokenId token : tokens) content.push_back(hash = hash * 1000003U + static_cast<std::uint32_t>(token));
    return content;
  }
  std::byte* cell(const Sequence& sequence, int position) {
    return kv_.block(sequence.table, position / block, LayerId(0)) + position % block * 4;
  }

  Tokens random_sequence() {
    Tokens tokens;
    const int length = 1 + draw(5 * block);
    // Blocks of one token each: two choices a block, and now and then a difference inside a block.
    while (static_cast<int>(tokens.size()) < length) tokens.insert(tokens.end(), block, draw(2));
    tokens.resize(static_cast<std::size_t>(length));
    if (draw(4) == 0) tokens[static_cast<std::size_t>(draw(length))] = 2;
    return tokens;
  }
  PrefixMatch expected_match(const Tokens& tokens, int max_blocks) const {
    PrefixMatch match;
    for (int i = 0; i < std::min(max_blocks, static_cast<int>(tokens.size()) / block); ++i) {
      const auto known = known_.find(prefix_of(tokens, i + 1));
      if (known == known_.end()) break;
      match.num_announced += known->second.is_written ? 0 : 1;
      match.num_blocks += known->second.is_written ? 1 : 0;
      match.num_unheld += known->second.is_written && known->second.num_holders == 0 ? 1 : 0;
    }
    return match;
  }

  void start() {
    Sequence sequence{.tokens = random_sequence(), .table = {}};
    const int max_blocks = draw(6) == 0 ? draw(3) : static_cast<int>(sequence.tokens.size() - 1) / block;
    const PrefixMatch match = kv_.match_prefix(sequence.tokens, max_blocks), expected = expected_match(sequence.tokens, max_blocks);
    ASSERT_EQ(match.num_announced, expected.num_announced);
    ASSERT_EQ(match.num_blocks, expected.num_blocks);
    ASSERT_EQ(match.num_unheld, expected.num_unheld);
    num_awaited_ += match.num_announced;
    if (match.num_announced > 0) return;
    sequence.promised = KvCache::blocks_for(static_cast<int>(sequence.tokens.size())) - match.num_blocks;
    const bool fits = match.num_unheld + sequence.promised <= kv_.num_blocks() - kv_.num_reserved();
    ASSERT_EQ(kv_.reserve(match.num_unheld + sequence.promised), fits);
    if (!fits) return;
    sequence.table = kv_.adopt_prefix(sequence.tokens, match.num_blocks);
    num_adopted_ += match.num_blocks;
    sequence.num_written = match.num_blocks * block;
    for (; sequence.num_known < match.num_blocks; ++sequence.num_known) {
      const Tokens prefix = prefix_of(sequence.tokens, sequence.num_known + 1);
      if (++known_.at(prefix).num_holders == 1) std::erase(idle_, prefix);
    }
    check_content(sequence);
    kv_.announce(sequence.table, sequence.tokens);
    while (sequence.num_known < static_cast<int>(sequence.tokens.size()) / block &&
           known_.try_emplace(prefix_of(sequence.tokens, sequence.num_known + 1)).second) {
      ++sequence.num_known;
    }
    live_.push_back(std::move(sequence));
  }

  void grow() {
    if (live_.empty()) return;
    Sequence& sequence = live_[static_cast<std::size_t>(draw(static_cast<int>(live_.size())))];
    const int end = std::min(static_cast<int>(sequence.tokens.size()), sequence.num_written + draw(50));
    const int taken = std::max(0, KvCache::blocks_for(end) - sequence.table.num_blocks());
    ASSERT_EQ(kv_.append_until(sequence.table, end), taken);
    sequence.promised -= taken;
    for (num_free_ -= taken; num_free_ < 0; ++num_free_) {  // the block that is idle for the longest time goes
      known_.erase(idle_.front());
      idle_.erase(idle_.begin());
    }
    const auto content = content_of(sequence.tokens);
    for (int p = sequence.num_written; p < end; ++p) std::memcpy(cell(sequence, p), &content[static_cast<std::size_t>(p)], 4);
    kv_.publish(sequence.table, end);
    for (int i = sequence.num_written / block; i < std::min(sequence.num_known, end / block); ++i) {
      known_.at(prefix_of(sequence.tokens, i + 1)) = {.is_written = true, .num_holders = 1};
    }
    sequence.num_written = end;
    check_content(sequence);
  }

  void end() {
    if (live_.empty()) return;
    const auto victim = live_.begin() + draw(static_cast<int>(live_.size()));
    check_content(*victim);
    const int num_blocks = victim->table.num_blocks(), num_written = victim->num_written / block;
    for (int i = num_written; i < victim->num_known; ++i) known_.erase(prefix_of(victim->tokens, i + 1));
    std::int64_t unheld = 0;
    for (int i = num_blocks; i-- > 0;) {
      if (i >= std::min(num_written, victim->num_known)) {
        ++num_free_;
        ++unheld;
      } else if (const Tokens prefix = prefix_of(victim->tokens, i + 1); --known_.at(prefix).num_holders == 0) {
        idle_.push_back(prefix);
        ++unheld;
      }
    }
    ASSERT_EQ(kv_.free(victim->table), unheld);
    kv_.release(victim->promised + unheld);
    live_.erase(victim);
  }

  void check_content(const Sequence& sequence) {
    const auto content = content_of(sequence.tokens);
    for (int p = 0; p < sequence.num_written; ++p) {
      std::uint32_t value = 0;
      std::memcpy(&value, cell(sequence, p), 4);
      ASSERT_EQ(value, content[static_cast<std::size_t>(p)]) << "position " << p;
    }
  }
  void check_counts() {
    std::int64_t promised = 0;
    std::set<const std::byte*> distinct;
    for (const Sequence& sequence : live_) {
      promised += sequence.promised;
      for (int b = 0; b < sequence.table.num_blocks(); ++b) distinct.insert(kv_.block(sequence.table, b, LayerId(0)));
    }
    ASSERT_EQ(kv_.num_used(), static_cast<std::int64_t>(distinct.size()));
    ASSERT_EQ(kv_.num_used() + promised, kv_.num_reserved());
    ASSERT_EQ(kv_.num_kept(), static_cast<std::int64_t>(idle_.size()));
    ASSERT_EQ(kv_.num_free(), num_free_);
    ASSERT_EQ(kv_.num_used() + kv_.num_kept() + kv_.num_free(), kv_.num_blocks());
  }

  static constexpr int num_blocks_ = 14;
  std::mt19937_64 random_;
  KvCache kv_{{.type = ComputeType::fp32, .num_kv_heads = 1, .key_dim = 2, .value_dim = 2}, 1, num_blocks_};
  std::vector<Sequence> live_;
  std::map<Tokens, Known> known_;
  std::vector<Tokens> idle_;  // written and not held, the oldest first
  std::int64_t num_free_ = num_blocks_, num_adopted_ = 0, num_awaited_ = 0;
};

TEST(PrefixCache, RandomUseAdoptsOnlyWhatIsEqualAndLosesNoBlock) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    PrefixUse(seed).run(2000);
    if (HasFailure()) return;
  }
}

KvCache small_cache(int num_blocks) { return KvCache({.type = ComputeType::fp32, .num_kv_heads = 1, .key_dim = 2, .value_dim = 2}, 1, num_blocks); }

TEST(PrefixCache, BlocksOutliveTheirSequenceUntilTheirMemoryIsNeeded) {
  KvCache kv = small_cache(4);
  const Tokens tokens(70, 5);
  ASSERT_TRUE(kv.reserve(3));
  KvTable table = kv.make_table();
  kv.announce(table, tokens);
  kv.append_until(table, 70);
  EXPECT_EQ(kv.match_prefix(tokens, 2).num_announced, 2);
  kv.publish(table, 40);
  EXPECT_EQ(kv.match_prefix(tokens, 2).num_blocks, 1);
  EXPECT_EQ(kv.match_prefix(tokens, 2).num_announced, 1);
  kv.publish(table, 70);
  EXPECT_EQ(kv.match_prefix(tokens, 2).num_unheld, 0);
  EXPECT_EQ(kv.free(table), 3);
  kv.release(3);
  EXPECT_EQ(kv.num_kept(), 2);
  EXPECT_EQ(kv.num_free(), 2);
  EXPECT_EQ(kv.match_prefix(tokens, 2).num_unheld, 2);
  // All four blocks may be promised; the third taken costs the end of the prefix, then its beginning.
  ASSERT_TRUE(kv.reserve(4));
  KvTable other = kv.make_table();
  EXPECT_EQ(kv.append_until(other, 96), 3);
  EXPECT_EQ(kv.num_evicted(), 1);
  EXPECT_EQ(kv.match_prefix(tokens, 2).num_blocks, 1);
  EXPECT_EQ(kv.append_until(other, 128), 1);
  EXPECT_EQ(kv.match_prefix(tokens, 2).num_blocks, 0);
  kv.free(other);
  kv.release(4);
}

TEST(PrefixCache, WhatWasAnnouncedAndNotWrittenIsWithdrawn) {
  KvCache kv = small_cache(4);
  const Tokens tokens(96, 5);
  ASSERT_TRUE(kv.reserve(3));
  KvTable table = kv.make_table();
  kv.announce(table, tokens);
  kv.append_until(table, 40);
  kv.publish(table, 32);
  const auto version = kv.prefix_version();
  kv.free(table);
  kv.release(3);
  EXPECT_NE(kv.prefix_version(), version);
  EXPECT_EQ(kv.match_prefix(tokens, 3).num_announced, 0);
  EXPECT_EQ(kv.match_prefix(tokens, 3).num_blocks, 1);
}

TEST(PrefixCache, AdoptingWithoutReservationIsRefused) {
  KvCache kv = small_cache(4);
  const Tokens tokens(32, 5);
  ASSERT_TRUE(kv.reserve(1));
  KvTable table = kv.make_table();
  kv.announce(table, tokens);
  kv.append_until(table, 32);
  EXPECT_THROW((void)kv.adopt_prefix(tokens, 1), ContractError);  // not written yet
  kv.publish(table, 32);
  KvTable sharer = kv.adopt_prefix(tokens, 1);  // held already: costs nothing
  kv.free(sharer);
  kv.free(table);
  kv.release(1);
  EXPECT_THROW((void)kv.adopt_prefix(tokens, 1), ContractError);
}

}  // namespace
}  // namespace moebius::model
