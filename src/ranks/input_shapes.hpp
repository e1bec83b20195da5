// SPDX-License-Identifier: Apache-2.0
#pragma once
// The sizes of the requests of a job without a tokenizer: tokens that are given as ids are counted, text is taken at a stated number of
// bytes a token. Many requests are estimated from some.

#include <span>
#include <vector>

#include "base/request.hpp"
#include "io/request_file.hpp"
#include "policy/plan_work.hpp"

namespace moebius::ranks {

/// Of English text with the vocabularies of today's models (ours).
constexpr double text_bytes_per_token = 4.0;

/// Nothing is cut to `max_positions` but rolling texts, which become windows; no request has more tokens than that.
policy::RequestShape shape_of(const Request& request, int max_positions);
/// Of all lines: at most `most_read` of them are read, evenly spread, and stand for their neighbours.
std::vector<policy::RequestShape> shapes_of(const io::RequestFile& file, std::span<const io::RequestFile::Line> lines, int max_positions,
                                            std::size_t most_read = 2000);

}  // namespace moebius::ranks
