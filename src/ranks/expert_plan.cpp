// SPDX-License-Identifier: Apache-2.0
#include "ranks/expert_plan.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "io/placement_file.hpp"
#include "io/results_reader.hpp"

namespace moebius::ranks {
namespace {

[[noreturn]] void bad_job(const std::string& message) { throw Failure{ExitCode::bad_usage, message}; }

std::vector<policy::LayerMap> load_maps(const std::string& path, const ModelConfig& config, int num_ranks) {
  const io::PlacementFile file = io::read_placement_file(path);
  const std::vector<int> wanted = experts_per_layer(config);
  if (file.num_ranks != num_ranks || file.num_experts != config.num_experts || file.expert.size() != wanted.size()) {
    bad_job(fmt::format("placement.file {} is of another job (it has {} layers of {} experts on {} expert ranks; this job {}, {} and {}) make "
                        "one with moebius place for this model and number of ranks",
                        path, file.expert.size(), file.num_experts, file.num_ranks, wanted.size(), config.num_experts, num_ranks));
  }
  std::vector<policy::LayerMap> maps;
  for (std::size_t layer = 0; layer < wanted.size(); ++layer) {
    std::size_t num_places = 0;
    for (const auto& places : file.expert[layer]) num_places = std::max(num_places, places.size());
    policy::LayerMap& map = maps.emplace_back(num_ranks, static_cast<int>(num_places));
    for (std::size_t rank = 0; rank < file.expert[layer].size(); ++rank) {
      const auto& places = file.expert[layer][rank];
      for (std::size_t place = 0; place < places.size(); ++place) map.set(static_cast<int>(rank), static_cast<int>(place), places[place]);
    }
    if (wanted[layer] == 0 && num_places > 0) bad_job(fmt::format("placement.file {}: layer {} has experts (in the model it is dense) name a file of this model", path, layer));
    if (const std::string problem = policy::problem_of(map, wanted[layer]); !problem.empty()) {
      bad_job(fmt::format("placement.file {}: layer {} cannot be used ({}) correct it", path, layer, problem));
    }
  }
  return maps;
}

}  // namespace

std::vector<int> experts_per_layer(const ModelConfig& config) {
  std::vector<int> counts;
  for (int layer = 0; layer < config.num_layers; ++layer) counts.push_back(config.is_moe(LayerId(layer)) ? config.num_experts : 0);
  return counts;
}

double slowdown_of(const Job& job, int expert_rank_idx) {
  const auto& factors = job.placement.emulated_slowdown;
  const auto idx = static_cast<std::size_t>(expert_rank_idx);
  return idx < factors.size() ? factors[idx] : 1.0;
}

std::vector<policy::SpeedCurve> speed_curves(const Job& job, int num_expert_ranks) {
  if (job.placement.emulated_slowdown.size() > static_cast<std::size_t>(num_expert_ranks)) {
    bad_job(fmt::format("placement.emulated_slowdown has {} numbers (there are {} expert ranks) give at most one for each",
                        job.placement.emulated_slowdown.size(), num_expert_ranks));
  }
  std::vector<policy::SpeedCurve> curves(static_cast<std::size_t>(num_expert_ranks));
  if (!job.placement.profile.empty()) {
    const io::SpeedProfile profile = io::read_speed_profile(job.placement.profile);
    if (profile.curves.size() != curves.size()) {
      bad_job(fmt::format("placement.profile {} has {} ranks (there are {} expert ranks) run moebius profile with this number", job.placement.profile,
                          profile.curves.size(), curves.size()));
    }
    for (std::size_t rank = 0; rank < curves.size(); ++rank) {
      std::vector<policy::SpeedCurve::Point> points;
      for (const auto& point : profile.curves[rank]) points.push_back({point.rows, point.seconds});
      curves[rank] = policy::SpeedCurve(std::move(points));
    }
  }
  for (int rank = 0; rank < num_expert_ranks; ++rank) {
    auto& curve = curves[static_cast<std::size_t>(rank)];
    curve = curve.slowed(slowdown_of(job, rank));
  }
  return curves;
}

policy::PlacementTask placement_task(const Job& job, const ModelConfig& config, int num_expert_ranks) {
  return {.num_experts = config.num_experts,
          .num_groups = config.router.num_groups,
          .num_nodes = job.placement.nodes,
          .ratio = job.replicas.ratio,
          .curves = speed_curves(job, num_expert_ranks)};
}

policy::LayerTrace layer_trace(const io::RoutingTrace& trace, int layer) {
  policy::LayerTrace result{trace.num_steps, trace.num_experts, {}};
  const auto width = static_cast<std::size_t>(trace.num_experts);
  for (int step = 0; step < trace.num_steps; ++step) {
    const std::size_t first = (static_cast<std::size_t>(step) * static_cast<std::size_t>(trace.num_layers) + static_cast<std::size_t>(layer)) * width;
    result.rows.insert(result.rows.end(), trace.rows.begin() + static_cast<std::ptrdiff_t>(first),
                       trace.rows.begin() + static_cast<std::ptrdiff_t>(first + width));
  }
  return result;
}

io::RoutingTrace read_trace(const std::string& directory, const ModelConfig& config) {
  io::RoutingTrace trace = io::ResultsReader(directory).routing_trace();
  if (trace.step_tokens == 0) {
    bad_job(fmt::format("no routing trace in {} (that run did not record it) run it with placement.record_trace = true", directory));
  }
  if (trace.num_layers != config.num_layers || trace.num_experts != config.num_experts) {
    bad_job(fmt::format("the routing trace in {} is of another model ({} layers of {} experts; this one has {} of {}) record one with this model",
                        directory, trace.num_layers, trace.num_experts, config.num_layers, config.num_experts));
  }
  return trace;
}

std::vector<policy::LayerMap> plan_experts(const Job& job, const ModelConfig& config, const policy::RankLayout& layout) {
  const int num_expert_ranks = static_cast<int>(layout.expert_ranks.size());
  if (layout.replicated) return policy::whole_models(experts_per_layer(config), num_expert_ranks);
  if (!job.placement.file.empty()) return load_maps(job.placement.file, config, num_expert_ranks);
  if (job.placement.trace.empty() && policy::needs_trace(job.placement.planner)) {
    bad_job(fmt::format("placement.planner is {} (it plans from loads, and placement.trace is empty) name results of a run with "
                        "placement.record_trace = true",
                        to_string(job.placement.planner)));
  }
  const policy::PlacementTask task = placement_task(job, config, num_expert_ranks);
  const io::RoutingTrace trace = job.placement.trace.empty() ? io::RoutingTrace{} : read_trace(job.placement.trace, config);
  std::vector<policy::LayerMap> maps;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    if (!config.is_moe(LayerId(layer))) {
      maps.emplace_back(num_expert_ranks, 0);
      continue;
    }
    const policy::LayerTrace loads = trace.num_steps == 0 ? policy::LayerTrace{} : layer_trace(trace, layer).steps(0, job.placement.trace_steps);
    maps.push_back(policy::plan_layer(job.placement.planner, task, loads));
  }
  return maps;
}

