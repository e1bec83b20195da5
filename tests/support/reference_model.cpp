// SPDX-License-Identifier: Apache-2.0
#include "tests/support/reference_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>

#include "base/bf16.hpp"

namespace moebius::test {
namespace {

/// IEEE binary16 by its definition.
double half_value(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int fraction = bits & 1023;
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 31) return fraction != 0 ? std::nan("") : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

template <class Stored>
Stored stored_at(std::span<const std::byte> bytes, std::size_t i) {
  Stored value;
  std::memcpy(&value, bytes.data() + i * sizeof(Stored), sizeof(Stored));
  return value;
}

double element(DType dtype, std::span<const std::byte> bytes, std::size_t i) {
  switch (dtype) {
    case DType::f32: return static_cast<double>(stored_at<float>(bytes, i));
    case DType::bf16: return static_cast<double>(to_float(Bf16{stored_at<std::uint16_t>(bytes, i)}));
    case DType::f16: return half_value(stored_at<std::uint16_t>(bytes, i));
    default: throw std::runtime_error("reference model: unknown element type");
  }
}

/// y = w x. w: [y.size(), x.size()]
template <class T>
std::vector<T> multiply(const std::vector<T>& w, std::span<const T> x) {
  std::vector<T> y(w.size() / x.size());
  for (std::size_t row = 0; row < y.size(); ++row) {
    T sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += w[row * x.size() + i] * x[i];
    y[row] = sum;
  }
  return y;
}

template <class T>
std::vector<T> normalised(std::span<const T> x, const std::vector<T>& weight, double eps) {
  T squares = 0;
  for (const T value : x) squares += value * value;
  const T factor = T(1) / std::sqrt(squares / static_cast<T>(x.size()) + static_cast<T>(eps));
  std::vector<T> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = weight[i] * (x[i] * factor);
  return y;
}

template <class T>
void softmax(std::vector<T>& x) {
  const T largest = *std::max_element(x.begin(), x.end());
  T sum = 0;
  for (T& value : x) {
    value = std::exp(value - largest);
    sum += value;
  }
  for (T& value : x) value /= sum;
}

}  // namespace

template <class T>
ReferenceModel<T>::ReferenceModel(const ModelConfig& config, const TensorLookup& tensors) : config_(config) {
  const std::int64_t hidden = config.hidden_size, head_dim = config.head_dim;
  const std::int64_t q_width = config.num_heads * head_dim, kv_width = config.num_kv_heads * head_dim;
  embedding_ = read(tensors, "model.embed_tokens.weight", {config.vocab_size, hidden});
  final_norm_ = read(tensors, "model.norm.weight", {hidden});
  lm_head_ = config.tie_word_embeddings ? embedding_ : read(tensors, "lm_head.weight", {config.vocab_size, hidden});
  for (int l = 0; l < config.num_layers; ++l) {
    const std::string prefix = "model.layers." + std::to_string(l) + ".";
    Layer& layer = layers_.emplace_back();
    layer.input_norm = read(tensors, prefix + "input_layernorm.weight", {hidden});
    layer.post_attention_norm = read(tensors, prefix + "post_attention_layernorm.weight", {hidden});
    layer.q_proj = read(tensors, prefix + "self_attn.q_proj.weight", {q_width, hidden});
    layer.k_proj = read(tensors, prefix + "self_attn.k_proj.weight", {kv_width, hidden});
    layer.v_proj = read(tensors, prefix + "self_attn.v_proj.weight", {kv_width, hidden});
    layer.o_proj = read(tensors, prefix + "self_attn.o_proj.weight", {hidden, q_width});
    layer.q_norm = read(tensors, prefix + "self_attn.q_norm.weight", {head_dim});
    layer.k_norm = read(tensors, prefix + "self_attn.k_norm.weight", {head_dim});
    if (!config.is_moe(LayerId(l))) {
      layer.experts.push_back(read_ffn(tensors, prefix + "mlp.", config.intermediate_size));
      continue;
    }
    layer.router = read(tensors, prefix + "mlp.gate.weight", {config.num_experts, hidden});
    for (int e = 0; e < config.num_experts; ++e) {
      layer.experts.push_back(
          read_ffn(tensors, prefix + "mlp.experts." + std::to_string(e) + ".", config.moe_intermediate_size));
    }
  }
}

template <class T>
std::vector<T> ReferenceModel<T>::read(const TensorLookup& tensors, const std::string& name,
                                       std::vector<std::int64_t> shape) const {
  const auto tensor = tensors(name);
  if (!tensor || tensor->shape != shape) throw std::runtime_error("reference model: missing or misshapen " + name);
  std::size_t size = 1;
  for (const std::int64_t extent : shape) size *= static_cast<std::size_t>(extent);
  std::vector<T> values(size);
  const std::vector<std::byte> bytes = read_bytes(*tensor);
  for (std::size_t i = 0; i < size; ++i) values[i] = static_cast<T>(element(tensor->dtype, bytes, i));
  return values;
}

template <class T>
typename ReferenceModel<T>::Ffn ReferenceModel<T>::read_ffn(const TensorLookup& tensors, const std::string& prefix,
                                                            int width) const {
  Ffn ffn;
  ffn.width = width;
  ffn.gate = read(tensors, prefix + "gate_proj.weight", {width, config_.hidden_size});
  ffn.up = read(tensors, prefix + "up_proj.weight", {width, config_.hidden_size});
  ffn.down = read(tensors, prefix + "down_proj.weight", {config_.hidden_size, width});
  return ffn;
}

template <class T>
void ReferenceModel<T>::rotate(std::span<T> head, std::size_t position) const {
  const std::size_t half = head.size() / 2;
  for (std::size_t i = 0; i < half; ++i) {
    const double frequency = std::pow(config_.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(head.size()));
    const double angle = static_cast<double>(position) * frequency;
    const T cosine = static_cast<T>(std::cos(angle)), sine = static_cast<T>(std::sin(angle));
    const T low = head[i], high = head[i + half];
    head[i] = low * cosine - high * sine;
    head[i + half] = high * cosine + low * sine;
  }
}

template <class T>
void ReferenceModel<T>::attention(const Layer& layer, std::vector<T>& residual) const {
  const auto hidden = static_cast<std::size_t>(config_.hidden_size), head_dim = static_cast<std::size_t>(config_.head_dim);
  const auto num_heads = static_cast<std::size_t>(config_.num_heads), num_kv_heads = static_cast<std::size_t>(config_.num_kv_heads);
  const std::size_t num_tokens = residual.size() / hidden;
  const T scale = T(1) / std::sqrt(static_cast<T>(head_dim));
  std::vector<std::vector<T>> keys, values;  // [position][num_kv_heads * head_dim]
  const auto norm_and_rotate = [&](std::vector<T>& heads, const std::vector<T>& weight, std::size_t position) {
    for (std::size_t begin = 0; begin < heads.size(); begin += head_dim) {
      const std::span<T> head(heads.data() + begin, head_dim);
      std::ranges::copy(normalised<T>(head, weight, config_.rms_norm_eps), head.begin());
      rotate(head, position);
    }
  };
  for (std::size_t position = 0; position < num_tokens; ++position) {
    const std::span<T> row(residual.data() + position * hidden, hidden);
    const std::vector<T> x = normalised<T>(row, layer.input_norm, config_.rms_norm_eps);
    std::vector<T> queries = multiply<T>(layer.q_proj, x);
    keys.push_back(multiply<T>(layer.k_proj, x));
    values.push_back(multiply<T>(layer.v_proj, x));
    norm_and_rotate(queries, layer.q_norm, position);
    norm_and_rotate(keys.back(), layer.k_norm, position);
    std::vector<T> mixed(num_heads * head_dim, T(0));
    for (std::size_t head = 0; head < num_heads; ++head) {
      const std::size_t kv_begin = head / (num_heads / num_kv_heads) * head_dim;
      std::vector<T> weights(position + 1);
      for (std::size_t seen = 0; seen <= position; ++seen) {
        T score = 0;
        for (std::size_t i = 0; i < head_dim; ++i) score += queries[head * head_dim + i] * keys[seen][kv_begin + i];
        weights[seen] = score * scale;
      }
      softmax(weights);
      for (std::size_t seen = 0; seen <= position; ++seen) {
        for (std::size_t i = 0; i < head_dim; ++i) mixed[head * head_dim + i] += weights[seen] * values[seen][kv_begin + i];
      }
    }
    const std::vector<T> out = multiply<T>(layer.o_proj, mixed);
    for (std::size_t i = 0; i < hidden; ++i) row[i] += out[i];
  }
}

template <class T>
void ReferenceModel<T>::feed_forward(const Layer& layer, std::span<T> residual_row) const {
  const std::vector<T> x = normalised<T>(residual_row, layer.post_attention_norm, config_.rms_norm_eps);
  std::vector<std::size_t> chosen{0};
  std::vector<T> weights{T(1)};  // of all experts
  if (!layer.router.empty()) {
    weights = multiply<T>(layer.router, x);
    softmax(weights);
    chosen.resize(weights.size());
    std::iota(chosen.begin(), chosen.end(), std::size_t{0});
    std::ranges::stable_sort(chosen, [&](std::size_t a, std::size_t b) { return weights[a] > weights[b]; });
    chosen.resize(static_cast<std::size_t>(config_.experts_per_token));
    if (config_.router.norm_topk_prob) {
      T sum = 0;
      for (const std::size_t expert : chosen) sum += weights[expert];
      for (const std::size_t expert : chosen) weights[expert] /= sum;
    }
  }
  std::vector<T> total(residual_row.size(), T(0));
  for (const std::size_t expert : chosen) {
    const Ffn& ffn = layer.experts[expert];
    std::vector<T> inner = multiply<T>(ffn.gate, x);
    const std::vector<T> up = multiply<T>(ffn.up, x);
    for (std::size_t i = 0; i < inner.size(); ++i) inner[i] = inner[i] / (T(1) + std::exp(-inner[i])) * up[i];
    const std::vector<T> out = multiply<T>(ffn.down, inner);
    for (std::size_t i = 0; i < out.size(); ++i) total[i] += weights[expert] * out[i];
  }
  for (std::size_t i = 0; i < total.size(); ++i) residual_row[i] += total[i];
}

template <class T>
ReferenceRun ReferenceModel<T>::run(std::span<const TokenId> tokens) const {
  const auto hidden = static_cast<std::size_t>(config_.hidden_size), vocab = static_cast<std::size_t>(config_.vocab_size);
  std::vector<T> residual;  // [num_tokens, hidden_size]
  for (const TokenId token : tokens) {
    const auto row = embedding_.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(token) * hidden);
    residual.insert(residual.end(), row, row + static_cast<std::ptrdiff_t>(hidden));
  }
  ReferenceRun result;
  result.hidden.emplace_back(residual.begin(), residual.end());
  for (const Layer& layer : layers_) {
    attention(layer, residual);
    for (std::size_t i = 0; i < tokens.size(); ++i) feed_forward(layer, {residual.data() + i * hidden, hidden});
    result.hidden.emplace_back(residual.begin(), residual.end());
  }
  result.hidden.back().clear();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::vector<T> x = normalised<T>({residual.data() + i * hidden, hidden}, final_norm_, config_.rms_norm_eps);
    result.hidden.back().insert(result.hidden.back().end(), x.begin(), x.end());
    const std::vector<T> logits = multiply<T>(lm_head_, x);
    result.logits.insert(result.logits.end(), logits.begin(), logits.end());
  }
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    const std::span<const double> logits(result.logits.data() + i * vocab, vocab);
    const double largest = *std::ranges::max_element(logits);
    double sum = 0;
    for (const double logit : logits) sum += std::exp(logit - largest);
    result.token_logprobs.push_back(logits[static_cast<std::size_t>(tokens[i + 1])] - largest - std::log(sum));
  }
  return result;
}

template <class T>
std::vector<TokenId> ReferenceModel<T>::greedy(std::span<const TokenId> prompt, int n) const {
  std::vector<TokenId> tokens(prompt.begin(), prompt.end());
  for (int i = 0; i < n; ++i) {
    const ReferenceRun so_far = run(tokens);
    const auto last = so_far.logits.end() - config_.vocab_size;
    tokens.push_back(static_cast<TokenId>(std::max_element(last, so_far.logits.end()) - last));
  }
  return {tokens.begin() + static_cast<std::ptrdiff_t>(prompt.size()), tokens.end()};
}

template class ReferenceModel<float>;
template class ReferenceModel<double>;

}  // namespace moebius::test
