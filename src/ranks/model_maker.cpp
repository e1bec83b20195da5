// SPDX-License-Identifier: Apache-2.0
#include "ranks/model_maker.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
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

NewTensors new_tensors(const ModelConfig& config, DType dtype) {
  NewTensors all;
  for (const model::TensorSpec& spec : model::checkpoint_schema(config)) {
    const Distribution distribution = distribution_of(spec, config.tie_word_embeddings);
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
      fill_run(tensor, element, distribution.mean, deviation, out.subspan(done * element_bytes, count * element_bytes));
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
  const NewTensors all = new_tensors(config, options.shape.dtype);
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
