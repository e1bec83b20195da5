// SPDX-License-Identifier: Apache-2.0
#include "io/new_model_files.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <map>

#include "io/durable_file.hpp"
#include "io/strict_json.hpp"

namespace moebius::io {
namespace {

/// What config.json has beside the sizes that all families share.
struct FamilyKeys {
  const char* architecture;
  Json (*keys)(const ModelShape&);
};

int dense_width(const ModelShape& shape) {
  return shape.dense_width > 0 ? shape.dense_width : shape.experts_per_token * shape.expert_width;
}

Json deepseek_keys(const ModelShape& shape) {
  return {{"first_k_dense_replace", shape.num_layers > 1 ? 1 : 0},
          {"intermediate_size", dense_width(shape)},
          {"kv_lora_rank", std::max(16, shape.hidden_size / 4)},
          {"moe_intermediate_size", shape.expert_width},
          {"moe_layer_freq", 1},
          {"n_routed_experts", shape.num_experts},
          {"num_key_value_heads", shape.num_heads},
          {"qk_nope_head_dim", shape.head_dim},
          {"qk_rope_head_dim", std::max(2, shape.head_dim / 4 * 2)},
          {"v_head_dim", shape.head_dim}};
}

Json with(Json keys, const Json& more) {
  keys.update(more);
  return keys;
}

const std::map<std::string, FamilyKeys, std::less<>>& families() {
  static const std::map<std::string, FamilyKeys, std::less<>> table{
      {"qwen3_moe", {"Qwen3MoeForCausalLM",
                     [](const ModelShape& shape) -> Json {
                       return {{"head_dim", shape.head_dim}, {"num_experts", shape.num_experts}, {"norm_topk_prob", true},
                               {"moe_intermediate_size", shape.expert_width}, {"intermediate_size", dense_width(shape)},
                               {"decoder_sparse_step", 1}, {"mlp_only_layers", Json::array()}};
                     }}},
      {"qwen2_moe", {"Qwen2MoeForCausalLM",
                     [](const ModelShape& shape) -> Json {
                       return {{"num_experts", shape.num_experts}, {"norm_topk_prob", false},
                               {"moe_intermediate_size", shape.expert_width}, {"intermediate_size", dense_width(shape)},
                               {"shared_expert_intermediate_size", shape.experts_per_token * shape.expert_width},
                               {"qkv_bias", true}, {"decoder_sparse_step", 1}, {"mlp_only_layers", Json::array()}};
                     }}},
      {"mixtral", {"MixtralForCausalLM",
                   [](const ModelShape& shape) -> Json {
                     return {{"head_dim", shape.head_dim}, {"num_local_experts", shape.num_experts},
                             {"intermediate_size", shape.expert_width}, {"sliding_window", nullptr}};
                   }}},
      {"olmoe", {"OlmoeForCausalLM",
                 [](const ModelShape& shape) -> Json {
                   return {{"num_experts", shape.num_experts}, {"norm_topk_prob", false},
                           {"intermediate_size", shape.expert_width}, {"clip_qkv", nullptr}};
                 }}},
      {"deepseek_v2", {"DeepseekV2ForCausalLM",
                       [](const ModelShape& shape) -> Json {
                         return with(deepseek_keys(shape), {{"n_shared_experts", 2}, {"norm_topk_prob", false},
                                                            {"q_lora_rank", nullptr}, {"topk_method", "greedy"},
                                                            {"scoring_func", "softmax"}, {"routed_scaling_factor", 1.0}});
                       }}},
      {"deepseek_v3", {"DeepseekV3ForCausalLM",
                       [](const ModelShape& shape) -> Json {
                         const int groups = shape.num_experts % 4 == 0 ? 4 : 1;
                         return with(deepseek_keys(shape),
                                     {{"n_shared_experts", 1}, {"norm_topk_prob", true}, {"n_group", groups},
                                      {"topk_group", std::max(1, groups / 2)}, {"topk_method", "noaux_tc"},
                                      {"scoring_func", "sigmoid"}, {"q_lora_rank", std::max(16, shape.hidden_size / 2)},
                                      {"routed_scaling_factor", 2.5}});
                       }}},
  };
  return table;
}

const char* torch_name(DType dtype) {
  return dtype == DType::f32 ? "float32" : dtype == DType::f16 ? "float16" : "bfloat16";
}

Json config_of(const ModelShape& shape) {
  const auto family = families().find(shape.family);
  if (family == families().end()) {
    throw Failure{ExitCode::bad_usage, fmt::format("no family is called {} (there are {}) name one of them", shape.family,
                                                   fmt::join(new_model_families(), ", "))};
  }
  Json config = {{"architectures", Json::array({family->second.architecture})},
                 {"model_type", shape.family},
                 {"attention_bias", false},
                 {"bos_token_id", 0},
                 {"eos_token_id", 0},
                 {"hidden_act", "silu"},
                 {"hidden_size", shape.hidden_size},
                 {"max_position_embeddings", shape.max_positions},
                 {"num_attention_heads", shape.num_heads},
                 {"num_experts_per_tok", shape.experts_per_token},
                 {"num_hidden_layers", shape.num_layers},
                 {"num_key_value_heads", shape.num_kv_heads},
                 {"rms_norm_eps", 1e-6},
                 {"rope_theta", 10000.0},
                 {"tie_word_embeddings", shape.tie_word_embeddings},
                 {"torch_dtype", torch_name(shape.dtype)},
                 {"vocab_size", shape.vocab_size}};
  config.update(family->second.keys(shape));
  if (shape.dtype == DType::f8_e4m3) {
    config["quantization_config"] = {
        {"quant_method", "fp8"}, {"fmt", "e4m3"}, {"activation_scheme", "dynamic"}, {"weight_block_size", Json::array({128, 128})}};
  }
  if (shape.router_skew) config["moebius_router_skew"] = *shape.router_skew;
  for (const std::string& text : shape.overrides) {
    const auto equals = text.find('=');
    auto value = parse_json(equals == std::string::npos ? "" : std::string_view(text).substr(equals + 1));
    if (equals == 0 || std::holds_alternative<JsonProblem>(value)) {
      throw Failure{ExitCode::bad_usage,
                    fmt::format("--config {} cannot be used (it is not KEY=JSON) write, for example, --config rope_theta=1e6", text)};
    }
    config[text.substr(0, equals)] = std::get<Json>(std::move(value));
  }
  return config;
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text << std::flush;
  if (!file) os_failed("write", path);
}

/// The characters that stand for the bytes 0 to 255 in byte-level BPE (GPT-2): printable ones for themselves,
/// the others from U+0100 on.
std::array<std::string, 256> byte_pieces() {
  std::array<std::string, 256> pieces;
  unsigned next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    const unsigned code = printable ? byte : next++;
    if (code < 0x80) {
      pieces[byte] = std::string(1, static_cast<char>(code));
    } else {
      pieces[byte] = {static_cast<char>(0xc0U | code >> 6), static_cast<char>(0x80U | (code & 0x3fU))};
    }
  }
  return pieces;
}

}  // namespace

