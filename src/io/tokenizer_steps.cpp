// SPDX-License-Identifier: Apache-2.0
#include "io/tokenizer_steps.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

namespace moebius::io {
namespace {

constexpr std::int64_t max_token_id = (1 << 24) - 1;  // as ModelConfig's largest vocabulary
constexpr std::string_view metaspace = "\xe2\x96\x81";   // U+2581

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

Replacement read_replacement(const JsonFields& fields) {
  const auto pattern = fields.object("pattern");
  if (!pattern.has("String")) pattern.refuse("Regex", "used", "a String");
  Replacement replacement{pattern.string("String"), fields.string("content")};
  if (replacement.from.empty()) pattern.fail("String", "is empty (it would be found everywhere)", "mend the file");
  return replacement;
}

/// A regular expression that matches `text` and nothing else.
std::string literal_pattern(const std::string& text) {
  std::string pattern;
  for (const char c : text) {
    if (std::string_view("\\^$.|?*+()[]{}-&#~ ").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

PreTokenizerStep read_split(const JsonFields& fields) {
  PreTokenizerStep step;
  step.kind = PreTokenizerStep::Kind::split;
  const auto pattern = fields.object("pattern");
  step.pattern = pattern.has("Regex") ? pattern.string("Regex") : literal_pattern(pattern.string("String"));
  if (const auto behaviour = fields.string("behavior"); behaviour != "Isolated") {
    fields.refuse("behavior", json_excerpt(Json(behaviour)), "Isolated");
  }
  if (fields.boolean("invert").value_or(false)) fields.refuse("invert", "true", "false");
  return step;
}

PreTokenizerStep read_metaspace(const JsonFields& fields) {
  using Prepend = PreTokenizerStep::PrependScheme;
  PreTokenizerStep step;
  step.kind = PreTokenizerStep::Kind::metaspace;
  if (const auto mark = fields.string("replacement"); mark != metaspace) {
    fields.refuse("replacement", json_excerpt(Json(mark)), "U+2581");
  }
  // Files before 2024 have add_prefix_space in place of the scheme.
  const bool prefix = fields.boolean("add_prefix_space").value_or(true);
  const auto scheme = fields.string_or("prepend_scheme", prefix ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    fields.refuse("prepend_scheme", json_excerpt(Json(scheme)), "always, first and never");
  }
  step.prepend_scheme = scheme == "always" ? Prepend::always : scheme == "first" ? Prepend::first : Prepend::never;
  step.cut_at_spaces = fields.boolean("split").value_or(true);
  return step;
}

/// Digits is Split by another name: "number" is the same set of characters in both.
PreTokenizerStep read_digits(const JsonFields& fields) {
  PreTokenizerStep step;
  step.kind = PreTokenizerStep::Kind::split;
  step.pattern = fields.boolean("individual_digits").value_or(false) ? R"(\p{N})" : R"(\p{N}+)";
  return step;
}

PreTokenizerStep read_byte_level(const JsonFields& fields) {
  PreTokenizerStep step;
  step.add_prefix_space = fields.boolean("add_prefix_space").value_or(true);
  step.use_regex = fields.boolean("use_regex").value_or(true);
  return step;
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

}  // namespace

void read_normalizer(const JsonFields& json, const std::string& file, TokenizerSpec& spec) {
  std::vector<const Json*> members;
  append_steps(json, "normalizer", "normalizers", members);
  for (const Json* member : members) {
    const JsonFields fields(*member, file, "normalizer.");
    const auto type = fields.string("type");
    using Kind = NormalizerStep::Kind;
    if (type == "NFC") {
      spec.normalizer.push_back({Kind::nfc, {}});
    } else if (type == "Prepend") {
      spec.normalizer.push_back({Kind::prepend, {"", fields.string("prepend")}});
    } else if (type == "Replace") {
      spec.normalizer.push_back({Kind::replace, read_replacement(fields)});
    } else {
      fields.refuse("type", json_excerpt(Json(type)), "NFC, Prepend and Replace");
    }
  }
}

void read_pre_tokenizer(const JsonFields& json, const std::string& file, TokenizerSpec& spec) {
  std::vector<const Json*> members;
  append_steps(json, "pre_tokenizer", "pretokenizers", members);
  auto& steps = spec.pre_tokenizer;
  for (const Json* member : members) {
    const JsonFields fields(*member, file, "pre_tokenizer.");
    const auto type = fields.string("type");
    if (type == "Split") {
      steps.push_back(read_split(fields));
    } else if (type == "Digits") {
      steps.push_back(read_digits(fields));
    } else if (type == "Metaspace") {
      steps.push_back(read_metaspace(fields));
    } else if (type == "ByteLevel") {
      steps.push_back(read_byte_level(fields));
    } else {
      fields.refuse("type", json_excerpt(Json(type)), "Split, Digits, Metaspace and ByteLevel");
    }
  }
  using Kind = PreTokenizerStep::Kind;
  const auto is = [](Kind kind) { return [kind](const PreTokenizerStep& step) { return step.kind == kind; }; };
  const auto num_byte_level = std::ranges::count_if(steps, is(Kind::byte_level));
  const auto num_metaspace = std::ranges::count_if(steps, is(Kind::metaspace));
  spec.byte_level = num_byte_level > 0;
  if (num_byte_level > 1 || (spec.byte_level && steps.back().kind != Kind::byte_level)) {
    json.refuse("pre_tokenizer", "with ByteLevel before another step", "ByteLevel as the last step");
  }
  if (num_metaspace > 1 || (num_metaspace == 1 && (spec.byte_level || steps.front().kind != Kind::metaspace))) {
    json.refuse("pre_tokenizer", "with Metaspace behind another step or before ByteLevel", "Metaspace as the first step");
  }
}

void read_decoder(const JsonFields& json, const std::string& file, TokenizerSpec& spec) {
  std::vector<const Json*> members;
  append_steps(json, "decoder", "decoders", members);
  if (members.empty() && !spec.byte_level) {
    json.fail("decoder", "is missing (tokens would become text with spaces between them)", "use another checkpoint");
  }
  bool fused = false;  // from there on steps see the whole text
  for (const Json* member : members) {
    const JsonFields fields(*member, file, "decoder.");
    const auto type = fields.string("type");
    if (spec.byte_level != (type == "ByteLevel") || (spec.byte_level && members.size() > 1)) {
      fields.refuse("type", json_excerpt(Json(type)), spec.byte_level ? "ByteLevel alone where the pre_tokenizer has it"
                                                                      : "ByteLevel where the pre_tokenizer has it");
    }
    auto& decoder = spec.decoder;
    if (type == "ByteLevel") continue;
    if (type == "Replace" && !fused && !decoder.byte_fallback) {
      decoder.replacements.push_back(read_replacement(fields));
    } else if (type == "ByteFallback" && !fused) {
      decoder.byte_fallback = true;
    } else if (type == "Fuse" && !fused) {
      fused = true;
    } else if (type == "Strip" && fused && member == members.back()) {
      if (fields.string("content") != " ") fields.refuse("content", json_excerpt(*fields.find("content")), "a space");
      if (fields.integer("stop", 0, 1 << 20) != 0) fields.refuse("stop", "not 0", "spaces at the start");
      decoder.num_leading_spaces = static_cast<int>(fields.integer("start", 0, 1 << 20));
    } else {
      fields.refuse("type", json_excerpt(Json(type)) + " at this place", "Replace, ByteFallback, Fuse and Strip, in this order");
    }
  }
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

}  // namespace moebius::io
