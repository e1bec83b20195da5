// SPDX-License-Identifier: Apache-2.0
#pragma once
// A chat template as a tree: made by parse_template, run by TemplateRun. The grammar is Jinja's, as far
// as chat templates use it; everything else is a TemplateFault(unsupported) that names it and its line.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/template_value.hpp"

namespace moebius::model {

struct TemplateExpr;
struct TemplateNode;
using TemplateExprPtr = std::unique_ptr<TemplateExpr>;
using TemplateBody = std::vector<std::unique_ptr<TemplateNode>>;

struct TemplateExpr {
  enum class Kind : std::uint8_t {
    constant,     ///< `value`
    name,         ///< `text`
    list,         ///< args
    dict,         ///< args: key, value, key, value
    attribute,    ///< args[0].text
    subscript,    ///< args[0][args[1]]
    slice,        ///< args[0][args[1]:args[2]:args[3]], absent ones null
    call,         ///< args[0](args[1..], named)
    filter,       ///< args[0] | text(args[1..], named)
    test,         ///< args[0] is text(args[1..])
    logical_not,
    negate,
    binary,       ///< args[0] text args[1], text one of + - * // % ~
    compare,      ///< ... one of == != < <= > >= in
    logical_and,
    logical_or,
    conditional,  ///< args[0] if args[1] else args[2], which may be null
  };
  Kind kind = Kind::constant;
  int line = 1;
  std::string text;
  TemplateValue value;
  std::vector<TemplateExprPtr> args;
  std::vector<std::pair<std::string, TemplateExprPtr>> named;
};

struct TemplateNode {
  enum class Kind : std::uint8_t {
    text,        ///< `text`
    output,      ///< exprs[0]
    choice,      ///< bodies[i] where exprs[i] is the first that is true; one body more: else
    loop,        ///< names: targets; exprs[0]: of what, exprs[1]: filter or null; bodies[0], bodies[1]: else
    set,         ///< names[0] = exprs[0], or names[0].text = exprs[0]
    set_block,   ///< names[0] = the text of bodies[0]
    macro,       ///< `text`(names), defaults of the last ones in exprs; bodies[0]
    loop_break,
    loop_continue,
  };
  Kind kind = Kind::text;
  int line = 1;
  std::string text;
  std::vector<std::string> names;
  std::vector<TemplateExprPtr> exprs;
  std::vector<TemplateBody> bodies;
};

/// Throws TemplateFault(unsupported) for what it does not know and for what is no Jinja.
TemplateBody parse_template(std::string_view source);

/// What parse_template lets through; template_builtins.cpp runs them.
bool is_known_filter(std::string_view name);
bool is_known_test(std::string_view name);

}  // namespace moebius::model
