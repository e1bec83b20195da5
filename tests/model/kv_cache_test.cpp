// SPDX-License-Identifier: Apache-2.0
#include "model/kv_cache.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <set>

#include "base/check.hpp"
#include "base/failure.hpp"

namespace moebius::model {
namespace {

constexpr kernels::KvLayout layout{.type = ComputeType::fp32, .num_kv_heads = 1, .key_dim = 2, .value_dim = 2};
constexpr int num_layers = 2;

TEST(KvCacheTest, reserves_up_to_its_size) {
  KvCache kv(layout, num_layers, 10);
  EXPECT_TRUE(kv.reserve(6));
  EXPECT_FALSE(kv.reserve(5));
  EXPECT_EQ(kv.num_reserved(), 6);
  EXPECT_TRUE(kv.reserve(4));
  EXPECT_FALSE(kv.reserve(1));
  EXPECT_TRUE(kv.reserve(0));
  kv.release(10);
  EXPECT_TRUE(kv.reserve(10));
  EXPECT_EQ(kv.bytes(), 10 * num_layers * layout.block_layer_bytes());
}

TEST(KvCacheTest, takes_reserved_blocks_only) {
  KvCache kv(layout, num_layers, 10);
  KvTable table = kv.make_table();
  EXPECT_THROW(kv.append_until(table, 1), ContractError);
  ASSERT_TRUE(kv.reserve(2));
  kv.append_until(table, 33);
  EXPECT_EQ(table.num_blocks(), 2);
  kv.append_until(table, 64);
  EXPECT_EQ(table.num_blocks(), 2);
  EXPECT_THROW(kv.append_until(table, 65), ContractError);
  EXPECT_THROW((void)kv.fork(table, 63), ContractError);  // its copy would be a third block
  EXPECT_EQ(kv.num_used(), 2);
  kv.free(table);
}

TEST(KvCacheTest, a_reservation_outlives_its_tables) {
  KvCache kv(layout, num_layers, 10);
  ASSERT_TRUE(kv.reserve(2));
  KvTable table = kv.make_table();
  kv.append_until(table, 64);
  EXPECT_THROW(kv.release(2), ContractError);
  EXPECT_THROW(kv.release(3), ContractError);
  kv.free(table);
  kv.release(2);
  EXPECT_THROW(kv.release(1), ContractError);
}

TEST(KvCacheTest, a_table_frees_its_blocks_once) {
  KvCache kv(layout, num_layers, 4);
  ASSERT_TRUE(kv.reserve(4));
  KvTable table = kv.make_table();
  kv.append_until(table, 40);
  KvTable moved = std::move(table);
  kv.free(table);  // NOLINT: a moved-from table is empty
  EXPECT_EQ(kv.num_used(), 2);
  kv.free(moved);
  kv.free(moved);
  EXPECT_EQ(kv.num_used(), 0);
  static_assert(!std::is_copy_constructible_v<KvTable> && !std::is_copy_assignable_v<KvTable>);
}

TEST(KvCacheTest, overwriting_a_table_that_holds_blocks_is_refused) {
  KvCache kv(layout, num_layers, 4);
  ASSERT_TRUE(kv.reserve(4));
  KvTable table = kv.make_table();
  kv.append_until(table, 1);
  EXPECT_THROW(table = kv.make_table(), ContractError);
  EXPECT_EQ(table.num_blocks(), 1);
}

TEST(KvCacheTest, a_table_of_another_cache_is_noticed) {
  KvCache kv(layout, num_layers, 4), other(layout, num_layers, 4);
  ASSERT_TRUE(other.reserve(1));
  KvTable table = other.make_table();
  other.append_until(table, 1);
  EXPECT_THROW(kv.free(table), ContractError);
}

TEST(KvCacheTest, points_at_layers_of_blocks) {
  KvCache kv(layout, num_layers, 4);
  ASSERT_TRUE(kv.reserve(4));
  KvTable first = kv.make_table(), second = kv.make_table();
  kv.append_until(first, 32);
  kv.append_until(second, 32);
  kv.append_until(first, 64);
  std::set<const std::byte*> places;
  for (const KvTable* table : {&first, &second}) {
    for (int layer = 0; layer < num_layers; ++layer) {
      std::vector<const std::byte*> pointers(static_cast<std::size_t>(table->num_blocks()));
      kv.block_pointers(*table, LayerId(layer), table->num_positions(), pointers.data());
      for (int b = 0; b < table->num_blocks(); ++b) {
        EXPECT_EQ(pointers[static_cast<std::size_t>(b)], kv.block(*table, b, LayerId(layer)));
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pointers[static_cast<std::size_t>(b)]) % 64, 0U);
      }
      places.insert(pointers.begin(), pointers.end());
    }
  }
  EXPECT_EQ(places.size(), 3U * num_layers);
  const std::byte* previous = nullptr;
  for (const std::byte* place : places) {
    if (previous != nullptr) {
      EXPECT_GE(place - previous, static_cast<std::ptrdiff_t>(layout.block_layer_bytes()));
    }
    previous = place;
  }
  EXPECT_THROW((void)kv.block(second, 1, LayerId(0)), ContractError);
  EXPECT_THROW((void)kv.block(second, 0, LayerId(num_layers)), ContractError);
  const std::byte* pointers[3];
  EXPECT_THROW(kv.block_pointers(first, LayerId(0), 65, pointers), ContractError);
  kv.free(first);
  kv.free(second);
}

