// SPDX-License-Identifier: Apache-2.0
#include "policy/device_model.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/failure.hpp"

namespace moebius::policy {
namespace {

/// A tag of a row or of an output, and a (row, expert) pair, as wire.hpp has them.
constexpr double tag_bytes = 8;
/// Hidden states in the residual stream.
constexpr double residual_bytes = 4;

// Rates: NVIDIA H100 Tensor Core GPU datasheet (SXM: 989 TFLOP/s dense bf16, 3.35 TB/s, NVLink 900 GB/s in both directions);
// NVIDIA A100 datasheet (40 GB SXM: 312 TFLOP/s dense bf16, 1.555 TB/s, NVLink 600 GB/s in both directions).
// Efficiency: large products and copies reach 0.65 to 0.85 of either rate on these devices; 0.7 is taken for both (ours).
// Overheads (ours): an expert call is a gather, two products with the activation between them, and a scatter, an attention
// stage about eight kernels; a kernel of a captured graph takes 2 to 3 microseconds beside its work.
// Tile: 64 rows, the least of a warp-group product (PTX wgmma: m64).
constexpr double usual_efficiency = 0.7;
const Device h100{"h100", 989e12, 3.35e12, usual_efficiency, usual_efficiency, 10e-6, 20e-6, 64};
const Device a100{"a100", 312e12, 1.555e12, usual_efficiency, usual_efficiency, 10e-6, 20e-6, 64};

/// Latencies (ours): a put to another device of the node 2 us, over the PCIe switch 4 us, over the network 5 us. Rates of one
/// direction: NVLink by device (above), PCIe 4.0 x16 25 GB/s as measured by many, a 400 Gbit/s port 50 GB/s.
Link preset_link(EmulatedLink link, EmulatedDevice device) {
  switch (link) {
    case EmulatedLink::nvlink: return {"nvlink", 2e-6, device == EmulatedDevice::a100 ? 300e9 : 450e9};
    case EmulatedLink::pcie: return {"pcie", 4e-6, 25e9};
    case EmulatedLink::network: return {"network", 5e-6, 50e9};
    case EmulatedLink::custom: return {"custom", 0, 0};
  }
  return {};
}

void override_with(double& value, double wanted) {
  if (wanted > 0) value = wanted;
}

Device device_of(const Job::Emulation& wanted) {
  Device device = wanted.device == EmulatedDevice::a100 ? a100 : wanted.device == EmulatedDevice::h100 ? h100 : Device{.name = "custom"};
  override_with(device.flops, wanted.flops);
  override_with(device.bytes_per_s, wanted.bytes_per_s);
  override_with(device.efficiency, wanted.efficiency);
  device.attention_efficiency = wanted.attention_efficiency > 0 ? wanted.attention_efficiency : device.efficiency;
  if (wanted.expert_overhead_us > 0) device.expert_overhead_s = 1e-6 * wanted.expert_overhead_us;
  if (wanted.attention_overhead_us > 0) device.attention_overhead_s = 1e-6 * wanted.attention_overhead_us;
  if (wanted.row_tile > 0) device.row_tile = wanted.row_tile;
  if (device.flops <= 0 || device.bytes_per_s <= 0) {
    throw Failure{ExitCode::bad_usage, "emulation.device is \"custom\" (its rates are not known) set emulation.flops and emulation.bytes_per_s"};
  }
  return device;
}

Link link_of(const Job::Emulation& wanted) {
  Link link = preset_link(wanted.link, wanted.device);
  override_with(link.bytes_per_s, wanted.link_bytes_per_s);
  if (wanted.link_latency_us > 0) link.latency_s = 1e-6 * wanted.link_latency_us;
  if (link.bytes_per_s <= 0) {
    throw Failure{ExitCode::bad_usage, "emulation.link is \"custom\" (its rate is not known) set emulation.link_bytes_per_s"};
  }
  return link;
}

std::string shape_of(const ModelConfig& config) {
  return std::to_string(config.num_layers) + " layers, " + std::to_string(std::ranges::count(config.moe_layer, 1)) + " of them with " +
         std::to_string(config.num_experts) + " experts, and " + std::to_string(config.experts_per_token) + " experts for each token";
}

void check_shape(const ModelConfig& published, const ModelConfig& checkpoint, const char* name) {
  if (published.moe_layer == checkpoint.moe_layer && published.num_experts == checkpoint.num_experts &&
      published.experts_per_token == checkpoint.experts_per_token) {
    return;
  }
  throw Failure{ExitCode::bad_usage, std::string("emulation.model ") + name + " does not go with the checkpoint (it has " + shape_of(published) +
                                         "; the checkpoint has " + shape_of(checkpoint) +
                                         ") make a checkpoint of this shape with moebius make-model, or set emulation.shape = "
                                         "\"checkpoint\" to take the published sizes alone"};
}

ModelSizes sizes_of(const Job& job, const ModelConfig& checkpoint) {
  if (job.emulation.model == EmulatedModel::own) return own_sizes(checkpoint, job.model.compute);
  ModelSizes sizes = published_model(job.emulation.model);
  if (job.emulation.shape == EmulatedShape::published) {
    check_shape(sizes.config, checkpoint, to_string(job.emulation.model));
    return sizes;
  }
  sizes.config.num_layers = checkpoint.num_layers;
  sizes.config.moe_layer = checkpoint.moe_layer;
  sizes.config.num_experts = checkpoint.num_experts;
  sizes.config.experts_per_token = checkpoint.experts_per_token;
  sizes.name += ", but " + shape_of(checkpoint);
  return sizes;
}

/// Weights of the attention of a layer.
double attention_weights(const ModelConfig& config) {
  const double hidden = config.hidden_size, heads = config.num_heads;
  if (!config.is_mla()) return hidden * config.head_dim * (2 * heads + 2.0 * config.num_kv_heads);
  const double queries = heads * config.head_dim, latent = config.kv_lora_rank;
  const double q = config.q_lora_rank > 0 ? config.q_lora_rank * (hidden + queries) : hidden * queries;
  return q + hidden * (latent + config.qk_rope_head_dim) + latent * heads * (config.qk_nope_head_dim + config.v_head_dim) + heads * config.v_head_dim * hidden;
}

}  // namespace

void AttentionWork::add_segment(std::int64_t first_position, std::int64_t num_tokens, int window) {
  rows += num_tokens;
  const std::int64_t end = first_position + num_tokens;
  kv_positions += window > 0 ? std::min(end, window + num_tokens - 1) : end;
  // The query at position p sees p + 1 keys, in a window at most `window`.
  const std::int64_t widening = window > 0 ? std::clamp<std::int64_t>(window - first_position, 0, num_tokens) : num_tokens;
  score_pairs += widening * first_position + widening * (widening + 1) / 2 + (num_tokens - widening) * window;
}

StageTimes::StageTimes(Device device, ModelSizes model)
    : device_(std::move(device)),
      model_(std::move(model)),
      attention_weights_(attention_weights(model_.config)) {
  const ModelConfig& config = model_.config;
  const double latent = config.kv_lora_rank + config.qk_rope_head_dim;
  // Latent attention scores and mixes the latent vectors themselves (arXiv 2405.04434, section 2.1.2).
  kv_numbers_ = config.is_mla() ? latent : 2.0 * config.num_kv_heads * config.head_dim;
  flops_per_pair_ = 2.0 * config.num_heads * (config.is_mla() ? latent + config.kv_lora_rank : 2.0 * config.head_dim);
}

StageTimes::StageTimes(std::string name, const StageCosts& costs, ModelSizes model) : StageTimes(Device{.name = std::move(name), .flops = 1, .bytes_per_s = 1}, std::move(model)) {
  costs_ = costs;
}

double StageTimes::line_s(const std::array<double, 2>& cost, std::int64_t rows) { return rows > 0 ? cost[0] + cost[1] * static_cast<double>(rows) : 0.0; }

double StageTimes::roofline_s(double efficiency, double num_weights, std::int64_t rows, double more_flops) const {
  const double tile = device_.row_tile;
  const double computed_rows = std::ceil(tokens_of(rows) / tile) * tile;
  return std::max(num_weights * model_.weight_bytes / device_.bytes_per_s, (2 * computed_rows * num_weights + more_flops) / device_.flops) / efficiency;
}

double StageTimes::attention_roofline_s(double num_weights, std::int64_t rows, double more_flops) const {
  return roofline_s(device_.attention_efficiency, num_weights, rows, more_flops);
}

double StageTimes::ffn_s(int width, std::int64_t rows) const { return rows > 0 ? roofline_s(device_.efficiency, 3.0 * model_.config.hidden_size * width, rows) : 0.0; }

double StageTimes::expert_s(std::int64_t rows) const {
  if (costs_) return costs_->expert[1] * static_cast<double>(rows);  // beside the overhead
  return ffn_s(model_.config.moe_intermediate_size, rows);
}

double StageTimes::attention_s(const AttentionWork& work) const {
  if (costs_) {
    const auto& cost = costs_->attention;
    return cost[0] + cost[1] * static_cast<double>(work.rows) + cost[2] * static_cast<double>(work.score_pairs) + cost[3] * static_cast<double>(work.kv_positions);
  }
  return device_.attention_overhead_s + attention_roofline_s(attention_weights_, work.rows, flops_per_pair_ * model_.tokens_per_row * tokens_of(work.score_pairs)) +
         copy_s(tokens_of(work.kv_positions) * kv_numbers_ * model_.kv_bytes);
}

double StageTimes::router_s(std::int64_t rows) const {
  if (costs_) return 0;  // measured with attention, and so is combine
  return attention_roofline_s(static_cast<double>(model_.config.hidden_size) * model_.config.num_experts, rows);
}

double StageTimes::combine_s(std::int64_t rows) const {
  if (costs_) return 0;
  const double row_bytes = model_.config.hidden_size * (model_.config.experts_per_token * model_.output_bytes + 2 * residual_bytes);
  return copy_s(tokens_of(rows) * row_bytes);
}

double StageTimes::shared_experts_s(std::int64_t rows) const {
  if (costs_) return line_s(costs_->shared, rows);
  return model_.config.shared_intermediate_size > 0 ? expert_overhead_s() + ffn_s(model_.config.shared_intermediate_size, rows) : 0.0;
}

double StageTimes::dense_mlp_s(std::int64_t rows) const {
  if (costs_) return line_s(costs_->dense, rows);
  const ModelConfig& config = model_.config;
  return expert_overhead_s() + ffn_s(config.intermediate_size > 0 ? config.intermediate_size : config.experts_per_token * config.moe_intermediate_size, rows);
}

double StageTimes::lm_head_s(std::int64_t rows) const {
  if (rows == 0) return 0;
  if (costs_) return line_s(costs_->head, rows);
  return device_.attention_overhead_s + attention_roofline_s(static_cast<double>(model_.config.hidden_size) * model_.config.vocab_size, rows);
}

double StageTimes::dispatch_bytes(std::int64_t rows, std::int64_t pairs) const {
  return tokens_of(rows) * model_.config.hidden_size * model_.hidden_bytes + tokens_of(pairs) * tag_bytes;
}

double StageTimes::outputs_bytes(std::int64_t pairs) const {
  return tokens_of(pairs) * (model_.config.hidden_size * model_.output_bytes + tag_bytes);
}

ModelSizes own_sizes(const ModelConfig& config, ComputeType compute) {
  const auto element = static_cast<double>(element_bytes(compute));
  return {.name = "own", .config = config, .weight_bytes = element, .kv_bytes = element, .hidden_bytes = element, .output_bytes = sizeof(float)};
}

Link measured_link(const StageCosts& costs) {
  const bool nodes = costs.link_between_nodes[1] > 0;
  const auto& cost = nodes ? costs.link_between_nodes : costs.link_in_node;
  return {nodes ? "between nodes, measured" : "within a node, measured", cost[0], cost[1] > 0 ? 1 / cost[1] : std::numeric_limits<double>::infinity()};
}

std::optional<Emulation> make_emulation(const Job& job, const ModelConfig& config) {
  if (!job.emulation.on()) return std::nullopt;
  if (job.emulation.device == EmulatedDevice::measured) {
    if (!job.plan.costs.known() || job.emulation.model != EmulatedModel::own) {
      throw Failure{ExitCode::bad_usage, "emulation.device is \"profile\" (it needs measured costs of the checkpoint's own sizes) set plan.profile, and emulation.model = \"own\""};
    }
    if (job.emulation.tokens_per_row > 1) {
      throw Failure{ExitCode::bad_usage, "emulation.tokens_per_row is above 1 (the costs of a profile are those of rows) leave it out, or name a device in emulation.device"};
    }
    return Emulation{StageTimes("the machine of " + job.plan.profile, job.plan.costs, own_sizes(config, job.model.compute)), measured_link(job.plan.costs), job.emulation.dilation};
  }
  ModelSizes sizes = sizes_of(job, config);
  sizes.tokens_per_row = job.emulation.tokens_per_row;
  return Emulation{StageTimes(device_of(job.emulation), std::move(sizes)), link_of(job.emulation), job.emulation.dilation};
}

}  // namespace moebius::policy
