// SPDX-License-Identifier: Apache-2.0
#include "tests/support/reference_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
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
  const std::int64_t hidden = config.hidden_size;
  embedding_ = read(tensors, "model.embed_tokens.weight", {config.vocab_size, hidden});
  final_norm_ = read(tensors, "model.norm.weight", {hidden});
  lm_head_ = config.tie_word_embeddings ? embedding_ : read(tensors, "lm_head.weight", {config.vocab_size, hidden});
  for (int l = 0; l < config.num_layers; ++l) {
    const std::string prefix = "model.layers." + std::to_string(l) + ".";
    Layer& layer = layers_.emplace_back();
    layer.input_norm = read(tensors, prefix + "input_layernorm.weight", {hidden});
    layer.post_attention_norm = read(tensors, prefix + "post_attention_layernorm.weight", {hidden});
    if (config.kv_lora_rank > 0) {
      read_latent_attention(tensors, prefix + "self_attn.", layer);
    } else {
      read_grouped_attention(tensors, prefix + "self_attn.", layer);
    }
    if (!config.is_moe(LayerId(l))) {
      layer.experts.push_back(read_ffn(tensors, prefix + "mlp.", {"gate_proj", "up_proj", "down_proj"}, config.intermediate_size));
    } else {
      read_experts(tensors, prefix, layer);
    }
  }
}

template <class T>
void ReferenceModel<T>::read_grouped_attention(const TensorLookup& tensors, const std::string& prefix, Layer& layer) const {
  const std::int64_t hidden = config_.hidden_size, head_dim = config_.head_dim;
  const std::int64_t q_width = config_.num_heads * head_dim, kv_width = config_.num_kv_heads * head_dim;
  layer.q_proj = read(tensors, prefix + "q_proj.weight", {q_width, hidden});
  layer.k_proj = read(tensors, prefix + "k_proj.weight", {kv_width, hidden});
  layer.v_proj = read(tensors, prefix + "v_proj.weight", {kv_width, hidden});
  layer.o_proj = read(tensors, prefix + "o_proj.weight", {hidden, q_width});
  if (config_.qkv_bias) {
    layer.q_bias = read(tensors, prefix + "q_proj.bias", {q_width});
    layer.k_bias = read(tensors, prefix + "k_proj.bias", {kv_width});
    layer.v_bias = read(tensors, prefix + "v_proj.bias", {kv_width});
  }
  if (config_.qk_norm == QkNorm::none) return;
  const bool each = config_.qk_norm == QkNorm::each_head;
  layer.q_norm = read(tensors, prefix + "q_norm.weight", {each ? head_dim : q_width});
  layer.k_norm = read(tensors, prefix + "k_norm.weight", {each ? head_dim : kv_width});
}

template <class T>
void ReferenceModel<T>::read_latent_attention(const TensorLookup& tensors, const std::string& prefix, Layer& layer) const {
  const std::int64_t hidden = config_.hidden_size, num_heads = config_.num_heads, rank = config_.kv_lora_rank;
  const std::int64_t q_width = num_heads * (config_.qk_nope_head_dim + config_.qk_rope_head_dim);
  if (config_.q_lora_rank > 0) {
    layer.q_a_proj = read(tensors, prefix + "q_a_proj.weight", {config_.q_lora_rank, hidden});
    layer.q_a_norm = read(tensors, prefix + "q_a_layernorm.weight", {config_.q_lora_rank});
    layer.q_proj = read(tensors, prefix + "q_b_proj.weight", {q_width, config_.q_lora_rank});
  } else {
    layer.q_proj = read(tensors, prefix + "q_proj.weight", {q_width, hidden});
  }
  layer.kv_a_proj = read(tensors, prefix + "kv_a_proj_with_mqa.weight", {rank + config_.qk_rope_head_dim, hidden});
  layer.kv_a_norm = read(tensors, prefix + "kv_a_layernorm.weight", {rank});
  layer.kv_b_proj = read(tensors, prefix + "kv_b_proj.weight", {num_heads * (config_.qk_nope_head_dim + config_.v_head_dim), rank});
  layer.o_proj = read(tensors, prefix + "o_proj.weight", {hidden, num_heads * config_.v_head_dim});
}