TEST(KvCacheTest, says_what_to_do_where_memory_is_refused) {
  const kernels::KvLayout huge{.type = ComputeType::fp32, .num_kv_heads = 1 << 12, .key_dim = 1 << 12, .value_dim = 1 << 12};
  // More than an address space holds; more than 64 bits count; more blocks than 32 bits number.
  for (const auto& [sizes, layers, blocks] : {std::tuple{huge, 1 << 10, 1LL << 15}, {huge, 1 << 10, 1LL << 30}, {layout, 1, 1LL << 40}}) {
    try {
      const KvCache kv(sizes, layers, blocks);
      ADD_FAILURE() << "granted " << blocks << " blocks";
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::does_not_fit);
      EXPECT_NE(std::string(failure.what()).find("limits.kv_tokens"), std::string::npos);
    }
  }
}

/// A cache beside a model of it: what each table's positions should hold, layer by layer.
class RandomUse {
 public:
  explicit RandomUse(std::uint64_t seed) : random_(seed) {}

  void run(int num_steps) {
    for (int step = 0; step < num_steps; ++step) {
      switch (draw(6)) {
        case 0: start(); break;
        case 1: fork(); break;
        case 2: end(); break;
        default: grow(); break;
      }
      check_counts();
      if (!live_.empty()) check_content(live_[static_cast<std::size_t>(draw(static_cast<int>(live_.size())))]);
    }
    while (!live_.empty()) end();
    EXPECT_EQ(kv_.num_used(), 0);
    EXPECT_EQ(kv_.num_reserved(), 0);
    EXPECT_GT(num_forks_, num_steps / 50);
    EXPECT_GT(num_refused_, 0);
  }

 private:
  struct Sequence {
    KvTable table;
    std::vector<std::int32_t> written;  // [position] the value that stands there
    std::int64_t num_reserved;
    int max_positions;
  };

  int draw(int end) { return static_cast<int>(random_() % static_cast<std::uint64_t>(end)); }

