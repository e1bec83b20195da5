// SPDX-License-Identifier: Apache-2.0
#pragma once
// The requests of one attention rank: claims them, plans them, reserves KV for them, and says which
// piece of which sequence goes into the layers next. Finished requests leave as rows.
//
// A tree is admitted only when the KV cache can promise room for its root and at least one branch, so
// an admitted tree always ends. A request stays on its rank for life. Trees are admitted in the order
// of their claims: a large tree at the front waits for room, it is never overtaken for ever.
//
// Prefixes (limits.prefix_cache): a root starts behind the full kv blocks that the cache has of it, up to
// the first position whose logits are wanted. A tree whose next block is being computed by an admitted tree
// steps aside until that block is there; others pass it meanwhile. It cannot wait for ever: an admitted
// tree waits for nobody, and when the block is there the tree is again the first in the order of claims.

#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>

#include "base/job.hpp"
#include "model/kv_cache.hpp"
#include "ranks/scorer.hpp"
#include "ranks/sequence.hpp"

namespace moebius::ranks {

/// The next claimed lines; nothing when the input has been claimed to its end.
using ClaimSource = std::function<std::optional<std::vector<ParsedLine>>()>;
/// Takes all rows of one request.
using RowSink = std::function<void(std::vector<Row> rows)>;

struct WorkloadCounters {
  std::int64_t requests = 0;            ///< taken
  std::int64_t requests_done = 0;       ///< emitted
  std::int64_t rows = 0, rows_failed = 0, tokens_fed = 0, tokens_out = 0;
  std::int64_t root_tokens = 0;         ///< of all roots admitted: contexts, prompts, windows
  std::int64_t root_tokens_reused = 0;  ///< of these: taken from the prefix cache instead of computed
};

class Workload {
 public:
  Workload(const Job::Limits& limits, const ModelConfig& config, const model::Tokenizer& tokenizer,
           const model::ChatTemplate& chat_template, model::KvCache& kv, Scorer& scorer, ClaimSource claim, RowSink sink);
  ~Workload();

  /// Claim and admit what fits now; cheap when nothing does. True when something changed.
  bool admit();
  /// The piece to cut next, at most `budget` tokens; prompts go before tokens of generations.
  struct Piece {
    Sequence* sequence;
    std::int32_t begin, num_tokens;
  };
  std::optional<Piece> next_piece(std::int32_t budget);
  /// The first num_passed tokens of the sequence have passed all layers.
  void tokens_passed(Sequence& sequence, std::int32_t num_passed);
  /// All segments of the sequence have passed the LM head: it ends, or has a new token to feed.
  void segments_done(Sequence& sequence);
  /// Claims nothing more, cuts no more pieces, and emits no request that is not finished: what is in the layers leaves them,
  /// and then this is finished.
  void drop_unfinished();
  /// No row is left to claim or to finish.
  [[nodiscard]] bool finished() const { return claims_ended_ && (dropped_ || (active_.empty() && pending_trees_.empty())); }
  [[nodiscard]] const WorkloadCounters& counters() const { return counters_; }

 private:
  using ActiveList = std::list<std::unique_ptr<ActiveRequest>>;

  void take(ParsedLine line);
  bool admit_pending();
  [[nodiscard]] bool wants_claim() const;
  enum class Admission : std::uint8_t { admitted, no_room, waits_for_prefix };
  Admission try_admit(Tree& tree);
  void start_branches(Tree& tree);
  void start_sequence(Tree& tree, const BranchPlan* branch, std::vector<TokenId> tokens, model::KvTable table);
  void sequence_ended(Sequence& sequence);
  void end_tree_if_done(Tree& tree);
  void emit(std::vector<Row> rows);

  const Job::Limits& limits_;
  const ModelConfig& config_;
  const model::Tokenizer& tokenizer_;
  const model::ChatTemplate& chat_template_;
  model::KvCache& kv_;
  Scorer& scorer_;
  ClaimSource claim_;
  RowSink sink_;
  int max_positions_;
  bool claims_ended_ = false, dropped_ = false;
  ActiveList active_;
  std::deque<Tree*> pending_trees_;      // planned, wait for KV or for a prefix
  std::deque<Sequence*> prompts_;        // have known tokens to cut
  std::deque<Sequence*> generations_;    // have one new token to cut
  WorkloadCounters counters_;
};

}  // namespace moebius::ranks
