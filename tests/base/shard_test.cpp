// SPDX-License-Identifier: Apache-2.0
#include "base/shard.hpp"

#include <gtest/gtest.h>

namespace moebius {
namespace {

TEST(ShardTest, TextsReadBack) {
  for (const Shard shard : {Shard{0, 1}, Shard{0, 16}, Shard{15, 16}}) {
    EXPECT_EQ(parse_shard(to_string(shard)), shard);
    EXPECT_EQ(parse_shard_folder_name(shard_folder_name(shard)), shard);
  }
  EXPECT_EQ(to_string(Shard{2, 16}), "2/16");
  EXPECT_EQ(shard_folder_name({2, 16}), "shard-2-of-16");
}

TEST(ShardTest, WhatIsNoShardIsNotRead) {
  for (const char* text : {"", "/", "1", "3/3", "4/3", "-1/3", "1/0", "0/0", "1/3/5", "1 / 3", "a/3", "1/3x", "1/99999999999"}) {
    EXPECT_FALSE(parse_shard(text)) << text;
  }
  for (const char* name : {"shard-3-of-3", "shard-1-of-", "shard-1", "shards-1-of-3", "shard--1-of-3", "shard-1-of-3.old"}) {
    EXPECT_FALSE(parse_shard_folder_name(name)) << name;
  }
}

}  // namespace
}  // namespace moebius