  /// One number per position and layer, in the position's part of the block.
  std::byte* cell(const Sequence& sequence, int position, int layer) {
    return kv_.block(sequence.table, position / 32, LayerId(layer)) + position % 32 * 4;
  }
  void start() {
    const int max_positions = 1 + draw(150);
    const int blocks = KvCache::blocks_for(max_positions);
    const bool fits = blocks <= num_blocks_ - kv_.num_reserved();
    ASSERT_EQ(kv_.reserve(blocks), fits);
    if (!fits) ++num_refused_;
    if (fits) live_.push_back({kv_.make_table(), {}, blocks, max_positions});
  }
  void fork() {
    if (live_.empty()) return;
    const Sequence& parent = live_[static_cast<std::size_t>(draw(static_cast<int>(live_.size())))];
    const int num_tokens = draw(static_cast<int>(parent.written.size()) + 1);
    const int max_positions = num_tokens + draw(80);
    const int blocks = KvCache::blocks_for(max_positions) - num_tokens / 32;
    if (!kv_.reserve(blocks)) return;
    ++num_forks_;
    // The parent's shared blocks live on the parent's reservation: keep that until all have ended.
    Sequence child{kv_.fork(parent.table, num_tokens), {parent.written.begin(), parent.written.begin() + num_tokens}, blocks, max_positions};
    live_.push_back(std::move(child));
  }
  void grow() {
    if (live_.empty()) return;
    Sequence& sequence = live_[static_cast<std::size_t>(draw(static_cast<int>(live_.size())))];
    const int end = std::min(sequence.max_positions, static_cast<int>(sequence.written.size()) + draw(40));
    kv_.append_until(sequence.table, end);
    while (static_cast<int>(sequence.written.size()) < end) {
      const int position = static_cast<int>(sequence.written.size());
      for (int layer = 0; layer < num_layers; ++layer) {
        const std::int32_t value = next_value_ + layer;
        std::memcpy(cell(sequence, position, layer), &value, sizeof value);
      }
      sequence.written.push_back(next_value_);
      next_value_ += num_layers;
    }
  }
  void end() {
    if (live_.empty()) return;
    const auto victim = live_.begin() + draw(static_cast<int>(live_.size()));
    kv_.free(victim->table);
    owed_ += victim->num_reserved;
    live_.erase(victim);
    // A reservation is given back as soon as no block stands on it.
    const std::int64_t spare = std::min(owed_, kv_.num_reserved() - kv_.num_used());
    std::int64_t promised = 0;
    for (const Sequence& sequence : live_) promised += KvCache::blocks_for(sequence.max_positions) - sequence.table.num_blocks();
    const std::int64_t give = std::max<std::int64_t>(0, std::min(spare, kv_.num_reserved() - kv_.num_used() - promised));
    kv_.release(give);
    owed_ -= give;
  }
  void check_counts() {
    std::set<const std::byte*> distinct;
    for (const Sequence& sequence : live_) {
      for (int b = 0; b < sequence.table.num_blocks(); ++b) distinct.insert(kv_.block(sequence.table, b, LayerId(0)));
    }
    ASSERT_EQ(kv_.num_used(), static_cast<std::int64_t>(distinct.size()));
    ASSERT_LE(kv_.num_used(), kv_.num_reserved());
    ASSERT_GE(kv_.max_used(), kv_.num_used());
  }
  void check_content(const Sequence& sequence) {
    for (std::size_t position = 0; position < sequence.written.size(); ++position) {
      for (int layer = 0; layer < num_layers; ++layer) {
        std::int32_t value = 0;
        std::memcpy(&value, cell(sequence, static_cast<int>(position), layer), sizeof value);
        ASSERT_EQ(value, sequence.written[position] + layer);
      }
    }
  }

  static constexpr int num_blocks_ = 60;
  std::mt19937_64 random_;
  KvCache kv_{layout, num_layers, num_blocks_};
  std::vector<Sequence> live_;
  std::int32_t next_value_ = 1;
  std::int64_t owed_ = 0;  // reservations of ended sequences whose blocks others may still share
  int num_forks_ = 0, num_refused_ = 0;
};

TEST(KvCacheTest, random_use_keeps_content_and_counts) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomUse(seed).run(1500);
  }
}

}  // namespace
}  // namespace moebius::model
