// SPDX-License-Identifier: Apache-2.0
#include "model/prefix_index.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/hash.hpp"

namespace moebius::model {

std::uint64_t PrefixIndex::key_of(std::int32_t parent, std::span<const TokenId> tokens) const {
  return xxh3_64(std::as_bytes(tokens), parent == none ? 0 : at(parent).key);
}

std::int32_t PrefixIndex::find(std::int32_t parent, std::span<const TokenId> tokens) const {
  const auto [begin, end] = node_of_key_.equal_range(key_of(parent, tokens));
  for (auto found = begin; found != end; ++found) {
    const Node& node = at(found->second);
    if (node.parent == parent && std::ranges::equal(node.tokens, tokens)) return found->second;
  }
  return none;
}

std::int32_t PrefixIndex::announce(std::int32_t parent, std::span<const TokenId> tokens) {
  MOEBIUS_EXPECT(find(parent, tokens) == none);
  if (free_nodes_.empty()) {
    free_nodes_.push_back(static_cast<std::int32_t>(nodes_.size()));
    nodes_.emplace_back();
  }
  const std::int32_t node = free_nodes_.back();
  free_nodes_.pop_back();
  Node& self = at(node);
  self.key = key_of(parent, tokens);
  self.parent = parent;
  self.tokens.assign(tokens.begin(), tokens.end());
  node_of_key_.emplace(self.key, node);
  if (parent != none) ++at(parent).num_children;
  ++version_;
  return node;
}

void PrefixIndex::set_block(std::int32_t node, std::int32_t block) {
  MOEBIUS_EXPECT(at(node).block == none && block >= 0);
  at(node).block = block;
  ++version_;
}

void PrefixIndex::erase(std::int32_t node) {
  Node& self = at(node);
  MOEBIUS_EXPECT(self.num_children == 0 && !self.is_idle);
  const auto [begin, end] = node_of_key_.equal_range(self.key);
  const auto found = std::find_if(begin, end, [&](const auto& entry) { return entry.second == node; });
  MOEBIUS_ENSURE(found != end);
  node_of_key_.erase(found);
  if (self.parent != none) --at(self.parent).num_children;
  self.parent = self.block = none;
  free_nodes_.push_back(node);
  ++version_;
}

void PrefixIndex::make_idle(std::int32_t node) {
  Node& self = at(node);
  MOEBIUS_EXPECT(!self.is_idle && self.block != none);
  self.is_idle = true;
  self.older = newest_;
  self.newer = none;
  (newest_ == none ? oldest_ : at(newest_).newer) = node;
  newest_ = node;
  ++num_idle_;
}

void PrefixIndex::make_busy(std::int32_t node) {
  Node& self = at(node);
  MOEBIUS_EXPECT(self.is_idle);
  self.is_idle = false;
  (self.older == none ? oldest_ : at(self.older).newer) = self.newer;
  (self.newer == none ? newest_ : at(self.newer).older) = self.older;
  self.older = self.newer = none;
  --num_idle_;
}

}  // namespace moebius::model
