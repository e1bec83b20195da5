// SPDX-License-Identifier: Apache-2.0
// What a user writes, and what a run finds of an earlier one: request lines up to their plan, job files with
// overrides, the journal.
#include <array>
#include <memory>
#include <sstream>

#include "base/hash.hpp"
#include "io/job_file.hpp"
#include "io/journal.hpp"
#include "io/model_files.hpp"
#include "io/request_reader.hpp"
#include "model/tokenizer.hpp"
#include "ranks/request_plan.hpp"
#include "tests/fuzz/fuzz_target.hpp"

namespace moebius::test {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

struct SmallModel {
  ModelConfig config = io::read_model_config(source_path("tests/data/goldens/models/qwen3_moe"));
  model::Tokenizer tokenizer{io::read_tokenizer(source_path("tests/data/goldens/tokenizers/qwen"))};
  model::ChatTemplate chat_template{io::read_chat_template(source_path("tests/data/chat/qwen3"))};
  /// The model with an embedding for each token of the tokenizer; as it is it has fewer.
  ModelConfig widened() const {
    ModelConfig wide = config;
    wide.vocab_size = tokenizer.vocab_size();
    return wide;
  }
};

void check_row(const Row& row) {
  if (!model::is_utf8(row.custom_id) || !model::is_utf8(row.message)) throw Problem("a row with text that is not UTF-8");
  if (succeeded(row.status) == (row.status != RowStatus::truncated && !row.message.empty())) throw Problem("status and message do not agree");
}

/// A plan must be one that the engine can run without looking.
void check_plan(const ranks::RequestPlan& plan, const ModelConfig& config, int max_positions) {
  if (plan.rows.empty()) throw Problem("a request without rows");
  for (const Row& row : plan.rows) check_row(row);
  const auto check_sequence = [&](const std::vector<TokenId>& tokens, const std::vector<ranks::Target>& targets) {
    for (const TokenId token : tokens) {
      if (token < 0 || token >= config.vocab_size) throw Problem("a plan with a token outside of the vocabulary");
    }
    std::int32_t last = 0;
    for (const ranks::Target& target : targets) {
      if (target.fed_idx < last || target.fed_idx >= static_cast<std::int32_t>(tokens.size())) throw Problem("a target out of order or range");
      last = target.fed_idx;
      const Row& row = plan.rows.at(static_cast<std::size_t>(target.row_idx));
      if (static_cast<std::size_t>(target.token_idx) >= row.token_ids.size()) throw Problem("a target outside of its row");
    }
  };
  for (const ranks::TreePlan& tree : plan.trees) {
    if (tree.tokens.empty()) throw Problem("a root without tokens");
    check_sequence(tree.tokens, tree.targets);
    for (const ranks::BranchPlan& branch : tree.branches) {
      check_sequence(branch.tokens, branch.targets);
      if (branch.tokens.empty() == (branch.max_new_tokens == 0)) throw Problem("a branch that neither continues nor generates");
      if (tree.tokens.size() + branch.tokens.size() + static_cast<std::size_t>(branch.max_new_tokens) > static_cast<std::size_t>(max_positions)) {
        throw Problem("a branch beyond the length of the model");
      }
    }
    if (tree.tokens.size() > static_cast<std::size_t>(max_positions)) throw Problem("a root beyond the length of the model");
  }
}

FuzzTarget requests_target() {
  auto seeds = lines_of(read_whole(source_path("tests/data/mixed.jsonl")));
  for (const char* line : {R"({"custom_id":"a","kind":"loglikelihood","context":"The sky","continuations":[" blue",[1,2]],"label":1})",
                           R"({"custom_id":"b","kind":"loglikelihood_rolling","text":"\u00e9\ud83d\ude00"})",
                           R"({"kind":"generate_until","context":"q","until":["\n","x"],"max_gen_toks":32,"temperature":0.5,"seed":7,"top_p":0.9})",
                           R"({"custom_id":"d","method":"POST","url":"/v1/completions","body":{"prompt":[1,2],"n":2,"logprobs":5,"echo":true,"max_tokens":3}})",
                           R"({"custom_id":"e","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}],"max_tokens":4}})"}) {
    seeds.emplace_back(line);
  }
  return {"requests",
          [seeds, small = std::make_shared<SmallModel>()](Mutator& mutator) {
            const std::string line = mutator.mutate(seeds[mutator.pick(seeds.size())], seeds, 1 << 16);
            const io::ParsedRequest parsed = io::parse_request(line, 3);
            if (const auto* bad = std::get_if<BadLine>(&parsed.line)) {
              check_row(ranks::row_of(*bad));
              if (bad->custom_id.empty() || succeeded(bad->status)) throw Problem("a bad line without a name or a status");
              return Verdict::refused;
            }
            const ModelConfig config = mutator.pick(8) != 0 ? small->widened() : small->config;
            const int max_positions = mutator.pick(2) == 0 ? config.max_position_embeddings : 1 + static_cast<int>(mutator.pick(40));
            const auto& request = std::get<Request>(parsed.line);
            check_plan(ranks::plan_request(request, small->tokenizer, small->chat_template, config, max_positions), config, max_positions);
            return Verdict::accepted;
          },
          10000};
}

