// SPDX-License-Identifier: Apache-2.0
#include "app/report/svg.hpp"

#include <fmt/format.h>

#include <cmath>

#include "app/report/markup.hpp"

namespace moebius::app {

Svg::Svg(double width, double height, std::string_view label) {
  body_ = fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">\n", width, height, escaped(label));
}

void Svg::rect(const Box& box, std::string_view fill, std::string_view title) {
  body_ += fmt::format("<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" fill=\"{}\"", box.x, box.y, box.width, box.height, fill);
  body_ += title.empty() ? "/>\n" : fmt::format("><title>{}</title></rect>\n", escaped(title));
}

void Svg::frame(const Box& box) {
  body_ += fmt::format("<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" class=\"frame\"/>\n", box.x, box.y, box.width, box.height);
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view css_class) {
  body_ += fmt::format("<line x1=\"{:.2f}\" y1=\"{:.2f}\" x2=\"{:.2f}\" y2=\"{:.2f}\" class=\"{}\"/>\n", x1, y1, x2, y2, css_class);
}

void Svg::text(double x, double y, std::string_view text, Anchor anchor, std::string_view css_class) {
  const char* where = anchor == Anchor::start ? "start" : anchor == Anchor::middle ? "middle" : "end";
  body_ += fmt::format("<text x=\"{:.2f}\" y=\"{:.2f}\" text-anchor=\"{}\" class=\"{}\">{}</text>\n", x, y, where, css_class, escaped(text));
}

void Svg::text_upwards(double x, double y, std::string_view text) {
  body_ += fmt::format("<text x=\"{0:.2f}\" y=\"{1:.2f}\" text-anchor=\"middle\" class=\"t\" transform=\"rotate(-90 {0:.2f} {1:.2f})\">{2}</text>\n",
                       x, y, escaped(text));
}

void Svg::curve(const std::vector<std::pair<double, double>>& points, std::string_view color, double width) {
  body_ += "<polyline points=\"";
  for (const auto& [x, y] : points) body_ += fmt::format("{:.1f},{:.1f} ", x, y);
  body_ += fmt::format("\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\"/>\n", color, width);
}

void Svg::boxes(const std::vector<Box>& boxes, std::string_view fill) {
  if (boxes.empty()) return;
  body_ += "<path d=\"";
  for (const Box& box : boxes) body_ += fmt::format("M{:.1f} {:.2f}h{:.1f}v{:.2f}h{:.1f}z", box.x, box.y, box.width, box.height, -box.width);
  body_ += fmt::format("\" fill=\"{}\"/>\n", fill);
}

std::string Svg::take() { return std::move(body_) + "</svg>\n"; }

std::vector<double> ticks(double from, double to, int wanted) {
  const double rough = (to - from) / wanted;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = power * 10;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough * 0.999) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> values;
  for (double i = std::ceil(from / step - 1e-9); i * step <= to + 1e-9 * step; ++i) values.push_back(i == 0 ? 0.0 : i * step);  // not -0
  return values;
}

Scale time_axis(Svg& svg, const Box& area, double from_s, double to_s, std::string_view name) {
  const Scale scale{from_s, to_s > from_s ? to_s : from_s + 1e-9, area.x, area.x + area.width};
  const double length = scale.to - scale.from;
  const double unit = length < 2e-3 ? 1e-6 : length < 2 ? 1e-3 : 1;
  const char* unit_name = unit == 1 ? "s" : unit == 1e-3 ? "ms" : "\xC2\xB5s";
  const double bottom = area.y + area.height;
  for (const double tick : ticks(scale.from / unit, scale.to / unit, 8)) {
    const double x = scale(tick * unit);
    svg.line(x, bottom, x, bottom + 5, "axis");
    svg.text(x, bottom + 19, fmt::format("{:.10g}", tick), Anchor::middle);
  }
  svg.line(area.x, bottom, area.x + area.width, bottom, "axis");
  svg.text(area.x + area.width / 2, bottom + 38, fmt::format("{} ({})", name, unit_name), Anchor::middle);
  return scale;
}

Scale value_axis(Svg& svg, const Box& area, double largest, std::string_view name) {
  if (!(largest > 0)) largest = 1;
  const double bottom = area.y + area.height;
  const Scale scale{0, largest * 1.05, bottom, area.y};
  for (const double tick : ticks(0, scale.to, 4)) {
    const double y = scale(tick);
    svg.line(area.x, y, area.x + area.width, y, "grid");
    svg.text(area.x - 7, y + 4, short_number(tick), Anchor::end);
  }
  svg.text_upwards(15, area.y + area.height / 2, name);
  return scale;
}

}  // namespace moebius::app
