// SPDX-License-Identifier: Apache-2.0
#pragma once
// Drawings of the report, as SVG inside of the page: shapes, texts, scales and axes. Widths are in units of a page that
// is 960 wide; the browser scales. Texts are escaped here.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moebius::app {

struct Box {
  double x = 0, y = 0, width = 0, height = 0;
};
/// Where a text ends at its point.
enum class Anchor : unsigned char { start, middle, end };

class Svg {
 public:
  static constexpr double page_width = 960;
  /// `label` says to those who cannot see it what the drawing shows.
  Svg(double width, double height, std::string_view label);
  /// A tooltip comes up over it where `title` is given.
  void rect(const Box& box, std::string_view fill, std::string_view title = {});
  void frame(const Box& box);
  void line(double x1, double y1, double x2, double y2, std::string_view css_class);
  void text(double x, double y, std::string_view text, Anchor anchor = Anchor::start, std::string_view css_class = "t");
  /// Upwards, around its point.
  void text_upwards(double x, double y, std::string_view text);
  void curve(const std::vector<std::pair<double, double>>& points, std::string_view color, double width = 1.6);
  /// Many boxes of one colour in one element.
  void boxes(const std::vector<Box>& boxes, std::string_view fill);
  [[nodiscard]] std::string take();

 private:
  std::string body_;
};

/// Values to places.
struct Scale {
  double from = 0, to = 1, begin = 0, end = 1;
  double operator()(double value) const { return begin + (value - from) / (to - from) * (end - begin); }
};

/// Round numbers in [from, to], about `wanted` of them.
std::vector<double> ticks(double from, double to, int wanted);
/// A time axis below `area`, in the unit that suits its length; gives the scale.
Scale time_axis(Svg& svg, const Box& area, double from_s, double to_s, std::string_view name);
/// An axis from 0 to the left of `area`, with lines across it; gives the scale.
Scale value_axis(Svg& svg, const Box& area, double largest, std::string_view name);

}  // namespace moebius::app
