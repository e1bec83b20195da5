// SPDX-License-Identifier: Apache-2.0
// What the policies did: replicas, capacity, rebalancing.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/report/colors.hpp"
#include "app/report/figures.hpp"
#include "app/report/markup.hpp"
#include "app/report/svg.hpp"

namespace moebius::app {
namespace {

std::string ratio(double part, double whole) { return whole > 0 ? fmt::format("{:.2f}", part / whole) : std::string("-"); }

/// Bars beside each other: what a change was to save, and what it saved.
std::string gains_figure(const std::vector<io::PlacementChange>& changes) {
  double most = 0, least = 0;
  for (const io::PlacementChange& change : changes) {
    for (const double gain : {change.predicted_gain_s, change.measured_gain_s}) {
      if (!std::isfinite(gain)) continue;
      most = std::max(most, gain);
      least = std::min(least, gain);
    }
  }
  if (most <= 0 && least >= 0) most = 1e-3;
  const Box area{92, 10, Svg::page_width - 110, 190};
  Svg svg(Svg::page_width, area.y + area.height + 46, "Predicted and measured gain of each change");
  const Scale y{least * 1.05, most * 1.05, area.y + area.height, area.y};
  for (const double tick : ticks(y.from, y.to, 4)) {
    svg.line(area.x, y(tick), area.x + area.width, y(tick), tick == 0 ? "axis" : "grid");
    svg.text(area.x - 7, y(tick) + 4, duration(tick), Anchor::end);
  }
  svg.text_upwards(15, area.y + area.height / 2, "time saved");
  const double step = area.width / static_cast<double>(changes.size()), width = std::min(step * 0.36, 40.0);
  const auto every = static_cast<std::size_t>(std::max(1.0, std::ceil(30 / step)));
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const double middle = area.x + (static_cast<double>(i) + 0.5) * step;
    const auto bar = [&](double x, double gain, std::size_t color, std::string_view name) {
      if (!std::isfinite(gain)) return;
      svg.rect({x, std::min(y(gain), y(0)), width, std::abs(y(gain) - y(0))}, line_color(color),
               fmt::format("generation {}, {}: {}", changes[i].generation, name, duration(gain)));
    };
    bar(middle - width, changes[i].predicted_gain_s, 5, "predicted");
    bar(middle, changes[i].measured_gain_s, 0, "measured");
    if (i % every == 0) svg.text(middle, area.y + area.height + 18, std::to_string(changes[i].generation), Anchor::middle);
  }
  svg.text(area.x + area.width / 2, area.y + area.height + 38, "generation of the placement that began", Anchor::middle);
  return legend({{line_color(5), "predicted"}, {line_color(0), "measured"}}) + "<figure>" + svg.take() + "</figure>\n";
}

/// What moving experts cost each rank.
std::string cost_table(const std::vector<io::RankRebalance>& ranks) {
  if (ranks.empty()) return "";
  std::vector<std::vector<std::string>> rows;
  for (const io::RankRebalance& rank : ranks) {
    rows.push_back({std::to_string(rank.rank), whole_number(rank.experts_received), byte_count(static_cast<double>(rank.bytes_staged)),
                    duration(rank.staging_s), duration(rank.total_s), duration(rank.largest_stall_s), duration(rank.longest_expert_call_s)});
  }
  return "<h3>What the changes cost each rank</h3>\n" + table({{"rank"},
                                                               {"experts received"},
                                                               {"weights copied"},
                                                               {"copying"},
                                                               {"all time spent"},
                                                               {"longest in one turn of the loop"},
                                                               {"longest expert call"}},
                                                              rows);
}

}  // namespace

std::string activation_section(const ReportData& data) {
  constexpr std::string_view title = "Experts activated by micro-batches";
  const io::ExpertActivation& a = data.activation;
  std::vector<std::vector<std::string>> rows;
  for (std::size_t layer = 0; layer < a.micro_batches.size(); ++layer) {
    const auto batches = static_cast<double>(a.micro_batches[layer]);
    if (batches == 0) continue;
    double activated = 0, sent = 0, hosts = 0;
    for (std::size_t rank = 0; rank < static_cast<std::size_t>(a.num_ranks); ++rank) {
      const std::size_t cell = layer * static_cast<std::size_t>(a.num_ranks) + rank;
      activated += static_cast<double>(a.activated[cell]);
      sent += static_cast<double>(a.rows[cell]);
      hosts += a.activated[cell] > 0;
    }
    rows.push_back({std::to_string(layer), whole_number(a.micro_batches[layer]), ratio(sent, batches), ratio(activated, batches * hosts),
                    ratio(static_cast<double>(a.largest_activated[layer]), batches),
                    ratio(static_cast<double>(a.largest_rows[layer]) * hosts, sent)});
  }
  if (rows.empty()) return left_out("activation", title, "No micro-batch was sent to experts, or these results do not tell.");
  return section(
      data, "activation", title,
      fmt::format(
          "For each layer, in the mean over micro-batches. An activated expert is a physical one with at least one row: its {} of weights are read.",
          byte_count(static_cast<double>(a.expert_weight_bytes))),
      table({{"layer"},
             {"micro-batches"},
             {"rows sent"},
             {"activated on a rank, mean"},
             {"activated on a rank, most"},
             {"rows of the busiest rank over the mean"}},
            rows));
}

std::string capacity_section(const ReportData& data) {
  const io::CapacityTable& c = data.capacity;
  if (c.kept.empty()) return "";
  std::vector<std::vector<std::string>> rows;
  for (std::size_t layer = 0; layer < c.kept.size(); ++layer) {
    const double asked = static_cast<double>(c.kept[layer] + c.dropped[layer]);
    if (asked == 0) continue;
    rows.push_back({std::to_string(layer), whole_number(c.micro_batches[layer]), whole_number(c.cut[layer]), whole_number(c.kept[layer]),
                    whole_number(c.dropped[layer]), percent(static_cast<double>(c.dropped[layer]) / asked), whole_number(c.added[layer])});
  }
  return section(data, "capacity", "Capacity of the experts",
                 "Pairs of rows and experts that the router chose: kept, or dropped and neither sent nor computed; and others that took their place.",
                 table({{"layer"}, {"micro-batches"}, {"with a capacity"}, {"kept"}, {"dropped"}, {"share dropped"}, {"added"}}, rows));
}

std::string rebalance_section(const ReportData& data) {
  constexpr std::string_view title = "Changes of the placement: predicted and measured";
  if (data.changes.empty()) return left_out("rebalance", title, "The placement did not change during this run.");
  std::vector<std::vector<std::string>> rows;
  for (const io::PlacementChange& change : data.changes) {
    const double difference = (change.measured_gain_s - change.predicted_gain_s) / std::abs(change.predicted_gain_s);
    rows.push_back({std::to_string(change.generation), duration(change.time_s), std::to_string(change.num_moves),
                    byte_count(static_cast<double>(change.bytes)), duration(change.staging_s), duration(change.rank_s),
                    duration(change.cost_s), duration(change.predicted_gain_s), duration(change.measured_gain_s), percent(difference)});
  }
  return section(data, "rebalance", title,
                 "The time that each change of the placement was to save over the horizon of its decision, and the time that it saved; without a "
                 "second bar that was not measured.",
                 gains_figure(data.changes) +
                     table({{"generation"},
                            {"at"},
                            {"experts moved"},
                            {"weights"},
                            {"under way for"},
                            {"ranks copied for"},
                            {"cost counted with"},
                            {"predicted gain"},
                            {"measured gain"},
                            {"difference"}},
                           rows) +
                     cost_table(data.rebalance));
}

}  // namespace moebius::app
