// SPDX-License-Identifier: Apache-2.0
#include "ranks/workload.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.hpp"

namespace moebius::ranks {
namespace {

/// Trees planned ahead of their admission: enough that an admission never waits for a file read, few
/// enough that a rank does not sit on rows that another could compute.
constexpr std::size_t max_pending_trees = 4;

/// No tree may take more than this share of the cache for branches that run beside each other.
constexpr std::int64_t branch_share_of_cache = 4;

std::int64_t blocks_for(std::int64_t num_positions) {
  return (num_positions + model::KvCache::block_tokens - 1) / model::KvCache::block_tokens;
}

/// Trees that wait for a prefix may have this many token budgets of work of their own: with less, the rank
/// runs dry while the first tree of a group passes the layers; with more, it hoards rows.
constexpr std::int64_t max_waiting_budgets = 2;

/// Full blocks of the root that need not be computed where the cache has them: all before the first
/// position whose logits are wanted, which for every root includes its last.
int reusable_blocks(const TreePlan& plan) {
  const auto last = static_cast<std::int32_t>(plan.tokens.size()) - 1;
  const std::int32_t first_wanted = plan.targets.empty() ? last : std::min(last, plan.targets.front().fed_idx);
  return first_wanted / model::KvCache::block_tokens;
}

/// Most blocks that one branch needs beyond the full blocks of its root.
std::int64_t branch_blocks(const TreePlan& plan) {
  std::int64_t most = 0;
  const auto root_tokens = static_cast<std::int64_t>(plan.tokens.size());
  for (const BranchPlan& branch : plan.branches) {
    const std::int64_t fed = std::max<std::int64_t>(static_cast<std::int64_t>(branch.tokens.size()), branch.max_new_tokens);
    most = std::max(most, blocks_for(root_tokens + fed) - root_tokens / model::KvCache::block_tokens);
  }
  return most;
}

}  // namespace

Workload::Workload(const Job::Limits& limits, const ModelConfig& config, const model::Tokenizer& tokenizer,
                   const model::ChatTemplate& chat_template, model::KvCache& kv, Scorer& scorer, ClaimSource claim, RowSink sink)
    : limits_(limits),
      config_(config),
      tokenizer_(tokenizer),
      chat_template_(chat_template),
      kv_(kv),
      scorer_(scorer),
      claim_(std::move(claim)),
      sink_(std::move(sink)),
      max_positions_(config.max_position_embeddings) {}

Workload::~Workload() = default;

bool Workload::admit() {
  bool changed = admit_pending();
  while (wants_claim()) {
    changed = true;
    auto lines = claim_();
    if (!lines) {
      claims_ended_ = true;
      break;
    }
    for (ParsedLine& line : *lines) take(std::move(line));
    admit_pending();
  }
  return changed;
}

bool Workload::admit_pending() {
  bool changed = false;
  for (auto next = pending_trees_.begin(); next != pending_trees_.end();) {
    const Admission admission = try_admit(**next);
    if (admission == Admission::no_room) break;  // who needs much room is not overtaken
    if (admission == Admission::waits_for_prefix) {
      ++next;
    } else {
      next = pending_trees_.erase(next);
      changed = true;
    }
  }
  return changed;
}

bool Workload::wants_claim() const {
  if (claims_ended_) return false;
  // More prompts than the token budget can take at once need no further claims.
  if (static_cast<int>(prompts_.size()) >= limits_.max_tokens_in_flight) return false;
  std::int64_t uncut = 0, waiting = 0;
  for (const Sequence* sequence : prompts_) {  // asked each turn: ends at the first ones as a rule
    uncut += sequence->num_tokens() - sequence->num_cut;
    if (uncut >= limits_.max_tokens_in_flight) return false;
  }
  std::size_t num_without_room = 0;
  for (const Tree* tree : pending_trees_) {
    if (tree->prefix_version < 0) ++num_without_room;
    else waiting += tree->own_tokens;
  }
  return num_without_room < max_pending_trees && waiting < max_waiting_budgets * limits_.max_tokens_in_flight;
}

void Workload::take(ParsedLine line) {
  ++counters_.requests;
  if (auto* bad = std::get_if<BadLine>(&line)) return emit({row_of(*bad)});
  auto request = std::make_unique<ActiveRequest>();
  request->plan = plan_request(std::get<Request>(line), tokenizer_, chat_template_, config_, max_positions_);
  request->generations.resize(request->plan.rows.size());
  for (const TreePlan& plan : request->plan.trees) {
    const std::int64_t needed = blocks_for(static_cast<std::int64_t>(plan.tokens.size())) + branch_blocks(plan);
    if (needed <= kv_.num_blocks()) continue;
    for (Row& row : request->plan.rows) {
      row.status = RowStatus::too_long;
      row.message = fmt::format("the row needs {} KV positions (limits.kv_tokens gives this rank {}) raise limits.kv_tokens",
                                needed * model::KvCache::block_tokens, kv_.num_blocks() * model::KvCache::block_tokens);
    }
    request->plan.trees.clear();
    break;
  }
  if (request->plan.trees.empty()) return emit(scorer_.finish(*request));
  for (const TreePlan& plan : request->plan.trees) {
    auto tree = std::make_unique<Tree>();
    tree->request = request.get();
    tree->plan = &plan;
    pending_trees_.push_back(tree.get());
    request->trees.push_back(std::move(tree));
  }
  request->num_trees_left = static_cast<std::int32_t>(request->trees.size());
  active_.push_back(std::move(request));
}

Workload::Admission Workload::try_admit(Tree& tree) {
  const std::vector<TokenId>& tokens = tree.plan->tokens;
  model::PrefixMatch match;
  if (limits_.prefix_cache) {
    if (tree.prefix_version == kv_.prefix_version()) return Admission::waits_for_prefix;
    match = kv_.match_prefix(tokens, reusable_blocks(*tree.plan));
    if (match.num_announced > 0) {
      tree.prefix_version = kv_.prefix_version();
      tree.own_tokens = static_cast<std::int32_t>(tokens.size()) -
                        (match.num_blocks + match.num_announced) * model::KvCache::block_tokens;
      for (const BranchPlan& continuation : tree.plan->branches) tree.own_tokens += static_cast<std::int32_t>(continuation.tokens.size());
      return Admission::waits_for_prefix;
    }
    tree.prefix_version = -1;
  }
  const std::int64_t root = blocks_for(static_cast<std::int64_t>(tokens.size())) - match.num_blocks;
  const std::int64_t branch = branch_blocks(*tree.plan);
  std::int64_t width = static_cast<std::int64_t>(tree.plan->branches.size());
  if (branch > 0) {
    const std::int64_t affordable = (kv_.num_blocks() / branch_share_of_cache - root) / branch;
    width = std::clamp<std::int64_t>(affordable, 1, std::max<std::int64_t>(width, 1));
  }
  const std::int64_t promised = root + width * branch;
  if (!kv_.reserve(match.num_unheld + promised)) return Admission::no_room;
  tree.promised_blocks = promised;
  tree.branch_width = static_cast<std::int32_t>(width);
  counters_.root_tokens += static_cast<std::int64_t>(tokens.size());
  counters_.root_tokens_reused += std::int64_t{match.num_blocks} * model::KvCache::block_tokens;
  model::KvTable table = kv_.adopt_prefix(tokens, match.num_blocks);
  if (limits_.prefix_cache) kv_.announce(table, tokens);
  start_sequence(tree, nullptr, tokens, std::move(table));
  return Admission::admitted;
}

void Workload::start_sequence(Tree& tree, const BranchPlan* branch, std::vector<TokenId> tokens, model::KvTable table) {
  auto sequence = std::make_unique<Sequence>();
  sequence->tree = &tree;
  sequence->branch = branch;
  sequence->table = std::move(table);
  sequence->first_position = branch == nullptr ? 0 : static_cast<std::int32_t>(tree.plan->tokens.size());
  sequence->tokens = std::move(tokens);
  if (branch == nullptr) sequence->num_cut = sequence->table.num_positions();  // behind an adopted prefix
  (sequence->generates() ? generations_ : prompts_).push_back(sequence.get());
  tree.live.push_back(std::move(sequence));
}

std::optional<Workload::Piece> Workload::next_piece(std::int32_t budget) {
  if (budget <= 0) return std::nullopt;
  // Prompts first, as far as there is room for them: then all generations go on together, and weights are read once for
  // as many of them as can be.
  auto& queue = prompts_.empty() ? generations_ : prompts_;
  if (queue.empty()) return std::nullopt;
  Sequence& sequence = *queue.front();
  const std::int32_t left = sequence.num_tokens() - sequence.num_cut;
  const std::int32_t wanted = std::min({left, limits_.segment_tokens, limits_.max_tokens_in_flight});
  if (wanted > budget) return std::nullopt;  // a whole segment later beats a sliver now
  const Piece piece{&sequence, sequence.num_cut, wanted};
  sequence.tree->promised_blocks -= kv_.append_until(sequence.table, sequence.first_position + sequence.num_cut + wanted);
  sequence.num_cut += wanted;
  counters_.tokens_fed += wanted;
  if (sequence.num_cut == sequence.num_tokens()) queue.pop_front();
  return piece;
}

void Workload::tokens_passed(Sequence& sequence, std::int32_t num_passed) {
  if (sequence.branch == nullptr) kv_.publish(sequence.table, num_passed);
}

void Workload::segments_done(Sequence& sequence) {
  if (dropped_) return;
  if (sequence.num_cut < sequence.num_tokens()) {
    if (sequence.generates()) generations_.push_back(&sequence);  // the LM head appended a token
    return;                                                       // else the rest of a prompt is still in prompts_
  }
  sequence_ended(sequence);
}

void Workload::sequence_ended(Sequence& sequence) {
  Tree& tree = *sequence.tree;
  if (sequence.branch == nullptr) {
    tree.root_table = std::move(sequence.table);
    tree.root_done = true;
  } else {
    tree.promised_blocks += kv_.free(sequence.table);
  }
  const auto self = std::find_if(tree.live.begin(), tree.live.end(),
                                 [&](const auto& other) { return other.get() == &sequence; });
  MOEBIUS_EXPECT(self != tree.live.end());
  tree.live.erase(self);
  start_branches(tree);
  end_tree_if_done(tree);
}

void Workload::start_branches(Tree& tree) {
  const auto root_tokens = static_cast<std::int32_t>(tree.plan->tokens.size());
  while (!tree.waiting.empty() && static_cast<std::int32_t>(tree.live.size()) < tree.branch_width) {
    WaitingBranch branch = std::move(tree.waiting.front());
    tree.waiting.pop_front();
    // The last branch takes the root's own table over: a lone continuation or generation copies nothing.
    if (tree.waiting.empty()) {
      start_sequence(tree, branch.plan, std::move(branch.tokens), std::move(tree.root_table));
      continue;
    }
    const std::int64_t num_used = kv_.num_used();
    model::KvTable table = kv_.fork(tree.root_table, root_tokens);
    tree.promised_blocks -= kv_.num_used() - num_used;
    start_sequence(tree, branch.plan, std::move(branch.tokens), std::move(table));
  }
}

void Workload::end_tree_if_done(Tree& tree) {
  if (!tree.root_done || !tree.waiting.empty() || !tree.live.empty()) return;
  tree.promised_blocks += kv_.free(tree.root_table);
  MOEBIUS_EXPECT(tree.promised_blocks >= 0);
  kv_.release(tree.promised_blocks);  // blocks that others adopted stay reserved: they hold them
  ActiveRequest* request = tree.request;
  if (--request->num_trees_left > 0) return;
  emit(scorer_.finish(*request));
  const auto self = std::find_if(active_.begin(), active_.end(), [&](const auto& other) { return other.get() == request; });
  MOEBIUS_EXPECT(self != active_.end());
  active_.erase(self);
}

void Workload::drop_unfinished() {
  claims_ended_ = dropped_ = true;
  pending_trees_.clear();
  prompts_.clear();
  generations_.clear();
}

void Workload::emit(std::vector<Row> rows) {
  ++counters_.requests_done;
  for (const Row& row : rows) {
    ++counters_.rows;
    if (!succeeded(row.status)) ++counters_.rows_failed;
    counters_.tokens_out += row.num_output_tokens;
  }
  sink_(std::move(rows));
}

}  // namespace moebius::ranks
