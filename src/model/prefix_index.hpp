// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which runs of tokens have their keys and values in which kv block, for sequences that begin alike. Made
// and used by KvCache alone; it knows numbers of blocks, not their memory.
//
// A tree: a node stands for one full kv block of a sequence, its parent for the block before, so a node
// means all tokens from position 0 to the end of its block. Children are found by a hash chained through
// their parent and believed only when parent and tokens are equal. A node is announced by the sequence that
// will write the block, and gets its block when that is written in all layers.
//
// A node is idle while no table holds its block. The oldest idle node is the next to be erased. Whoever
// holds a block holds the blocks before it and lets go of them later, so the oldest idle node has no child.

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/ids.hpp"

namespace moebius::model {

class PrefixIndex {
 public:
  /// No node; as a parent: of the blocks that begin at position 0.
  static constexpr std::int32_t none = -1;

  /// `tokens` are those of one block, the same number in every call.
  [[nodiscard]] std::int32_t find(std::int32_t parent, std::span<const TokenId> tokens) const;
  /// Announce a block that find() does not know.
  std::int32_t announce(std::int32_t parent, std::span<const TokenId> tokens);
  /// The announced block is written.
  void set_block(std::int32_t node, std::int32_t block);
  /// Its block, or none while it is only announced.
  [[nodiscard]] std::int32_t block(std::int32_t node) const { return at(node).block; }
  /// Forget a node without children that is not idle.
  void erase(std::int32_t node);

  void make_idle(std::int32_t node);
  void make_busy(std::int32_t node);
  [[nodiscard]] bool is_idle(std::int32_t node) const { return at(node).is_idle; }
  /// The node that became idle first; none where no node is idle.
  [[nodiscard]] std::int32_t oldest_idle() const { return oldest_; }
  [[nodiscard]] std::int64_t num_idle() const { return num_idle_; }
  [[nodiscard]] std::int64_t num_nodes() const { return static_cast<std::int64_t>(node_of_key_.size()); }
  /// Counts changes that can change what find() or block() say.
  [[nodiscard]] std::int64_t version() const { return version_; }

 private:
  struct Node {
    std::uint64_t key = 0;
    std::int32_t parent = none, block = none;
    std::int32_t num_children = 0;
    std::int32_t older = none, newer = none;  // neighbours in the list of idle nodes
    bool is_idle = false;
    std::vector<TokenId> tokens;
  };
  [[nodiscard]] Node& at(std::int32_t node) { return nodes_[static_cast<std::size_t>(node)]; }
  [[nodiscard]] const Node& at(std::int32_t node) const { return nodes_[static_cast<std::size_t>(node)]; }
  [[nodiscard]] std::uint64_t key_of(std::int32_t parent, std::span<const TokenId> tokens) const;

  std::vector<Node> nodes_;  // a pool
  std::vector<std::int32_t> free_nodes_;
  std::unordered_multimap<std::uint64_t, std::int32_t> node_of_key_;
  std::int32_t oldest_ = none, newest_ = none;
  std::int64_t num_idle_ = 0, version_ = 0;
};

}  // namespace moebius::model
