// SPDX-License-Identifier: Apache-2.0
#pragma once
// The small files of a published Hugging Face checkpoint: config.json, generation_config.json and
// tokenizer.json, read into plain structs of `base`. Whoever opens a model calls these once.
//
// What the program cannot run is refused here and by name, with Failure{unreadable_input}: a model that
// loads is a model whose numbers are right. Keys that change nothing in inference are not looked at.

#include <filesystem>

#include "base/chat_template_spec.hpp"
#include "base/model_config.hpp"
#include "base/tokenizer_spec.hpp"

namespace moebius::io {

/// config.json, and the end-of-sequence tokens of generation_config.json where it has any. Both ways to
/// write the rotary base are read (`rope_theta`, or `rope_parameters`).
ModelConfig read_model_config(const std::filesystem::path& model_dir);

/// tokenizer.json of a model folder, or a file of that form. `truncation` and `padding` are not used,
/// as in transformers, where each call decides about them.
TokenizerSpec read_tokenizer(const std::filesystem::path& model_dir_or_file);

/// chat_template.jinja, or chat_template of tokenizer_config.json (of several the one named default), and the
/// special tokens of tokenizer_config.json and special_tokens_map.json. Never throws: what is wrong becomes
/// `problem`, since a job without chats does not care.
ChatTemplateSpec read_chat_template(const std::filesystem::path& model_dir);

}  // namespace moebius::io
