// SPDX-License-Identifier: Apache-2.0
#include "kernels/ffn.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/panel.hpp"
#include "kernels/row_pieces.hpp"
#include "kernels/workspace.hpp"

namespace moebius::kernels {

namespace {

/// product = silu(gate) * up of the rows in x. // both as pieces
void multiply_gated(const KernelTable& kernels, const ExpertFfn& ffn, const float* x, int num_rows, float* product) {
  const int num_panels = (ffn.gate.num_out() + panel_width - 1) / panel_width;
  constexpr int panels_per_strip = max_strip_columns / panel_width;
  const HostRange strips(0, (num_panels + panels_per_strip - 1) / panels_per_strip);
  Kokkos::parallel_for("gate and up", strips, [=, &kernels, &ffn](const int strip) {
    const int first = strip * panels_per_strip;
    kernels.gated_strip(GatedStrip{.type = ffn.gate.type(),
                                   .gate = ffn.gate.panel(0),
                                   .up = ffn.up.panel(0),
                                   .panel_bytes = ffn.gate.panel_bytes(),
                                   .num_in = ffn.gate.num_in(),
                                   .first_panel = first,
                                   .end_panel = std::min(first + panels_per_strip, num_panels),
                                   .x = x,
                                   .num_rows = num_rows,
                                   .product = product});
  });
}

}  // namespace

void FfnScratch::reserve(int num_rows, int width) {
  const std::size_t floats = pieces_size(active_kernels(), ComputeType::fp32, std::min(num_rows, max_strip_rows), width);
  if (floats > product_.size()) product_.resize(floats);
}

void expert_ffn(const ExpertFfn& ffn, RowsView x, int num_rows, RowsOut y, FfnScratch& scratch) {
  const int width = ffn.gate.num_out();
  const int hidden = ffn.gate.num_in();
  MOEBIUS_EXPECT(ffn.up.num_out() == width && ffn.down.num_in() == width && ffn.up.num_in() == hidden);
  MOEBIUS_EXPECT(x.type == ffn.gate.type() && x.type == ffn.up.type() && x.type == ffn.down.type());
  MOEBIUS_EXPECT(num_rows <= 1 || x.rows != nullptr || x.row_stride >= hidden);
  thread_local Workspace workspace;
  const KernelTable& kernels = active_kernels();
  scratch.reserve(num_rows, width);
  for_row_blocks(num_rows, [&](int first_row, int rows) {
    float* pieces = workspace.floats(pieces_size(kernels, x.type, rows, hidden));
    cut_rows(kernels, x, first_row, rows, hidden, pieces);
    multiply_gated(kernels, ffn, pieces, rows, scratch.product_.data());
    multiply_pieces(kernels, ffn.down, scratch.product_.data(), rows, y.from(first_row));
  });
}

}  // namespace moebius::kernels
