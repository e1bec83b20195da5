// SPDX-License-Identifier: Apache-2.0
#include "ranks/model_maker.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <numeric>
#include <optional>
#include <vector>

#include "base/bf16.hpp"
#include "base/check.hpp"
#include "base/f16.hpp"
#include "base/f8.hpp"
#include "base/hash.hpp"
#include "base/model_config.hpp"
#include "base/random.hpp"
#include "io/model_files.hpp"
#include "io/safetensors_writer.hpp"
#include "model/family.hpp"

namespace moebius::ranks {
namespace {

constexpr std::size_t num_quantiles = 65536;
/// Spread of the logarithm of a router row's length: the busiest of 32 experts gets about three times the
/// mean of the rows.
constexpr double router_spread = 0.2;
constexpr double bias_deviation = 0.02;

/// The middle of each of 65536 equally probable parts of the standard normal distribution.
std::vector<float> normal_quantiles() {
  std::vector<float> quantiles(num_quantiles);
  double x = 0;  // Newton's method from the quantile before; the upper half mirrors the lower
  for (std::size_t i = num_quantiles / 2; i < num_quantiles; ++i) {
    const double probability = (static_cast<double>(i) + 0.5) / num_quantiles;
    for (int step = 0; step < 6; ++step) {
      const double above = 0.5 * std::erfc(x / std::numbers::sqrt2) - (1.0 - probability);
      x += above / (std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::numbers::pi));
    }
    quantiles[i] = static_cast<float>(x);
    quantiles[num_quantiles - 1 - i] = static_cast<float>(-x);
  }
  return quantiles;
}

template <class Stored, class Convert>
void store(std::span<const std::uint32_t> words, std::size_t skip, std::span<const float> quantiles, float mean, float deviation,
           std::span<std::byte> out, Convert convert) {
  for (std::size_t i = 0; i < out.size() / sizeof(Stored); ++i) {
    const std::size_t at = skip + i;
    const std::uint32_t uniform = words[at / 2] >> (at % 2 * 16) & 0xffffU;
    const Stored stored = convert(mean + deviation * quantiles[uniform]);
    std::memcpy(out.data() + i * sizeof(Stored), &stored, sizeof(Stored));
  }
}

/// How the numbers of a tensor are distributed.
struct Distribution {
  double mean = 0, deviation = 0;
  bool rows_differ = false;  ///< in length, by a lognormal factor
  std::vector<float> first_column;  ///< of a matrix: one number for all rows, or one for each; empty: like the others
};

Distribution distribution_of(const model::TensorSpec& spec, bool tied) {
  using Role = model::TensorRole;
  switch (spec.role) {
    case Role::final_norm:
    case Role::input_norm:
    case Role::post_attention_norm:
    case Role::q_norm:
    case Role::k_norm:
    case Role::q_a_norm:
    case Role::kv_a_norm: return {.mean = 1};
    case Role::q_bias:
    case Role::k_bias:
    case Role::v_bias:
    case Role::router_bias: return {.deviation = bias_deviation};
    default: break;
  }
  // Embeddings as large as what the layers add: a token stays itself, and experts differ between tokens. Where
  // they are the LM head too they are a product's weights.
  if (spec.role == Role::embedding && !tied) return {.deviation = 1};
  return {.deviation = 1.0 / std::sqrt(static_cast<double>(spec.shape.back())), .rows_differ = spec.role == Role::router};
}

/// Numbers of experts by falling popularity, another order in every layer.
std::vector<std::size_t> expert_ranking(std::size_t num_experts, std::uint64_t seed, const std::string& router_name) {
  std::vector<std::size_t> order(num_experts);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t left = num_experts; left > 1; --left) {
    const double uniform = philox_uniform(seed + 2, xxh3_64(router_name), static_cast<std::uint32_t>(left));
    std::swap(order[left - 1], order[static_cast<std::size_t>(uniform * static_cast<double>(left))]);
  }
  return order;
}