FuzzTarget job_target() {
  std::vector<std::string> seeds;
  for (const char* name : {"inputs/score.toml", "inputs/perplexity.toml", "inputs/generate.toml"}) seeds.push_back(read_whole(source_path(name)));
  // Every key with its default.
  seeds.push_back(io::to_toml(io::read_job_text(seeds[0], "job", {})));
  const std::vector<std::string> settings = lines_of(seeds.back());
  return {"job",
          [=](Mutator& mutator) {
            const std::string text = mutator.pick(4) == 0 ? seeds[3] : mutator.mutate(seeds[mutator.pick(seeds.size())], seeds, 1 << 14);
            std::vector<std::string> overrides;
            for (std::size_t i = mutator.pick(3); i-- > 0;) {
              overrides.push_back(mutator.mutate("limits." + settings[mutator.pick(settings.size())], settings, 1000));
            }
            return read_or_refuse([&] {
              const ResolvedJob job = io::read_job_text(text, "job.toml", overrides);
              const std::string as_toml = io::to_toml(job);
              const ResolvedJob again = io::read_job_text(as_toml, "resolved", {});
              if (io::to_toml(again) != as_toml || io::fingerprint(again) != io::fingerprint(job)) throw Problem("a resolved job reads otherwise");
            });
          },
          3000};
}

FuzzTarget journal_target(const std::filesystem::path& scratch) {
  std::vector<std::string> seeds;
  for (int i = 0; i < 3; ++i) {
    seeds.push_back(io::to_line({.file = "blocks/r0-" + std::to_string(i) + "-5f1c09ab.h5", .rank = RankId(0), .sequence = i, .num_rows = 5,
                                 .num_tokens = 70, .num_failed = i, .checksum = 77, .digest = {1, 2}, .job_fingerprint = "0123", .utc = "2026-01-01T00:00:00Z"}));
  }
  const auto folder = scratch / "journal";
  std::filesystem::create_directories(folder);
  return {"journal",
          [=](Mutator& mutator) {
            // The checksum in front is put right most of the time, so that the record itself is read.
            std::string text, line = seeds[mutator.pick(seeds.size())];
            if (mutator.pick(4) == 0) {
              line = mutator.mutate(line, seeds);
            } else {
              const std::string record = mutator.mutate(line.substr(17), seeds);
              line = to_hex(xxh3_64(record)) + " " + record;
            }
            for (const std::string& seed : seeds) text += seed + "\n";
            text += line + (mutator.pick(2) == 0 ? "\n" : "");
            if (mutator.pick(8) == 0) text = mutator.mutate(text, seeds);
            write_whole(io::journal_path(folder), text);
            io::JournalRecord record;
            const bool is_whole = io::parse_line(line, record);
            if (is_whole) {
              io::JournalRecord again;
              if (!io::parse_line(io::to_line(record), again) || again != record) throw Problem("a record reads otherwise than it was written");
            }
            const Verdict verdict = read_or_refuse([&] { (void)io::read_journal(folder).blocks(); });
            return is_whole ? verdict : Verdict::refused;
          },
          800};
}

}  // namespace

std::vector<FuzzTarget> job_targets(const std::filesystem::path& scratch) { return {requests_target(), job_target(), journal_target(scratch)}; }

}  // namespace moebius::test
