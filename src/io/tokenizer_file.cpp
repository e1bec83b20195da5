// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <unordered_set>

#include "io/input_file.hpp"
#include "io/json_fields.hpp"
#include "io/model_files.hpp"

namespace moebius::io {
namespace {

constexpr std::int64_t max_tokenizer_bytes = 256 << 20;
constexpr std::int64_t max_token_id = (1 << 24) - 1;  // as ModelConfig's largest vocabulary

/// Appends the members of a Sequence, or the object itself; nothing for null.
void append_steps(const JsonFields& owner, const char* key, const char* members, std::vector<const Json*>& out) {
  const Json* value = owner.find(key);
  if (value == nullptr) return;
  const auto object = owner.object(key);
  if (object.string("type") != "Sequence") {
    out.push_back(value);
    return;
  }
  for (const auto& member : object.list(members)) {
    if (member.is_object() && member.value("type", Json()) == "Sequence") {
      object.refuse(members, "a Sequence in a Sequence", "one level of them");
    }
    out.push_back(&member);
  }
}

NormalizerKind read_normalizer(const JsonFields& json, const std::string& file) {
  std::vector<const Json*> steps;
  append_steps(json, "normalizer", "normalizers", steps);
  auto kind = NormalizerKind::none;
  for (const Json* step : steps) {
    const JsonFields fields(*step, file, "normalizer.");
    if (const auto type = fields.string("type"); type != "NFC") fields.refuse("type", json_excerpt(Json(type)), "NFC");
    kind = NormalizerKind::nfc;
  }
  return kind;
}

PreTokenizerStep read_split(const JsonFields& fields) {
  PreTokenizerStep step;
  step.kind = PreTokenizerStep::Kind::split;
  const auto pattern = fields.object("pattern");
  if (!pattern.has("Regex")) pattern.refuse("String", "used", "a Regex");
  step.pattern = pattern.string("Regex");
  if (const auto behaviour = fields.string("behavior"); behaviour != "Isolated") {
    fields.refuse("behavior", json_excerpt(Json(behaviour)), "Isolated");
  }
  if (fields.boolean("invert").value_or(false)) fields.refuse("invert", "true", "false");
  return step;
}

std::vector<PreTokenizerStep> read_pre_tokenizer(const JsonFields& json, const std::string& file) {
  std::vector<const Json*> members;
  append_steps(json, "pre_tokenizer", "pretokenizers", members);
  std::vector<PreTokenizerStep> steps;
  for (const Json* member : members) {
    const JsonFields fields(*member, file, "pre_tokenizer.");
    const auto type = fields.string("type");
    if (type == "Split") {
      steps.push_back(read_split(fields));
    } else if (type == "ByteLevel") {
      PreTokenizerStep step;
      step.add_prefix_space = fields.boolean("add_prefix_space").value_or(true);
      step.use_regex = fields.boolean("use_regex").value_or(true);
      steps.push_back(std::move(step));
    } else {
      fields.refuse("type", json_excerpt(Json(type)), "Split and ByteLevel");
    }
  }
  const auto num_byte_level = std::ranges::count(steps, PreTokenizerStep::Kind::byte_level, &PreTokenizerStep::kind);
  if (num_byte_level != 1 || steps.back().kind != PreTokenizerStep::Kind::byte_level) {
    json.refuse("pre_tokenizer", "without ByteLevel as its last step", "byte-level BPE");
  }
  return steps;
}

void refuse_other_models(const JsonFields& json, const JsonFields& model) {
  // Files before 2020 leave the type out; a vocabulary with merges is BPE.
  if (const auto type = model.string_or("type", "BPE"); type != "BPE") {
    model.refuse("type", json_excerpt(Json(type)), "BPE");
  }
  if (model.has("dropout") && model.number("dropout") != 0.0) model.refuse("dropout", "not 0", "0 (it is random)");
  if (model.boolean("byte_fallback").value_or(false)) model.refuse("byte_fallback", "true", "byte-level BPE");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.string_or(key, "").empty()) model.refuse(key, "set", "pieces without marks");
  }
  if (model.has("unk_token")) model.refuse("unk_token", "set", "byte-level BPE, which knows every byte");
  if (json.has("decoder")) {
    const auto decoder = json.object("decoder");
    if (const auto type = decoder.string("type"); type != "ByteLevel") {
      decoder.refuse("type", json_excerpt(Json(type)), "ByteLevel");
    }
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

/// Ids around the text, of the template for a single sequence.
struct Template {
  std::vector<TokenId> prefix, suffix;
};

Template read_template(const JsonFields& fields, const std::string& file) {
  Template ids;
  int num_sequences = 0;
  for (const auto& piece : fields.list("single")) {
    const JsonFields item(piece, file, "post_processor.single.");
    if (item.has("Sequence")) {
      const auto sequence = item.object("Sequence");
      if (const auto id = sequence.string("id"); id != "A") sequence.refuse("id", json_excerpt(Json(id)), "A");
      ++num_sequences;
      continue;
    }
    const auto name = item.object("SpecialToken").string("id");
    const auto token = fields.object("special_tokens").object(name.c_str());
    const auto values = token.integers("ids", 0, max_token_id);
    auto& side = num_sequences == 0 ? ids.prefix : ids.suffix;
    side.insert(side.end(), values.begin(), values.end());
  }
  if (num_sequences != 1) {
    fields.refuse("single", fmt::format("a template with {} texts", num_sequences), "templates with one text");
  }
  return ids;
}

void read_post_processor(const JsonFields& json, const std::string& file, TokenizerSpec& spec) {
  std::vector<const Json*> steps;
  append_steps(json, "post_processor", "processors", steps);
  for (const Json* step : steps) {
    const JsonFields fields(*step, file, "post_processor.");
    const auto type = fields.string("type");
    if (type == "ByteLevel") continue;  // it only trims offsets, which nobody asks for
    if (type != "TemplateProcessing") {
      fields.refuse("type", json_excerpt(Json(type)), "ByteLevel and TemplateProcessing");
    }
    // A later template wraps what an earlier one made.
    const auto ids = read_template(fields, file);
    spec.prefix_special_ids.insert(spec.prefix_special_ids.begin(), ids.prefix.begin(), ids.prefix.end());
    spec.suffix_special_ids.insert(spec.suffix_special_ids.end(), ids.suffix.begin(), ids.suffix.end());
  }
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
  refuse_other_models(json, model);

  TokenizerSpec spec;
  spec.vocab = read_vocab(model, file);
  spec.merges = read_merges(model, spec);
  spec.added_tokens = read_added_tokens(json, file);
  spec.normalizer = read_normalizer(json, file);
  spec.pre_tokenizer = read_pre_tokenizer(json, file);
  spec.ignore_merges = model.boolean("ignore_merges").value_or(false);
  read_post_processor(json, file, spec);
  return spec;
}

}  // namespace moebius::io