/// What has to be added to independent normal logits, one wide, so that the largest is that of expert r with a probability in
/// proportion to (1 + r)^-skew. Falling; the mean is 0.
std::vector<double> zipf_logits(std::size_t num_experts, double skew) {
  std::vector<double> wanted(num_experts), added(num_experts), probability(num_experts), log_below(num_experts);
  for (std::size_t r = 0; r < num_experts; ++r) wanted[r] = std::pow(1.0 + static_cast<double>(r), -skew);
  const double sum = std::accumulate(wanted.begin(), wanted.end(), 0.0);
  for (double& w : wanted) w /= sum;
  constexpr int rounds = 200;
  constexpr double step = 0.05, reach = 6.0;  // of the sum that stands for the integral, and how far it goes
  for (int round = 0; round < rounds; ++round) {
    const auto [lowest, highest] = std::ranges::minmax(added);
    std::ranges::fill(probability, 0.0);
    for (double x = lowest - reach; x < highest + reach; x += step) {
      // The probability that all others lie below x, times that of x.
      double all_below = 0;
      for (std::size_t r = 0; r < num_experts; ++r) all_below += log_below[r] = std::log(std::max(1e-300, 0.5 * std::erfc((added[r] - x) / std::numbers::sqrt2)));
      for (std::size_t r = 0; r < num_experts; ++r) {
        const double distance = x - added[r];
        probability[r] += step / std::sqrt(2 * std::numbers::pi) * std::exp(all_below - log_below[r] - 0.5 * distance * distance);
      }
    }
    double mean = 0;
    for (std::size_t r = 0; r < num_experts; ++r) {
      added[r] += 0.4 * std::log(wanted[r] / std::max(probability[r], 1e-300));
      mean += added[r] / static_cast<double>(num_experts);
    }
    for (double& a : added) a -= mean;
  }
  return added;
}

/// Makes the experts of a layer popular by Zipf's law: the one of rank r is the first choice of a share of tokens in proportion
/// to (1 + r)^-skew.
///
/// Families without a bias in the router need a direction that all hidden states share. The first number of every
/// embedding is that one: a constant, large beside what the layers add to it, since with a skew they add less (their last
/// products are 1 / sqrt(2 layers) as wide). Only routers read it: router rows have there what makes their expert popular,
/// all other weights that would meet it are 0, so that tokens do not grow alike.
class RouterSkew {
 public:
  RouterSkew(const ModelConfig& config, double skew, std::uint64_t seed)
      : seed_(seed),
        embedding_deviation_(config.tie_word_embeddings ? 1.0 / std::sqrt(static_cast<double>(config.hidden_size)) : 1.0),
        constant_(0.5 * std::sqrt(static_cast<double>(config.hidden_size))),
        narrower_(embedding_deviation_ / std::sqrt(2.0 * config.num_layers)),
        logits_(zipf_logits(static_cast<std::size_t>(config.num_experts), skew)) {}

  void apply(const model::TensorSpec& spec, Distribution& distribution) const {
    using Role = model::TensorRole;
    switch (spec.role) {
      case Role::embedding: distribution.first_column = {static_cast<float>(constant_ * embedding_deviation_)}; return;
      case Role::router:
        distribution.rows_differ = false;
        distribution.first_column = router_column(spec);
        return;
      case Role::router_bias: distribution.deviation = 0; return;
      case Role::o_proj:
      case Role::dense_down:
      case Role::shared_down:
      case Role::expert_down: distribution.deviation *= narrower_; return;
      case Role::lm_head:
      case Role::q_proj:
      case Role::k_proj:
      case Role::v_proj:
      case Role::q_a_proj:
      case Role::kv_a_proj:
      case Role::dense_gate:
      case Role::dense_up:
      case Role::shared_gate:
      case Role::shared_up:
      case Role::shared_expert_gate:
      case Role::expert_gate:
      case Role::expert_up: distribution.first_column = {0.0F}; return;
      default: return;
    }
  }

