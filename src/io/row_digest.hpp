// SPDX-License-Identifier: Apache-2.0
#pragma once
// The digest that compares runs. Anyone may use it.
// It covers what a row says (custom_id, choice, status, counts, tokens, bits of log-probs, text) and not
// where it stood (input_line) or how an error is worded (message). The digest of a run is the sum over its
// rows, so it depends neither on their order nor on which rank wrote them. FORMAT.md gives the exact bytes.

#include "base/hash.hpp"
#include "base/request.hpp"

namespace moebius::io {

/// Equal rows give equal digests on every machine. Every NaN counts as the same NaN, since its sign and
/// payload say nothing; -0.0 and 0.0 differ. Trailing -1 of a position's top-k do not count, so a row
/// stored in a wider table keeps its digest.
Digest128 row_digest(const Row& row);

/// How many of the `width` top-k entries that start at `ids` are there: up to the last that is not -1.
int num_topk(const TokenId* ids, int width);

}  // namespace moebius::io
