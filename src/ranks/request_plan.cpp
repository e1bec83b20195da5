// SPDX-License-Identifier: Apache-2.0
#include "ranks/request_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <string>

namespace moebius::ranks {
namespace {

using Tokens = std::vector<TokenId>;
constexpr float no_logprob = std::numeric_limits<float>::quiet_NaN();

int size_of(const Tokens& tokens) { return static_cast<int>(tokens.size()); }

/// Everything the planners of the single kinds share.
struct Planner {
  const Request& request;
  const model::Tokenizer& tokenizer;
  const ModelConfig& config;
  int max_positions;
  RequestPlan plan;

  Row base_row(int choice_idx) const {
    Row row;
    row.custom_id = request.custom_id;
    row.input_line = request.input_line;
    row.choice_idx = choice_idx;
    row.label = request.label.value_or(-1);
    return row;
  }

  /// The whole request fails: one row, no trees.
  void fail(RowStatus status, std::string message) {
    plan.trees.clear();
    plan.rows.assign(1, base_row(0));
    plan.rows[0].status = status;
    plan.rows[0].message = std::move(message);
  }

  /// Tokens of a text field; ids are taken as they are.
  Tokens tokens_of(const TextOrIds& field, model::AddSpecial special) const {
    if (const auto* ids = std::get_if<Tokens>(&field)) return *ids;
    return tokenizer.encode(std::get<std::string>(field), special);
  }

  std::int64_t bytes_of(const TextOrIds& field) const {
    if (const auto* text = std::get_if<std::string>(&field)) return static_cast<std::int64_t>(text->size());
    std::int64_t bytes = 0;
    for (const TokenId id : std::get<Tokens>(field)) bytes += static_cast<std::int64_t>(tokenizer.token_bytes(id).size());
    return bytes;
  }

  /// The token that stands for "nothing before": BOS, else EOS, as lm-eval does; -1 where the model has neither.
  TokenId prefix_token() const {
    if (config.bos_token >= 0) return config.bos_token;
    return config.eos_tokens.empty() ? -1 : config.eos_tokens.front();
  }

  /// Context tokens, never empty; empty only when that is impossible.
  Tokens context_tokens() const {
    // A chat template writes the special tokens itself.
    const auto special = request.kind == RequestKind::chat ? model::AddSpecial::no : model::AddSpecial::yes;
    Tokens tokens = tokens_of(request.context, special);
    if (tokens.empty() && prefix_token() >= 0) tokens.push_back(prefix_token());
    return tokens;
  }

  /// Text that is larger than any tokenizer call takes; its tokens could not fit a model either.
  static bool too_large(const TextOrIds& field) {
    const auto* text = std::get_if<std::string>(&field);
    return text != nullptr && text->size() > model::Tokenizer::max_text_bytes;
  }

  /// A text to encode, or a stop string to look for in generated text.
  bool needs_tokenizer() const {
    const auto has_text = [](const TextOrIds& field) {
      const auto* text = std::get_if<std::string>(&field);
      return text != nullptr && !text->empty();
    };
    return has_text(request.context) || std::ranges::any_of(request.continuations, has_text) || !request.sampling.stop.empty();
  }

  /// What is wrong with the ids of a field; nothing where all have an embedding.
  std::optional<std::string> bad_token(const TextOrIds& field, const char* name) const {
    const auto* ids = std::get_if<Tokens>(&field);
    if (ids == nullptr) return std::nullopt;
    const auto bad = std::find_if(ids->begin(), ids->end(),
                                  [&](TokenId id) { return id < 0 || id >= config.vocab_size; });
    if (bad == ids->end()) return std::nullopt;
    return fmt::format("token id {} in `{}` is outside the vocabulary (the model has ids 0 to {}) use the tokenizer of this "
                       "model",
                       *bad, name, config.vocab_size - 1);
  }

  /// A token of the plan that has no embedding: the tokenizer has more tokens than the model.
  std::optional<TokenId> token_without_embedding() const {
    const auto first_bad = [&](const Tokens& tokens, const std::vector<Target>& targets) -> std::optional<TokenId> {
      for (const TokenId token : tokens) {
        if (token >= config.vocab_size) return token;
      }
      for (const Target& target : targets) {
        if (target.token >= config.vocab_size) return target.token;
      }
      return std::nullopt;
    };
    for (const TreePlan& tree : plan.trees) {
      if (const auto bad = first_bad(tree.tokens, tree.targets)) return bad;
      for (const BranchPlan& branch : tree.branches) {
        if (const auto bad = first_bad(branch.tokens, branch.targets)) return bad;
      }
    }
    return std::nullopt;
  }

  /// Why a continuation cannot be scored; sets the row's status, too.
  bool continuation_ok(const TextOrIds& field, Tokens& tokens, Row& row) const;