std::unique_ptr<policy::TablePlacement> place_experts(const Job& job, const ModelConfig& config, const policy::RankLayout& layout) {
  return std::make_unique<policy::TablePlacement>(plan_experts(job, config, layout), experts_per_layer(config),
                                                  layout.expert_ranks);
}

std::vector<std::byte> to_bytes(const std::vector<policy::LayerMap>& maps) {
  std::vector<std::int32_t> numbers;
  for (const policy::LayerMap& map : maps) {
    numbers.insert(numbers.end(), {map.num_ranks, map.num_places});
    numbers.insert(numbers.end(), map.expert.begin(), map.expert.end());
  }
  const auto view = std::as_bytes(std::span(numbers));
  return {view.begin(), view.end()};
}

std::vector<policy::LayerMap> maps_from_bytes(std::span<const std::byte> bytes) {
  std::vector<std::int32_t> numbers(bytes.size() / sizeof(std::int32_t));
  std::memcpy(numbers.data(), bytes.data(), numbers.size() * sizeof(std::int32_t));
  std::vector<policy::LayerMap> maps;
  for (std::size_t at = 0; at < numbers.size();) {
    MOEBIUS_EXPECT(at + 2 <= numbers.size());
    policy::LayerMap& map = maps.emplace_back(numbers[at], numbers[at + 1]);
    at += 2;
    MOEBIUS_EXPECT(at + map.expert.size() <= numbers.size());
    std::copy_n(numbers.begin() + static_cast<std::ptrdiff_t>(at), map.expert.size(), map.expert.begin());
    at += map.expert.size();
  }
  return maps;
}

std::string full_name(PlannerKind planner) {
  return planner == PlannerKind::gem ? "gem (GEM-style, reconstructed)" : to_string(planner);
}

std::string describe_placement(const Job& job) {
  if (!job.placement.file.empty()) return fmt::format("file {}", job.placement.file);
  std::string text = fmt::format("planner {}", full_name(job.placement.planner));
  if (!job.placement.trace.empty()) text += fmt::format(", {} steps of {}", job.placement.trace_steps, job.placement.trace);
  if (!job.placement.profile.empty()) text += fmt::format(", speeds of {}", job.placement.profile);
  return text;
}

std::string describe_router(const ModelConfig& config) {
  return config.router_skew ? fmt::format("Zipf exponent {} (made by make-model)", *config.router_skew) : "none given";
}

std::string describe_capacity(const Job& job) {
  const Job::Capacity& capacity = job.capacity;
  if (capacity.method == CapacityMethod::off) return "off";
  return fmt::format("{}, gamma {}{}, metric {}, scope {}, phase {}, min_mean_load {}: outputs depend on micro-batches", to_string(capacity.method),
                     capacity.gamma, capacity.layer_gamma.empty() ? "" : fmt::format(" (by layer: {})", fmt::join(capacity.layer_gamma, " ")),
                     to_string(capacity.metric), to_string(capacity.scope), to_string(capacity.phase), capacity.min_mean_load);
}

std::string describe_slowdown(const Job& job, int num_expert_ranks) {
  std::string text;
  bool any = false;
  for (int rank = 0; rank < num_expert_ranks; ++rank) {
    text += fmt::format("{}{}", rank == 0 ? "" : " ", slowdown_of(job, rank));
    any = any || slowdown_of(job, rank) != 1.0;
  }
  return any ? text : "none";
}

}  // namespace moebius::ranks