std::vector<std::string> new_model_families() {
  std::vector<std::string> names;
  for (const auto& [name, keys] : families()) names.push_back(name);
  return names;
}

void write_model_config(const std::filesystem::path& directory, const ModelShape& shape) {
  write_text(directory / "config.json", config_of(shape).dump(2) + "\n");
  write_text(directory / "generation_config.json", Json{{"bos_token_id", 0}, {"eos_token_id", 0}}.dump(2) + "\n");
}

void write_byte_tokenizer(const std::filesystem::path& directory, int vocab_size) {
  constexpr std::string_view end_of_text = "<|endoftext|>", letters = "etaoinshrdlcumwfgypbvkjxqz";
  const auto bytes = byte_pieces();
  if (vocab_size < 1 + static_cast<int>(bytes.size())) {
    throw Failure{ExitCode::bad_usage, fmt::format("a vocabulary of {} is too small (a byte-level one has 257 pieces at least) ask for "
                                                   "more, or give --tokenizer",
                                                   vocab_size)};
  }
  std::vector<std::string> pieces{std::string(end_of_text)};
  pieces.insert(pieces.end(), bytes.begin(), bytes.end());
  // Each letter and the space begins words; every word so far grows by one letter, shortest first.
  std::vector<std::string> growing{bytes[static_cast<unsigned char>(' ')]};
  for (const char letter : letters) growing.emplace_back(1, letter);
  Json merges = Json::array();
  const auto wanted = static_cast<std::size_t>(vocab_size);
  for (std::size_t grown = 0; pieces.size() < wanted; ++grown) {
    const std::string word = growing[grown];
    for (std::size_t i = 0; i < letters.size() && pieces.size() < wanted; ++i) {
      pieces.push_back(word + letters[i]);
      growing.push_back(pieces.back());
      merges.push_back(Json::array({word, std::string(1, letters[i])}));
    }
  }
  Json vocab = Json::object();
  for (std::size_t id = 0; id < pieces.size(); ++id) vocab[pieces[id]] = id;
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const Json special = {{"id", 0}, {"content", end_of_text}, {"single_word", false}, {"lstrip", false}, {"rstrip", false},
                        {"normalized", false}, {"special", true}};
  const Json tokenizer = {
      {"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"normalizer", nullptr}, {"post_processor", nullptr},
      {"added_tokens", Json::array({special})},
      {"pre_tokenizer", byte_level}, {"decoder", byte_level},
      {"model", {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"continuing_subword_prefix", nullptr},
                 {"end_of_word_suffix", nullptr}, {"fuse_unk", false}, {"byte_fallback", false}, {"ignore_merges", false},
                 {"vocab", vocab}, {"merges", merges}}}};
  write_text(directory / "tokenizer.json", tokenizer.dump() + "\n");
}

void copy_tokenizer(const std::filesystem::path& from, const std::filesystem::path& directory) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    std::error_code error;
    if (name == std::string_view("tokenizer_config.json") && !std::filesystem::exists(from / name, error)) continue;
    std::filesystem::copy_file(from / name, directory / name, std::filesystem::copy_options::overwrite_existing, error);
    if (error) {
      throw Failure{ExitCode::unreadable_input, fmt::format("cannot copy {} to {} ({}) name the folder of a model with --tokenizer",
                                                            (from / name).string(), directory.string(), error.message())};
    }
  }
}

}  // namespace moebius::io