  void plan_loglikelihood();
  void plan_rolling();
  void plan_generation();
};

void mark_truncated(Row& row, int num_cut) {
  row.status = RowStatus::truncated;
  row.message = fmt::format("the first {} tokens of the context were cut (context and continuation are longer than the "
                            "model allows) shorten the context to score all of it",
                            num_cut);
}

void prepare_tokens(Row& row, Tokens tokens) {
  row.token_logprobs.assign(tokens.size(), no_logprob);
  row.token_ids = std::move(tokens);
}

bool Planner::continuation_ok(const TextOrIds& field, Tokens& tokens, Row& row) const {
  if (auto problem = bad_token(field, "continuation")) {
    row.status = RowStatus::bad_token;
    row.message = std::move(*problem);
    return false;
  }
  tokens = tokens_of(field, model::AddSpecial::no);
  if (tokens.empty()) {
    row.status = RowStatus::bad_field;
    row.message = "the continuation has no tokens (there is nothing to score) give a continuation";
  } else if (size_of(tokens) > max_positions) {
    row.status = RowStatus::too_long;
    row.message = fmt::format("the continuation has {} tokens (the model allows {}) shorten it", tokens.size(), max_positions);
  }
  return succeeded(row.status);
}

void Planner::plan_loglikelihood() {
  const Tokens context = context_tokens();
  if (context.empty()) {
    return fail(RowStatus::bad_field, "`context` is empty (the model has no BOS or EOS token to stand for it) give a context");
  }
  // Continuations whose contexts keep the same number of tokens share one root; without truncation
  // that is all of them.
  std::map<int, TreePlan, std::greater<>> trees;
  for (int choice = 0; choice < static_cast<int>(request.continuations.size()); ++choice) {
    const TextOrIds& field = request.continuations[static_cast<std::size_t>(choice)];
    Row row = base_row(choice);
    Tokens tokens;
    if (!continuation_ok(field, tokens, row)) {
      plan.rows.push_back(std::move(row));
      continue;
    }
    const int num_tokens = size_of(tokens);
    row.num_output_tokens = num_tokens;
    row.num_bytes = bytes_of(field);
    // Fed: the context and all but the last continuation token.
    const int kept = std::min(size_of(context), max_positions + 1 - num_tokens);
    if (kept < size_of(context)) mark_truncated(row, size_of(context) - kept);
    row.num_prompt_tokens = kept;
    TreePlan& tree = trees[kept];
    if (tree.tokens.empty()) tree.tokens.assign(context.end() - kept, context.end());
    tree.targets.push_back({kept - 1, choice, 0, tokens[0]});
    if (num_tokens > 1) {
      BranchPlan branch{.row_idx = choice, .tokens = Tokens(tokens.begin(), tokens.end() - 1), .targets = {}};
      for (int i = 1; i < num_tokens; ++i) branch.targets.push_back({i - 1, choice, i, tokens[static_cast<std::size_t>(i)]});
      tree.branches.push_back(std::move(branch));
    }
    prepare_tokens(row, std::move(tokens));
    plan.rows.push_back(std::move(row));
  }
  for (auto& [kept, tree] : trees) plan.trees.push_back(std::move(tree));
}

// Windows as lm-eval's get_rolling_token_windows with a context of one: every token is scored once, the
// last window is moved back so that its tokens see as much context as the model allows.
void Planner::plan_rolling() {
  Tokens tokens = tokens_of(request.context, model::AddSpecial::no);
  const TokenId prefix = prefix_token();
  if (tokens.empty()) return fail(RowStatus::bad_field, "`text` is empty (there is nothing to score) give a text");
  if (prefix < 0) {
    return fail(RowStatus::unsupported, "a rolling log-likelihood needs a token to start from (the model has no BOS or EOS "
                                        "token) use kind loglikelihood with a context");
  }
  Row row = base_row(0);
  const int num_tokens = size_of(tokens);
  row.num_output_tokens = num_tokens;
  row.num_bytes = bytes_of(request.context);
  for (int done = 0; done < num_tokens;) {
    const int scored = std::min(num_tokens - done, max_positions);
    const int end = done + scored;
    const int begin = std::max(0, end - max_positions);  // first token that is a target or context of this window
    TreePlan tree;
    tree.tokens.push_back(begin == 0 ? prefix : tokens[static_cast<std::size_t>(begin - 1)]);
    tree.tokens.insert(tree.tokens.end(), tokens.begin() + begin, tokens.begin() + end - 1);
    for (int i = done; i < end; ++i) tree.targets.push_back({i - begin, 0, i, tokens[static_cast<std::size_t>(i)]});
    plan.trees.push_back(std::move(tree));
    done = end;
  }
  prepare_tokens(row, std::move(tokens));
  plan.rows.push_back(std::move(row));
}

void Planner::plan_generation() {
  Tokens prompt = context_tokens();
  if (prompt.empty()) {
    return fail(RowStatus::bad_field, "the prompt is empty (the model has no BOS or EOS token to stand for it) give a prompt");
  }
  const int max_new = request.sampling.max_tokens;
  const int room = max_positions - max_new;
  const bool may_cut = request.kind == RequestKind::generate_until;
  if (room < 1 || (!may_cut && size_of(prompt) > room)) {
    return fail(RowStatus::too_long, fmt::format("{} prompt tokens and {} new ones are too many (the model allows {} in all) "
                                                 "shorten the prompt or ask for fewer tokens",
                                                 prompt.size(), max_new, max_positions));
  }
  const int num_cut = std::max(0, size_of(prompt) - room);
  prompt.erase(prompt.begin(), prompt.begin() + num_cut);
  TreePlan tree;
  for (int choice = 0; choice < request.num_choices; ++choice) {
    Row row = base_row(choice);
    row.num_prompt_tokens = size_of(prompt);
    if (num_cut > 0) mark_truncated(row, num_cut);
    if (request.sampling.echo) {
      prepare_tokens(row, prompt);
      for (int i = 1; i < size_of(prompt); ++i) {
        tree.targets.push_back({i - 1, choice, i, prompt[static_cast<std::size_t>(i)]});
      }
    }
    if (max_new > 0) tree.branches.push_back({.row_idx = choice, .tokens = {}, .targets = {}, .max_new_tokens = max_new});
    else row.finish_reason = FinishReason::length;
    plan.rows.push_back(std::move(row));
  }
  std::stable_sort(tree.targets.begin(), tree.targets.end(),
                   [](const Target& a, const Target& b) { return a.fed_idx < b.fed_idx; });
  tree.tokens = std::move(prompt);
  plan.trees.push_back(std::move(tree));
}

/// A request whose texts are all there; those of a chat are not yet.
RequestPlan plan_prompt(const Request& request, const model::Tokenizer& tokenizer, const ModelConfig& config, int max_positions) {
  Planner planner{request, tokenizer, config, max_positions, {.sampling = request.sampling, .rows = {}, .trees = {}}};
  if (planner.too_large(request.context) || std::ranges::any_of(request.continuations, Planner::too_large)) {
    planner.fail(RowStatus::too_long, fmt::format("a text of the request is larger than {} bytes (no tokenizer call takes more) "
                                                  "cut it into several requests",
                                                  model::Tokenizer::max_text_bytes));
    return std::move(planner.plan);
  }
  if (tokenizer.vocab_size() == 0 && planner.needs_tokenizer()) {
    planner.fail(RowStatus::unsupported, "the model folder has no tokenizer.json (texts and stop strings need one) add it, or give "
                                         "token ids and no stop strings");
    return std::move(planner.plan);
  }
  if (auto problem = planner.bad_token(request.context, "context")) {
    planner.fail(RowStatus::bad_token, std::move(*problem));
    return std::move(planner.plan);
  }
  switch (request.kind) {
    case RequestKind::loglikelihood: planner.plan_loglikelihood(); break;
    case RequestKind::loglikelihood_rolling: planner.plan_rolling(); break;
    case RequestKind::generate_until:
    case RequestKind::completion:
    case RequestKind::chat: planner.plan_generation(); break;
  }
  if (const auto bad = planner.token_without_embedding()) {
    planner.fail(RowStatus::bad_token, fmt::format("token {} of a text is outside the vocabulary (the model has ids 0 to {}) use the "
                                                   "tokenizer of this model",
                                                   *bad, config.vocab_size - 1));
  }
  for (Row& row : planner.plan.rows) {
    if (!succeeded(row.status)) continue;
    row.is_greedy = true;  // until a token is not the argmax
    row.topk_width = request.sampling.num_logprobs;
    row.topk_ids.assign(row.token_ids.size() * static_cast<std::size_t>(row.topk_width), -1);
    row.topk_logprobs.assign(row.topk_ids.size(), no_logprob);
  }
  return std::move(planner.plan);
}

}  // namespace

RequestPlan plan_request(const Request& request, const model::Tokenizer& tokenizer, const model::ChatTemplate& chat_template,
                         const ModelConfig& config, int max_positions) {
  if (request.kind == RequestKind::chat) {
    auto rendered = chat_template.render(request.messages, request.template_variables);
    Request with_prompt = request;
    with_prompt.messages.clear();
    if (rendered.status == RowStatus::ok) {
      with_prompt.context = std::move(rendered.text);
      return plan_prompt(with_prompt, tokenizer, config, max_positions);
    }
    Planner planner{with_prompt, tokenizer, config, max_positions, {.sampling = request.sampling, .rows = {}, .trees = {}}};
    planner.fail(rendered.status, std::move(rendered.text));
    return std::move(planner.plan);
  }
  return plan_prompt(request, tokenizer, config, max_positions);
}

Row row_of(const BadLine& line) {
  Row row;
  row.custom_id = line.custom_id;
  row.input_line = line.input_line;
  row.status = line.status;
  row.message = line.message;
  return row;
}

}  // namespace moebius::ranks
