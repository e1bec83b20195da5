// SPDX-License-Identifier: Apache-2.0
#pragma once
// What an attention rank remembers of the requests it works on: request -> trees -> sequences, and the
// segments of sequences that are in flight. Owned from the top down: a request owns its trees, a tree
// its live sequences; Segments live in a pool and are named by index.

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "model/kv_cache.hpp"
#include "model/tokenizer.hpp"
#include "ranks/request_plan.hpp"

namespace moebius::ranks {

struct Tree;
struct Sequence;

/// Text of a generation so far.
struct Generation {
  std::string text;               ///< that is certain, special tokens left out
  model::StreamDecoder decoder;   ///< holds bytes that are no text yet
  std::int32_t num_new = 0;
  double newest_token_s = 0;      ///< when its newest token was drawn
  bool done = false;
};

struct ActiveRequest {
  RequestPlan plan;
  std::vector<Generation> generations;  // [rows]
  std::vector<std::unique_ptr<Tree>> trees;
  std::int32_t num_trees_left = 0;
};

/// A branch that waits for its turn; for a generation `tokens` holds the first sampled token.
struct WaitingBranch {
  const BranchPlan* plan;
  std::vector<TokenId> tokens;
};

struct Tree {
  ActiveRequest* request = nullptr;
  const TreePlan* plan = nullptr;
  std::int64_t promised_blocks = 0;  ///< of the KV cache: reserved and not taken, from admission to the end
  std::int32_t branch_width = 0;     ///< branches that may live at once within the reservation
  model::KvTable root_table;         ///< kept for forks until the last branch has started
  bool root_done = false;
  std::deque<WaitingBranch> waiting;
  std::vector<std::unique_ptr<Sequence>> live;
  // While it waits for a prefix that another tree computes:
  std::int64_t prefix_version = -1;  ///< of the KV cache when it was last found to wait; -1: it does not
  std::int32_t own_tokens = 0;       ///< of its root, behind that prefix, and of its continuations
};

/// A run of tokens that shares one KV table: a root or a branch.
struct Sequence {
  Tree* tree = nullptr;
  const BranchPlan* branch = nullptr;  ///< nullptr: the root
  model::KvTable table;
  std::int32_t first_position = 0;     ///< of tokens[0]
  std::vector<TokenId> tokens;         ///< fed by this sequence; grows while it generates
  std::int32_t num_cut = 0;            ///< tokens that went into segments
  std::int32_t num_segments_in_flight = 0;
  std::int32_t last_segment = -1;      ///< newest segment in flight
  std::size_t next_target = 0;         ///< first target that no segment has passed yet

  [[nodiscard]] const std::vector<Target>& targets() const { return branch != nullptr ? branch->targets : tree->plan->targets; }
  [[nodiscard]] bool generates() const { return branch != nullptr && branch->max_new_tokens > 0; }
  [[nodiscard]] std::int32_t num_tokens() const { return static_cast<std::int32_t>(tokens.size()); }
};

/// A run of consecutive positions of one sequence that moves through the layers as a unit.
struct Segment {
  Sequence* sequence = nullptr;
  std::int32_t begin = 0;         ///< index of its first token in sequence->tokens
  std::vector<std::int32_t> rows; ///< TokenStates rows, one a token
  std::int32_t pred = -1, succ = -1;  ///< neighbours of the same sequence that are in flight
  std::int32_t ready_layer = 0;   ///< it may enter this layer's queue once its predecessor has
  std::int32_t entered_layer = -1;///< newest layer whose queue it entered
  std::int32_t num_outputs_missing = 0;  ///< (token, expert) rows that are not back yet
  std::uint32_t generation = 0;   ///< of the placement that these were sent by
  double queued_s = 0;

  [[nodiscard]] std::int32_t num_tokens() const { return static_cast<std::int32_t>(rows.size()); }
  [[nodiscard]] std::int32_t first_position() const { return sequence->first_position + begin; }
};

}  // namespace moebius::ranks
