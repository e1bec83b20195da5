// SPDX-License-Identifier: Apache-2.0
#pragma once
// The pipelines of tokenizer.json (normalizer, pre_tokenizer, decoder, post_processor) into a TokenizerSpec,
// for tokenizer_file.cpp. Each reads its key of `json`, the whole document, and throws
// Failure{unreadable_input} that names file, key and value of what the program cannot run.

#include <string>

#include "base/tokenizer_spec.hpp"
#include "io/json_fields.hpp"

namespace moebius::io {

void read_normalizer(const JsonFields& json, const std::string& file, TokenizerSpec& spec);
/// Sets `byte_level` as well, which the decoder is read after.
void read_pre_tokenizer(const JsonFields& json, const std::string& file, TokenizerSpec& spec);
void read_decoder(const JsonFields& json, const std::string& file, TokenizerSpec& spec);
void read_post_processor(const JsonFields& json, const std::string& file, TokenizerSpec& spec);

}  // namespace moebius::io
