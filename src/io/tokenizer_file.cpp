// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <unordered_set>

#include "io/input_file.hpp"
#include "io/json_fields.hpp"
#include "io/model_files.hpp"
#include "io/tokenizer_steps.hpp"

namespace moebius::io {
namespace {

constexpr std::int64_t max_tokenizer_bytes = 256 << 20;
constexpr std::int64_t max_token_id = (1 << 24) - 1;  // as ModelConfig's largest vocabulary

void refuse_other_models(const JsonFields& model) {
  // Files before 2020 leave the type out; a vocabulary with merges is BPE.
  if (const auto type = model.string_or("type", "BPE"); type != "BPE") {
    model.refuse("type", json_excerpt(Json(type)), "BPE");
  }
  if (model.has("dropout") && model.number("dropout") != 0.0) model.refuse("dropout", "not 0", "0 (it is random)");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.string_or(key, "").empty()) model.refuse(key, "set", "pieces without marks");
  }
}

/// Sorted by id, so that the result does not depend on the order in the file.
std::vector<std::pair<std::string, TokenId>> read_vocab(const JsonFields& model, const std::string& file) {
  (void)model.object("vocab");  // throws where it is missing or something else
  std::vector<std::pair<std::string, TokenId>> vocab;
  std::unordered_set<std::int64_t> ids;
  for (const auto& [piece, id] : model.find("vocab")->items()) {
    const bool good = id.is_number_unsigned() && id.get<std::uint64_t>() <= static_cast<std::uint64_t>(max_token_id);
    if (!good || !ids.insert(id.get<std::int64_t>()).second) {
      throw Failure{
          ExitCode::unreadable_input,
          fmt::format("{}: key model.vocab gives {} the id {} ({}) download the file again", file,
                      json_excerpt(Json(piece)), json_excerpt(id),
                      good ? "another piece has it" : fmt::format("ids are integers from 0 to {}", max_token_id))};
    }
    vocab.emplace_back(piece, id.get<TokenId>());
  }
  std::ranges::sort(vocab, {}, &std::pair<std::string, TokenId>::second);
  return vocab;
}

/// ["a", "b"], or "a b" as older files write it.
std::optional<std::pair<std::string, std::string>> parse_merge(const Json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (!merge.is_string()) return std::nullopt;
  const auto& text = merge.get_ref<const std::string&>();
  const auto space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) return std::nullopt;
  return std::pair(text.substr(0, space), text.substr(space + 1));
}

std::vector<std::pair<std::string, std::string>> read_merges(const JsonFields& model, const TokenizerSpec& spec) {
  std::unordered_set<std::string_view> pieces;
  for (const auto& [piece, id] : spec.vocab) pieces.insert(piece);
  std::vector<std::pair<std::string, std::string>> merges;
  const auto& list = model.list("merges");
  merges.reserve(list.size());
  for (const auto& entry : list) {
    auto merge = parse_merge(entry);
    const auto name = fmt::format("merges[{}]", merges.size());
    if (!merge) model.fail(name, "is not a pair (it must be [\"a\", \"b\"] or \"a b\")", "download the file again");
    for (const auto& piece : {merge->first, merge->second, merge->first + merge->second}) {
      if (!pieces.contains(piece)) {
        model.fail(name, fmt::format("uses {} (model.vocab has no such piece)", json_excerpt(Json(piece))),
                   "download the file again");
      }
    }
    merges.push_back(std::move(*merge));
  }
  return merges;
}

std::vector<AddedToken> read_added_tokens(const JsonFields& json, const std::string& file) {
  std::vector<AddedToken> tokens;
  if (!json.has("added_tokens")) return tokens;
  for (const auto& entry : json.list("added_tokens")) {
    const JsonFields fields(entry, file, fmt::format("added_tokens[{}].", tokens.size()));
    AddedToken token;
    token.id = static_cast<TokenId>(fields.integer("id", 0, max_token_id));
    token.content = fields.string("content");
    if (token.content.empty()) fields.fail("content", "is empty (no text could match it)", "mend the file");
    token.single_word = fields.boolean("single_word").value_or(false);
    token.lstrip = fields.boolean("lstrip").value_or(false);
    token.rstrip = fields.boolean("rstrip").value_or(false);
    token.special = fields.boolean("special").value_or(false);
    token.normalized = fields.boolean("normalized").value_or(!token.special);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

/// What becomes of a character that the vocabulary lacks.
void read_unknown(const JsonFields& model, TokenizerSpec& spec) {
  spec.byte_fallback = model.boolean("byte_fallback").value_or(false);
  if (spec.byte_fallback && spec.byte_level) model.refuse("byte_fallback", "true", "byte-level BPE without it");
  spec.fuse_unknown = model.boolean("fuse_unk").value_or(false);
  if (!model.has("unk_token")) return;
  const auto name = model.string("unk_token");
  const auto found = std::ranges::find(spec.vocab, name, &std::pair<std::string, TokenId>::first);
  if (found == spec.vocab.end()) model.refuse("unk_token", json_excerpt(Json(name)), "a piece of model.vocab");
  spec.unknown_token = found->second;
}

}  // namespace

TokenizerSpec read_tokenizer(const std::filesystem::path& model_dir_or_file) {
  std::error_code ignored;  // what is no folder is opened as a file, which names the error
  const auto path = std::filesystem::is_directory(model_dir_or_file, ignored) ? model_dir_or_file / "tokenizer.json"
                                                                              : model_dir_or_file;
  const auto document = read_json_file(path, max_tokenizer_bytes);
  const auto file = path.string();
  const JsonFields json(document, file);
  const auto model = json.object("model");
  refuse_other_models(model);

  TokenizerSpec spec;
  spec.vocab = read_vocab(model, file);
  spec.merges = read_merges(model, spec);
  spec.added_tokens = read_added_tokens(json, file);
  read_normalizer(json, file, spec);
  read_pre_tokenizer(json, file, spec);
  read_decoder(json, file, spec);
  read_unknown(model, spec);
  spec.ignore_merges = model.boolean("ignore_merges").value_or(false);
  read_post_processor(json, file, spec);
  return spec;
}

}  // namespace moebius::io
