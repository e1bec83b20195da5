// SPDX-License-Identifier: Apache-2.0
#pragma once
// The small files of a new checkpoint, as the families publish them: config.json, generation_config.json and
// a byte-level tokenizer.json. The counterpart of model_files.hpp, for `moebius make-model`.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/tensor.hpp"

namespace moebius::io {

/// Sizes that all families have; what else a family wants follows from them, and can be overridden by key.
struct ModelShape {
  std::string family = "qwen3_moe";  ///< model_type of config.json
  int hidden_size = 1024;
  int num_layers = 8;
  int num_heads = 16;
  int num_kv_heads = 4;
  int head_dim = 64;
  int num_experts = 32;
  int experts_per_token = 4;
  int expert_width = 512;
  int dense_width = 0;  ///< of dense layers; 0: experts_per_token * expert_width
  int vocab_size = 4096;
  int max_positions = 4096;
  bool tie_word_embeddings = false;
  DType dtype = DType::bf16;  ///< f8_e4m3: with scales of blocks, as DeepSeek-V3 ships it
  std::optional<double> router_skew;  ///< Zipf exponent of the popularity of experts, 0: all alike; none: somewhat unlike. In config.json
  std::vector<std::string> overrides;  ///< "key=JSON value" of config.json
};

/// Families that can be made, for --help.
std::vector<std::string> new_model_families();

/// Writes config.json and generation_config.json; token 0 begins and ends texts. Throws Failure{bad_usage} for an
/// unknown family or override. Whether the sizes go together is read_model_config's judgement.
void write_model_config(const std::filesystem::path& directory, const ModelShape& shape);

/// Writes a byte-level BPE tokenizer of exactly vocab_size pieces: token 0 is <|endoftext|>, then the 256
/// bytes, then short lower-case words and their beginnings. Throws Failure{bad_usage} below 257 pieces.
void write_byte_tokenizer(const std::filesystem::path& directory, int vocab_size);

/// Copies tokenizer.json (and tokenizer_config.json, if any) from another model's folder.
void copy_tokenizer(const std::filesystem::path& from, const std::filesystem::path& directory);

}  // namespace moebius::io