 private:
  [[nodiscard]] std::vector<float> router_column(const model::TensorSpec& spec) const {
    std::vector<float> column(logits_.size());
    const std::vector<std::size_t> order = expert_ranking(logits_.size(), seed_, spec.name);
    for (std::size_t rank = 0; rank < logits_.size(); ++rank) column[order[rank]] = static_cast<float>(logits_[rank] / constant_);
    return column;
  }

  std::uint64_t seed_;
  double embedding_deviation_, constant_, narrower_;
  std::vector<double> logits_;  // [num_experts], falling
};

/// DeepSeek-V3 ships FP8 for the matrices of products, but not for embedding, LM head, router and what is small.
bool published_in_fp8(const model::TensorSpec& spec) {
  using Role = model::TensorRole;
  if (spec.shape.size() != 2) return false;
  switch (spec.role) {
    case Role::embedding:
    case Role::lm_head:
    case Role::router:
    case Role::shared_expert_gate: return false;
    default: return true;
  }
}

struct NewTensors {
  std::vector<io::NewTensor> tensors;
  std::vector<Distribution> distributions;  // [tensors.size()]
  void add(std::string name, DType dtype, std::vector<std::int64_t> shape, const Distribution& distribution) {
    tensors.push_back({std::move(name), dtype, std::move(shape)});
    distributions.push_back(distribution);
  }
};

NewTensors new_tensors(const ModelConfig& config, const MakeModelOptions& options) {
  const DType dtype = options.shape.dtype;
  std::optional<RouterSkew> skew;
  if (options.shape.router_skew) skew.emplace(config, *options.shape.router_skew, options.seed);
  NewTensors all;
  for (const model::TensorSpec& spec : model::checkpoint_schema(config)) {
    Distribution distribution = distribution_of(spec, config.tie_word_embeddings);
    if (skew) skew->apply(spec, distribution);
    if (dtype == DType::f8_e4m3 && published_in_fp8(spec)) {
      // The largest quantile is 4.3: codes use most of the range up to 448.
      constexpr double stretch = 100, scales_differ = 0.05;
      constexpr std::int64_t block = 128;
      all.add(spec.name, DType::f8_e4m3, spec.shape, {.deviation = stretch});
      const double scale = distribution.deviation / stretch;
      all.add(spec.name + "_scale_inv", DType::f32, {(spec.shape[0] + block - 1) / block, (spec.shape[1] + block - 1) / block},
              {.mean = scale, .deviation = scales_differ * scale});
    } else {
      // The correction bias is published in fp32 whatever the weights are: it decides between close scores.
      const bool exact = spec.role == model::TensorRole::router_bias;
      all.add(spec.name, exact ? DType::f32 : dtype == DType::f8_e4m3 ? DType::bf16 : dtype, spec.shape, distribution);
    }
  }
  return all;
}

class WeightSource {
 public:
  WeightSource(const NewTensors& all, std::uint64_t seed) : all_(all), seed_(seed) {}

  /// An io::TensorSource.
  void fill(std::size_t tensor_idx, std::int64_t first_element, std::span<std::byte> out) {
    const io::NewTensor& tensor = all_.tensors[tensor_idx];
    const Distribution& distribution = all_.distributions[tensor_idx];
    const std::size_t element_bytes = dtype_bytes(tensor.dtype), num_elements = out.size() / element_bytes;
    const auto row_elements = static_cast<std::size_t>(distribution.rows_differ ? tensor.shape.back() : tensor.num_bytes());
    for (std::size_t done = 0; done < num_elements;) {
      const auto element = static_cast<std::size_t>(first_element) + done;
      const std::size_t count = std::min({num_elements - done, row_elements - element % row_elements, run_elements});
      double deviation = distribution.deviation;
      if (distribution.rows_differ) deviation *= row_factor(tensor.name, element / row_elements);
      const auto run = out.subspan(done * element_bytes, count * element_bytes);
      fill_run(tensor, element, distribution.mean, deviation, run);
      if (!distribution.first_column.empty()) fill_first_column(tensor, element, distribution.first_column, run);
      done += count;
    }
  }