template <class T>
void ReferenceModel<T>::read_experts(const TensorLookup& tensors, const std::string& prefix, Layer& layer) const {
  const bool mixtral = config_.model_type == "mixtral";
  const std::string moe = prefix + (mixtral ? "block_sparse_moe." : "mlp.");
  const FfnNames usual{"gate_proj", "up_proj", "down_proj"};
  layer.router = read(tensors, moe + "gate.weight", {config_.num_experts, config_.hidden_size});
  if (config_.router.correction_bias) layer.router_bias = read(tensors, moe + "gate.e_score_correction_bias", {config_.num_experts});
  for (int e = 0; e < config_.num_experts; ++e) {
    layer.experts.push_back(read_ffn(tensors, moe + "experts." + std::to_string(e) + ".", mixtral ? FfnNames{"w1", "w3", "w2"} : usual,
                                     config_.moe_intermediate_size));
  }
  if (config_.shared_intermediate_size == 0) return;
  const std::string shared = moe + (config_.model_type == "qwen2_moe" ? "shared_expert." : "shared_experts.");
  layer.shared.push_back(read_ffn(tensors, shared, usual, config_.shared_intermediate_size));
  if (config_.shared_expert_gate) layer.shared_gate = read(tensors, moe + "shared_expert_gate.weight", {1, config_.hidden_size});
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
                                                            const FfnNames& names, int width) const {
  Ffn ffn;
  ffn.gate = read(tensors, prefix + names.gate + ".weight", {width, config_.hidden_size});
  ffn.up = read(tensors, prefix + names.up + ".weight", {width, config_.hidden_size});
  ffn.down = read(tensors, prefix + names.down + ".weight", {config_.hidden_size, width});
  return ffn;
}

