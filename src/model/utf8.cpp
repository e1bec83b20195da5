// SPDX-License-Identifier: Apache-2.0
#include "model/utf8.hpp"

#include <cstdint>

namespace moebius::model {
namespace {

enum class Form : std::uint8_t { good, bad, cut_off };

struct Step {
  std::size_t num_bytes;  ///< of the character, or of the maximal ill-formed part
  Form form;
};

/// What begins at `pos` (table 3-7 of the Unicode standard).
Step step_at(std::string_view bytes, std::size_t pos) {
  const auto first = static_cast<unsigned char>(bytes[pos]);
  if (first < 0x80) return {1, Form::good};
  std::size_t num_more = 0;
  unsigned char low = 0x80, high = 0xbf;  // of the second byte
  if (first >= 0xc2 && first <= 0xdf) {
    num_more = 1;
  } else if (first >= 0xe0 && first <= 0xef) {
    num_more = 2;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
  } else if (first >= 0xf0 && first <= 0xf4) {
    num_more = 3;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
  } else {
    return {1, Form::bad};
  }
  for (std::size_t i = 1; i <= num_more; ++i) {
    if (pos + i == bytes.size()) return {i, Form::cut_off};
    const auto next = static_cast<unsigned char>(bytes[pos + i]);
    if (next < low || next > high) return {i, Form::bad};
    low = 0x80;
    high = 0xbf;
  }
  return {num_more + 1, Form::good};
}

}  // namespace

bool is_utf8(std::string_view bytes) {
  for (std::size_t pos = 0; pos < bytes.size();) {
    const Step step = step_at(bytes, pos);
    if (step.form != Form::good) return false;
    pos += step.num_bytes;
  }
  return true;
}

std::string utf8_lossy(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (std::size_t pos = 0; pos < bytes.size();) {
    const Step step = step_at(bytes, pos);
    text.append(step.form == Form::good ? bytes.substr(pos, step.num_bytes) : std::string_view("\xef\xbf\xbd"));
    pos += step.num_bytes;
  }
  return text;
}

std::size_t settled_utf8_bytes(std::string_view bytes) {
  // An unfinished character has at most three bytes, and its first byte is no continuation byte.
  for (std::size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const std::size_t pos = bytes.size() - back;
    if ((static_cast<unsigned char>(bytes[pos]) & 0xc0) == 0x80) continue;
    return step_at(bytes, pos).form == Form::cut_off ? pos : bytes.size();
  }
  return bytes.size();
}

}  // namespace moebius::model