 private:
  /// Random words of a run stay in the first-level cache.
  static constexpr std::size_t run_elements = 8192;

  [[nodiscard]] double row_factor(const std::string& name, std::size_t row) const {
    const double uniform = philox_uniform(seed_ + 1, xxh3_64(name), static_cast<std::uint32_t>(row));
    return std::exp(router_spread * quantiles_[static_cast<std::size_t>(uniform * num_quantiles)]);
  }

  /// Puts the numbers of the first column over those of a run that lie in it.
  static void fill_first_column(const io::NewTensor& tensor, std::size_t first_element, std::span<const float> column, std::span<std::byte> run) {
    const auto columns = static_cast<std::size_t>(tensor.shape.back());
    const std::size_t element_bytes = dtype_bytes(tensor.dtype), end = first_element + run.size() / element_bytes;
    for (std::size_t at = (first_element + columns - 1) / columns * columns; at < end; at += columns) {
      const float value = column[std::min(at / columns, column.size() - 1)];
      std::byte* place = run.data() + (at - first_element) * element_bytes;
      if (value == 0) {
        std::memset(place, 0, element_bytes);  // in every type, FP8 too
      } else if (tensor.dtype == DType::f32) {
        std::memcpy(place, &value, sizeof(value));
      } else {
        const std::uint16_t bits = tensor.dtype == DType::f16 ? to_f16(value).bits : to_bf16(value).bits;
        std::memcpy(place, &bits, sizeof(bits));
      }
    }
  }

  /// A draw of four words makes eight numbers.
  void fill_run(const io::NewTensor& tensor, std::size_t element, double mean, double deviation, std::span<std::byte> out) {
    const std::size_t first_draw = element / 8, skip = element % 8;
    const std::size_t num_elements = out.size() / dtype_bytes(tensor.dtype);
    words_.resize((skip + num_elements + 7) / 8 * 4);
    philox_words(seed_, xxh3_64(tensor.name), first_draw, words_);
    const auto m = static_cast<float>(mean), d = static_cast<float>(deviation);
    switch (tensor.dtype) {
      case DType::f32: return store<float>(words_, skip, quantiles_, m, d, out, [](float x) { return x; });
      case DType::f16: return store<std::uint16_t>(words_, skip, quantiles_, m, d, out, [](float x) { return to_f16(x).bits; });
      case DType::bf16: return store<std::uint16_t>(words_, skip, quantiles_, m, d, out, [](float x) { return to_bf16(x).bits; });
      case DType::f8_e4m3: return store<std::uint8_t>(words_, skip, quantiles_, m, d, out, [](float x) { return to_f8_e4m3(x).bits; });
      default: MOEBIUS_EXPECT(tensor.dtype == DType::f32);
    }
  }

  const NewTensors& all_;
  std::uint64_t seed_;
  std::vector<float> quantiles_ = normal_quantiles();
  std::vector<std::uint32_t> words_;
};

}  // namespace

std::int64_t make_model(const std::filesystem::path& directory, const MakeModelOptions& options, const MakeProgress& progress) {
  io::write_model_config(directory, options.shape);
  // Read back: the tensors are those that the loader will look for, and what it refuses is refused here.
  const ModelConfig config = io::read_model_config(directory);
  if (options.tokenizer_from.empty()) {
    io::write_byte_tokenizer(directory, config.vocab_size);
  } else {
    io::copy_tokenizer(options.tokenizer_from, directory);
  }
  const NewTensors all = new_tensors(config, options);
  std::int64_t total = 0, done = 0;
  for (const io::NewTensor& tensor : all.tensors) total += tensor.num_bytes();
  WeightSource source(all, options.seed);
  return io::write_checkpoint(
      directory, all.tensors,
      [&](std::size_t tensor_idx, std::int64_t first_element, std::span<std::byte> out) {
        source.fill(tensor_idx, first_element, out);
        progress(done += static_cast<std::int64_t>(out.size()), total);
      },
      options.max_shard_bytes);
}

}  // namespace moebius::ranks