/// transformers, modeling_rope_utils, _compute_yarn_parameters.
template <class T>
double ReferenceModel<T>::frequency(std::size_t i) const {
  const double dim = config_.kv_lora_rank > 0 ? config_.qk_rope_head_dim : config_.head_dim, pair = static_cast<double>(i);
  const double unscaled = 1.0 / std::pow(config_.rope_theta, 2.0 * pair / dim);
  if (!config_.yarn) return unscaled;
  const YarnScaling& yarn = *config_.yarn;
  const auto correction_dim = [&](double turns) {
    return dim * std::log(yarn.original_max_positions / (turns * 2.0 * 3.14159265358979323846)) / (2.0 * std::log(config_.rope_theta));
  };
  double low = correction_dim(yarn.beta_fast), high = correction_dim(yarn.beta_slow);
  if (yarn.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (low == high) high += 0.001;
  const double ramp = std::min(1.0, std::max(0.0, (pair - low) / (high - low)));
  return unscaled / yarn.factor * ramp + unscaled * (1.0 - ramp);
}

template <class T>
void ReferenceModel<T>::rotate(std::span<T> head, std::size_t position) const {
  const std::size_t half = head.size() / 2;
  const std::vector<T> x(head.begin(), head.end());
  const double magnitude = config_.yarn ? config_.yarn->magnitude : 1.0;
  for (std::size_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * frequency(i);
    const T cosine = static_cast<T>(magnitude * std::cos(angle)), sine = static_cast<T>(magnitude * std::sin(angle));
    const std::size_t first = config_.rope_interleaved ? 2 * i : i, second = config_.rope_interleaved ? 2 * i + 1 : i + half;
    head[first] = x[first] * cosine - x[second] * sine;
    head[second] = x[second] * cosine + x[first] * sine;
  }
}

template <class T>
typename ReferenceModel<T>::Heads ReferenceModel<T>::grouped_heads(const Layer& layer, std::span<const T> x, std::size_t position) const {
  const auto head_dim = static_cast<std::size_t>(config_.head_dim);
  const auto project = [&](const std::vector<T>& weight, const std::vector<T>& bias, const std::vector<T>& norm) {
    std::vector<T> y = multiply<T>(weight, x);
    for (std::size_t i = 0; i < bias.size(); ++i) y[i] += bias[i];
    for (std::size_t begin = 0; !norm.empty() && begin < y.size(); begin += norm.size()) {
      const std::span<T> part(y.data() + begin, norm.size());
      std::ranges::copy(normalised<T>(part, norm, config_.rms_norm_eps), part.begin());
    }
    const T limit = static_cast<T>(config_.clip_qkv);
    for (T& value : y) value = config_.clip_qkv > 0 ? std::min(std::max(value, -limit), limit) : value;
    return y;
  };
  Heads heads{project(layer.q_proj, layer.q_bias, layer.q_norm), project(layer.k_proj, layer.k_bias, layer.k_norm),
              project(layer.v_proj, layer.v_bias, {})};
  for (std::vector<T>* turning : {&heads.queries, &heads.keys}) {
    for (std::size_t begin = 0; begin < turning->size(); begin += head_dim) rotate({turning->data() + begin, head_dim}, position);
  }
  return heads;
}

template <class T>
typename ReferenceModel<T>::Heads ReferenceModel<T>::latent_heads(const Layer& layer, std::span<const T> x, std::size_t position) const {
  constexpr double eps = 1e-6;  // of both norms, whatever config.json says
  const auto nope = static_cast<std::size_t>(config_.qk_nope_head_dim), rope = static_cast<std::size_t>(config_.qk_rope_head_dim);
  const auto rank = static_cast<std::size_t>(config_.kv_lora_rank), value_dim = static_cast<std::size_t>(config_.v_head_dim);
  Heads heads;
  if (layer.q_a_proj.empty()) {
    heads.queries = multiply<T>(layer.q_proj, x);
  } else {
    heads.queries = multiply<T>(layer.q_proj, normalised<T>(multiply<T>(layer.q_a_proj, x), layer.q_a_norm, eps));
  }
  std::vector<T> compressed = multiply<T>(layer.kv_a_proj, x);
  std::vector<T> turning(compressed.begin() + static_cast<std::ptrdiff_t>(rank), compressed.end());  // shared by the heads
  rotate(turning, position);
  compressed.resize(rank);
  const std::vector<T> expanded = multiply<T>(layer.kv_b_proj, normalised<T>(compressed, layer.kv_a_norm, eps));
  for (std::size_t head = 0; head < static_cast<std::size_t>(config_.num_heads); ++head) {
    rotate({heads.queries.data() + head * (nope + rope) + nope, rope}, position);
    const auto keys = expanded.begin() + static_cast<std::ptrdiff_t>(head * (nope + value_dim));
    const auto values = keys + static_cast<std::ptrdiff_t>(nope);
    heads.keys.insert(heads.keys.end(), keys, values);
    heads.keys.insert(heads.keys.end(), turning.begin(), turning.end());
    heads.values.insert(heads.values.end(), values, values + static_cast<std::ptrdiff_t>(value_dim));
  }
  return heads;
}

template <class T>
void ReferenceModel<T>::attention(LayerId layer_id, std::vector<T>& residual) const {
  const Layer& layer = layers_[layer_id.idx()];
  const bool latent = config_.kv_lora_rank > 0;
  const auto hidden = static_cast<std::size_t>(config_.hidden_size), num_heads = static_cast<std::size_t>(config_.num_heads);
  const auto key_dim = static_cast<std::size_t>(latent ? config_.qk_nope_head_dim + config_.qk_rope_head_dim : config_.head_dim);
  const auto value_dim = static_cast<std::size_t>(latent ? config_.v_head_dim : config_.head_dim);
  const std::size_t group = latent ? 1 : num_heads / static_cast<std::size_t>(config_.num_kv_heads);
  const auto window = static_cast<std::size_t>(config_.window(layer_id));
  const double score_factor = config_.yarn ? config_.yarn->score_factor : 1.0;
  const T scale = static_cast<T>(score_factor / std::sqrt(static_cast<double>(key_dim)));
  std::vector<Heads> past;
  for (std::size_t position = 0; position * hidden < residual.size(); ++position) {
    const std::span<T> row(residual.data() + position * hidden, hidden);
    const std::vector<T> x = normalised<T>(row, layer.input_norm, config_.rms_norm_eps);
    past.push_back(latent ? latent_heads(layer, x, position) : grouped_heads(layer, x, position));
    const std::vector<T>& queries = past.back().queries;
    const std::size_t first = window > 0 && position + 1 > window ? position + 1 - window : 0;
    std::vector<T> mixed(num_heads * value_dim, T(0));
    for (std::size_t head = 0; head < num_heads; ++head) {
      std::vector<T> weights;  // of positions first..position
      for (std::size_t seen = first; seen <= position; ++seen) {
        T score = 0;
        for (std::size_t i = 0; i < key_dim; ++i) score += queries[head * key_dim + i] * past[seen].keys[head / group * key_dim + i];
        weights.push_back(score * scale);
      }
      softmax(weights);
      for (std::size_t seen = first; seen <= position; ++seen) {
        for (std::size_t i = 0; i < value_dim; ++i) {
          mixed[head * value_dim + i] += weights[seen - first] * past[seen].values[head / group * value_dim + i];
        }
      }
    }
    const std::vector<T> out = multiply<T>(layer.o_proj, mixed);
    for (std::size_t i = 0; i < hidden; ++i) row[i] += out[i];
  }
}

template <class T>
std::vector<T> ReferenceModel<T>::routing_weights(const Layer& layer, const std::vector<T>& x) const {
  const RouterOptions& options = config_.router;
  std::vector<T> scores = multiply<T>(layer.router, x);
  if (options.scores == RouterOptions::Scores::softmax) {
    softmax(scores);
  } else {
    for (T& score : scores) score = T(1) / (T(1) + std::exp(-score));
  }
  std::vector<T> choice = scores;
  for (std::size_t i = 0; i < layer.router_bias.size(); ++i) choice[i] += layer.router_bias[i];
  const auto best_of = [](const std::vector<T>& values, int k) {
    std::vector<std::size_t> ids(values.size());
    std::iota(ids.begin(), ids.end(), std::size_t{0});
    std::ranges::stable_sort(ids, [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
    ids.resize(static_cast<std::size_t>(k));
    return ids;
  };
  const std::size_t group_size = scores.size() / static_cast<std::size_t>(options.num_groups);
  std::vector<T> group_scores;
  for (std::size_t begin = 0; begin < scores.size(); begin += group_size) {
    std::vector<T> group(choice.begin() + static_cast<std::ptrdiff_t>(begin), choice.begin() + static_cast<std::ptrdiff_t>(begin + group_size));
    std::ranges::sort(group, std::greater<>());
    group_scores.push_back(options.group_scores == RouterOptions::GroupScores::best ? group[0] : group[0] + group[1]);
  }
  const std::vector<std::size_t> groups = best_of(group_scores, options.topk_groups);
  for (std::size_t i = 0; i < choice.size(); ++i) {
    if (std::ranges::find(groups, i / group_size) == groups.end()) choice[i] = -std::numeric_limits<T>::infinity();
  }
  std::vector<T> weights(scores.size(), T(0));
  T sum = options.scores == RouterOptions::Scores::softmax ? T(0) : T(1e-20);
  const std::vector<std::size_t> chosen = best_of(choice, config_.experts_per_token);
  for (const std::size_t expert : chosen) sum += scores[expert];
  for (const std::size_t expert : chosen) {
    weights[expert] = scores[expert] / (options.norm_topk_prob ? sum : T(1)) * static_cast<T>(options.scaling);
  }
  return weights;
}

template <class T>
std::vector<T> ReferenceModel<T>::apply_ffn(const Ffn& ffn, const std::vector<T>& x) const {
  std::vector<T> inner = multiply<T>(ffn.gate, x);
  const std::vector<T> up = multiply<T>(ffn.up, x);
  for (std::size_t i = 0; i < inner.size(); ++i) inner[i] = inner[i] / (T(1) + std::exp(-inner[i])) * up[i];
  return multiply<T>(ffn.down, inner);
}

template <class T>
void ReferenceModel<T>::feed_forward(const Layer& layer, std::span<T> residual_row) const {
  const std::vector<T> x = normalised<T>(residual_row, layer.post_attention_norm, config_.rms_norm_eps);
  const std::vector<T> weights = layer.router.empty() ? std::vector<T>{T(1)} : routing_weights(layer, x);
  std::vector<T> total(residual_row.size(), T(0));
  for (std::size_t expert = 0; expert < weights.size(); ++expert) {
    if (weights[expert] == T(0)) continue;
    const std::vector<T> out = apply_ffn(layer.experts[expert], x);
    for (std::size_t i = 0; i < out.size(); ++i) total[i] += weights[expert] * out[i];
  }
  for (const Ffn& shared : layer.shared) {
    const T gate = layer.shared_gate.empty() ? T(1) : T(1) / (T(1) + std::exp(-multiply<T>(layer.shared_gate, x)[0]));
    const std::vector<T> out = apply_ffn(shared, x);
    for (std::size_t i = 0; i < out.size(); ++i) total[i] += gate * out[i];
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
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    attention(LayerId(l), residual);
    for (std::size_t i = 0; i < tokens.size(); ++i) feed_forward(layers_[l], {residual.data() + i * hidden, hidden});
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
