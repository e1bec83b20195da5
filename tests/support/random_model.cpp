// SPDX-License-Identifier: Apache-2.0
#include "tests/support/random_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>

#include "base/bf16.hpp"

namespace moebius::test {
namespace {

template <class Stored>
void append(std::vector<std::byte>& bytes, Stored value) {
  bytes.resize(bytes.size() + sizeof(Stored));
  std::memcpy(bytes.data() + bytes.size() - sizeof(Stored), &value, sizeof(Stored));
}

/// The bits of a half that is near `value`, for values between 2^-14 and 2^15 in magnitude; else zero.
std::uint16_t near_half(float value) {
  int exponent = 0;
  const float fraction = std::frexp(std::abs(value), &exponent);  // in [0.5, 1)
  if (exponent < -13 || exponent > 15) return 0;
  const auto mantissa = static_cast<unsigned>(std::ldexp(fraction, 11)) & 0x3ffU;
  return static_cast<std::uint16_t>((value < 0 ? 0x8000U : 0U) | static_cast<unsigned>(exponent + 14) << 10 | mantissa);
}

}  // namespace

RandomModel::RandomModel(const ModelConfig& config, DType dtype, std::uint64_t seed) : config_(config) {
  std::mt19937_64 random(seed);
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape, double mean, double deviation) {
    std::normal_distribution<double> normal(mean, deviation);
    Tensor tensor{.dtype = dtype, .shape = shape, .bytes = {}};
    std::int64_t size = 1;
    for (const std::int64_t extent : shape) size *= extent;
    for (std::int64_t i = 0; i < size; ++i) {
      const auto value = static_cast<float>(normal(random));
      switch (dtype) {
        case DType::f32: append(tensor.bytes, value); break;
        case DType::bf16: append(tensor.bytes, to_bf16(value).bits); break;
        case DType::f16: append(tensor.bytes, near_half(value)); break;
        default: throw std::invalid_argument("random model: not a floating-point type");
      }
    }
    tensors_[name] = std::move(tensor);
  };
  const auto add_matrix = [&](const std::string& name, std::int64_t num_out, std::int64_t num_in) {
    add(name, {num_out, num_in}, 0.0, 1.0 / std::sqrt(static_cast<double>(num_in)));
  };
  const auto add_ffn = [&](const std::string& prefix, int width) {
    add_matrix(prefix + "gate_proj.weight", width, config.hidden_size);
    add_matrix(prefix + "up_proj.weight", width, config.hidden_size);
    add_matrix(prefix + "down_proj.weight", config.hidden_size, width);
  };
  add("model.embed_tokens.weight", {config.vocab_size, config.hidden_size}, 0.0, 1.0);
  add("model.norm.weight", {config.hidden_size}, 1.0, 0.2);
  if (!config.tie_word_embeddings) add_matrix("lm_head.weight", config.vocab_size, config.hidden_size);
  for (int l = 0; l < config.num_layers; ++l) {
    const std::string prefix = "model.layers." + std::to_string(l) + ".";
    add(prefix + "input_layernorm.weight", {config.hidden_size}, 1.0, 0.2);
    add(prefix + "post_attention_layernorm.weight", {config.hidden_size}, 1.0, 0.2);
    add(prefix + "self_attn.q_norm.weight", {config.head_dim}, 1.0, 0.2);
    add(prefix + "self_attn.k_norm.weight", {config.head_dim}, 1.0, 0.2);
    add_matrix(prefix + "self_attn.q_proj.weight", config.num_heads * config.head_dim, config.hidden_size);
    add_matrix(prefix + "self_attn.k_proj.weight", config.num_kv_heads * config.head_dim, config.hidden_size);
    add_matrix(prefix + "self_attn.v_proj.weight", config.num_kv_heads * config.head_dim, config.hidden_size);
    add_matrix(prefix + "self_attn.o_proj.weight", config.hidden_size, config.num_heads * config.head_dim);
    if (!config.is_moe(LayerId(l))) {
      add_ffn(prefix + "mlp.", config.intermediate_size);
      continue;
    }
    add_matrix(prefix + "mlp.gate.weight", config.num_experts, config.hidden_size);
    for (int e = 0; e < config.num_experts; ++e) {
      add_ffn(prefix + "mlp.experts." + std::to_string(e) + ".", config.moe_intermediate_size);
    }
  }
}

TensorLookup RandomModel::lookup() const {
  return [this](std::string_view name) -> std::optional<TensorRef> {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return std::nullopt;
    return TensorRef{.dtype = found->second.dtype, .shape = found->second.shape, .num_bytes = found->second.bytes.size(),
                     .read = [bytes = std::span<const std::byte>(found->second.bytes)](std::size_t first_byte, std::span<std::byte> out) {
                       std::ranges::copy(bytes.subspan(first_byte, out.size()), out.begin());
                     },
                     .file = "memory"};
  };
}

ModelConfig odd_model_config() {
  ModelConfig config;
  config.model_type = "qwen3_moe";
  config.qk_norm = QkNorm::each_head;
  config.vocab_size = 301;
  config.hidden_size = 52;
  config.num_layers = 3;
  config.num_heads = 6;
  config.num_kv_heads = 2;
  config.head_dim = 22;
  config.intermediate_size = 75;
  config.moe_intermediate_size = 37;
  config.num_experts = 11;
  config.experts_per_token = 3;
  config.router.norm_topk_prob = false;
  config.tie_word_embeddings = false;
  config.moe_layer = {1, 0, 1};
  config.rope_theta = 5000.0;
  config.rms_norm_eps = 1e-5;
  config.max_position_embeddings = 300;
  config.bos_token = 0;
  config.eos_tokens = {0};
  return config;
}

}  // namespace moebius::test
