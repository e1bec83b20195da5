// SPDX-License-Identifier: Apache-2.0
#pragma once
// Is a page well-formed XML? A strict check of the little that the report uses, so that no browser has to guess.

#include <cctype>
#include <string>
#include <string_view>
#include <vector>

namespace moebius::app {

class XmlCheck {
 public:
  /// What is wrong first, with the text around it; empty: nothing.
  static std::string problem(std::string_view page) { return XmlCheck(page).run(); }

 private:
  explicit XmlCheck(std::string_view page) : page_(page) {}

  std::string run() {
    constexpr std::string_view doctype = "<!DOCTYPE html>";
    if (page_.substr(0, doctype.size()) != doctype) return "no doctype";
    at_ = doctype.size();
    while (at_ < page_.size()) {
      const bool good = page_[at_] == '<' ? tag() : page_[at_] == '&' ? entity() : plain();
      if (!good) return problem_ + " near: " + std::string(page_.substr(at_ < 40 ? 0 : at_ - 40, 100));
    }
    return open_.empty() ? "" : "never closed: " + open_.back();
  }
  bool fail(std::string what) {
    problem_ = std::move(what);
    return false;
  }
  bool plain() {
    const auto c = static_cast<unsigned char>(page_[at_++]);
    if (c < 0x20 && c != '\n' && c != '\t') return fail("control character");
    return !open_.empty() || std::isspace(c) != 0 || fail("text outside of all tags");
  }
  bool entity() {
    for (const std::string_view known : {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"}) {
      if (page_.substr(at_, known.size()) == known) {
        at_ += known.size();
        return true;
      }
    }
    return fail("an ampersand that is no entity");
  }
  std::string name() {
    const std::size_t begin = at_;
    while (at_ < page_.size() && (std::isalnum(static_cast<unsigned char>(page_[at_])) != 0 || page_[at_] == '-')) ++at_;
    return std::string(page_.substr(begin, at_ - begin));
  }
  bool tag() {
    ++at_;
    const bool closes = page_[at_] == '/';
    if (closes) ++at_;
    const std::string tag_name = name();
    if (tag_name.empty()) return fail("a bare <");
    if (closes) {
      if (open_.empty() || open_.back() != tag_name) return fail("</" + tag_name + "> closes another tag");
      open_.pop_back();
      return page_[at_++] == '>' || fail("no end of </" + tag_name);
    }
    std::vector<std::string> attributes;
    while (page_[at_] == ' ') {
      ++at_;
      attributes.push_back(name());
      for (std::size_t i = 0; i + 1 < attributes.size(); ++i) {
        if (attributes[i] == attributes.back()) return fail("twice the attribute " + attributes.back());
      }
      if (!value()) return false;
    }
    if (page_[at_] == '/') ++at_;
    else open_.push_back(tag_name);
    return page_[at_++] == '>' || fail("no end of <" + tag_name);
  }
  bool value() {
    if (page_.substr(at_, 2) != "=\"") return fail("an attribute without quotes");
    for (at_ += 2; page_[at_] != '"';) {
      if (page_[at_] == '<') return fail("a < in an attribute");
      if (page_[at_] == '&') {
        if (!entity()) return false;
      } else {
        ++at_;
      }
    }
    ++at_;
    return true;
  }

  std::string_view page_;
  std::size_t at_ = 0;
  std::vector<std::string> open_;
  std::string problem_;
};

}  // namespace moebius::app
