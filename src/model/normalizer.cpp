// SPDX-License-Identifier: Apache-2.0
#include "model/normalizer.hpp"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>

#include <utility>

#include "base/failure.hpp"

namespace moebius::model {
namespace {

void check_icu(UErrorCode status, const char* what) {
  if (U_SUCCESS(status)) return;
  throw Failure{ExitCode::internal_error, std::string("ICU failed in ") + what + " (" + u_errorName(status) +
                                              ") check that its data files are installed"};
}

/// NFC into `result`; false where the text is that already.
bool to_nfc(std::string_view text, std::string& result) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
  check_icu(status, "getNFCInstance");
  const icu::StringPiece source(text.data(), static_cast<std::int32_t>(text.size()));
  const bool is_nfc = nfc->isNormalizedUTF8(source, status);
  check_icu(status, "isNormalizedUTF8");
  if (is_nfc) return false;
  icu::StringByteSink<std::string> sink(&result, static_cast<std::int32_t>(text.size()));
  nfc->normalizeUTF8(0, source, sink, nullptr, status);
  check_icu(status, "normalizeUTF8");
  return true;
}

/// One step into `result`; false where it changes nothing.
bool run_step(const NormalizerStep& step, std::string_view text, std::string& result) {
  using Kind = NormalizerStep::Kind;
  if (text.empty()) return false;
  if (step.kind == Kind::nfc) return to_nfc(text, result);
  result = step.kind == Kind::prepend ? step.replacement.to + std::string(text) : replaced(text, step.replacement);
  return true;
}

}  // namespace

std::string replaced(std::string_view text, const Replacement& what) {
  std::string result;
  result.reserve(text.size() + text.size() / 2);
  while (true) {
    const std::size_t found = what.from.empty() ? std::string_view::npos : text.find(what.from);
    result += text.substr(0, found);
    if (found == std::string_view::npos) return result;
    result += what.to;
    text.remove_prefix(found + what.from.size());
  }
}

std::string_view Normalizer::apply(std::string_view text, std::string& buffer) const {
  for (const NormalizerStep& step : steps_) {
    std::string result;  // `text` may live in `buffer`
    if (!run_step(step, text, result)) continue;
    buffer = std::move(result);
    text = buffer;
  }
  return text;
}

}  // namespace moebius::model
