// SPDX-License-Identifier: Apache-2.0
#include "app/report/page.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "app/report/figures.hpp"
#include "app/report/markup.hpp"

namespace moebius::app {
namespace {

constexpr std::string_view style = R"(
:root { color-scheme: light; }
body { margin: 0 auto; padding: 24px 28px 60px; max-width: 1060px; background: #fff; color: #1a1a1a;
  font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 26px; margin: 8px 0 2px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 44px 0 4px; border-top: 1px solid #ccc; padding-top: 16px; }
p { margin: 4px 0 10px; max-width: 80ch; }
p.cap, p.out { color: #444; }
.emulated { border-left: 5px solid #D55E00; background: #fff4ec; padding: 8px 14px; max-width: none; }
nav { margin: 12px 0; } nav a { margin-right: 14px; color: #004f7c; }
svg { display: block; width: 100%; height: auto; font: 13px system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
figure { margin: 6px 0; overflow-x: auto; } figure > svg { min-width: 620px; }
.t { fill: #1a1a1a; } .c { fill: #000; font-size: 11px; pointer-events: none; } .c.light { fill: #fff; } .small { fill: #333; font-size: 11px; }
.axis { stroke: #444; stroke-width: 1; } .grid { stroke: #e3e3e3; stroke-width: 1; }
.change { stroke: #555; stroke-width: 1.2; stroke-dasharray: 5 4; } .frame { fill: none; stroke: #888; stroke-width: 1; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 6px 0; padding: 0; font-size: 14px; }
.legend li { display: flex; align-items: center; gap: 6px; } .swatch { width: 14px; height: 14px; outline: 1px solid #999; flex: none; }
.scroll { overflow: auto; max-height: 480px; margin: 8px 0; }
table { border-collapse: collapse; font-size: 14px; } th, td { padding: 3px 14px 3px 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e6e6e6; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; } thead th { border-bottom: 2px solid #999; }
.facts th { font-weight: 600; white-space: nowrap; } .facts td { overflow-wrap: anywhere; } code, pre { font: 13px ui-monospace, Menlo, Consolas, monospace; }
pre { overflow: auto; background: #f6f6f6; padding: 10px; } details { margin: 8px 0; } summary { cursor: pointer; }
@media print { body { max-width: none; padding: 0; } .scroll { max-height: none; overflow: visible; } section { break-inside: avoid; } nav { display: none; } }
)";

}  // namespace

std::string section(const ReportData& data, std::string_view id, std::string_view title, std::string_view caption, std::string_view content) {
  const std::string emulated = data.emulation.empty() ? "" : fmt::format(" <strong>Emulated: {}.</strong>", escaped(data.emulation_note));
  return fmt::format("<section id=\"{}\"><h2>{}</h2>\n<p class=\"cap\">{}{}</p>\n{}</section>\n", id, title, caption, emulated, content);
}

std::string left_out(std::string_view id, std::string_view title, std::string_view why) {
  return fmt::format("<section id=\"{}\"><h2>{}</h2>\n<p class=\"out\">{}</p></section>\n", id, title, why);
}

std::vector<const RankCourse*> ranks_shown(const ReportData& data, std::size_t most) {
  const std::size_t all = data.ranks.size(), count = std::min(most, all);
  std::vector<const RankCourse*> shown;
  for (std::size_t i = 0; i < count; ++i) shown.push_back(&data.ranks[i * all / count]);
  return shown;
}

std::string shown_note(const ReportData& data, std::size_t shown) {
  return shown < data.ranks.size() ? fmt::format(" {} of {} ranks are drawn, evenly spread.", shown, data.ranks.size()) : std::string();
}

std::string rank_name(const RankCourse& rank) { return fmt::format("rank {}, {}", rank.rank, rank.role); }

std::string report_page(const ReportData& data) {
  std::string page =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n";
  page += fmt::format("<title>Moebius report: {}</title>\n<style>{}</style></head>\n<body>\n", escaped(data.folder), style);
  page += fmt::format("<h1>Moebius report: {}</h1>\n", escaped(data.folder));
  if (!data.emulation.empty())
    page +=
        fmt::format("<p class=\"emulated\"><strong>Emulated run</strong>: {}. No time below is that of real devices.</p>\n", escaped(data.emulation));
  page +=
      "<nav><a href=\"#phases\">Phases</a><a href=\"#throughput\">Throughput</a><a href=\"#queues\">Queues</a><a href=\"#timeline\">Timeline</a>"
      "<a href=\"#experts\">Experts</a><a href=\"#rebalance\">Rebalancing</a></nav>\n";
  for (const auto& make : {facts_section, phases_section, throughput_section, queues_section, course_section, timeline_section, expert_load_section,
                           rank_load_section, activation_section, capacity_section, rebalance_section}) {
    page += make(data);
  }
  return page + "</body></html>\n";
}

}  // namespace moebius::app
