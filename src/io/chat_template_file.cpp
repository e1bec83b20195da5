// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <filesystem>

#include "base/failure.hpp"
#include "io/input_file.hpp"
#include "io/json_fields.hpp"
#include "io/model_files.hpp"
#include "io/utf8.hpp"

namespace moebius::io {
namespace {

constexpr std::int64_t max_config_bytes = 64 << 20;  // a list of added tokens may be long
constexpr std::array<const char*, 7> special_tokens = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                       "pad_token", "cls_token", "mask_token"};

/// A token is written as its text or as {"content": text, ...}.
void read_special_tokens(const JsonFields& config, ChatTemplateSpec& spec) {
  for (const char* name : special_tokens) {
    const Json* value = config.find(name);
    if (value == nullptr) continue;
    const bool is_known = std::ranges::any_of(spec.special_tokens, [&](const auto& token) { return token.first == name; });
    if (is_known) continue;
    spec.special_tokens.emplace_back(name, value->is_string() ? value->get<std::string>() : config.object(name).string("content"));
  }
}

/// A template, or a list of named ones of which "default" is for chats without tools.
void read_template(const JsonFields& config, ChatTemplateSpec& spec) {
  spec.origin = "tokenizer_config.json: key chat_template";
  const Json* value = config.find("chat_template");
  if (value == nullptr) {
    spec.problem = "the model has no chat template in tokenizer_config.json or chat_template.jinja";
  } else if (value->is_array()) {
    for (const Json& entry : *value) {
      const JsonFields named(entry, "tokenizer_config.json", "chat_template.");
      if (named.string("name") == "default") spec.text = named.string("template");
    }
    if (spec.text.empty()) spec.problem = spec.origin + " has no template named default";
  } else {
    spec.text = config.string("chat_template");
  }
}

void read_files(const std::filesystem::path& model_dir, ChatTemplateSpec& spec) {
  const auto config_file = model_dir / "tokenizer_config.json", map_file = model_dir / "special_tokens_map.json";
  Json config = Json::object();
  if (std::filesystem::exists(config_file)) config = read_json_file(config_file, max_config_bytes);
  const JsonFields fields(config, config_file.string());
  read_special_tokens(fields, spec);
  if (std::filesystem::exists(map_file)) {
    const Json map = read_json_file(map_file, max_config_bytes);
    read_special_tokens(JsonFields(map, map_file.string()), spec);
  }
  const auto template_file = model_dir / "chat_template.jinja";
  if (!std::filesystem::exists(template_file)) return read_template(fields, spec);
  spec.origin = "chat_template.jinja";
  spec.text = read_text_file(template_file, max_config_bytes);
  if (first_invalid_utf8(spec.text)) spec.problem = spec.origin + " is not UTF-8";
}

}  // namespace

ChatTemplateSpec read_chat_template(const std::filesystem::path& model_dir) {
  ChatTemplateSpec spec;
  try {
    read_files(model_dir, spec);
  } catch (const Failure& failure) {
    spec.problem = failure.what();
  } catch (const std::filesystem::filesystem_error& error) {
    spec.problem = error.what();
  }
  return spec;
}

}  // namespace moebius::io
