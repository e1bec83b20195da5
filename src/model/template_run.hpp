// SPDX-License-Identifier: Apache-2.0
#pragma once
// One run of a parsed chat template: a tree walker with Jinja's scopes. A `for` body has a scope of its
// own in each turn, `if` has none, a macro sees its parameters and the outermost scope.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/template_builtins.hpp"
#include "model/template_syntax.hpp"
#include "model/template_value.hpp"

namespace moebius::model {

class TemplateRun {
 public:
  using Variables = std::vector<std::pair<std::string_view, TemplateValue>>;
  /// `variables` is the outermost scope; `arena` must outlive the run.
  TemplateRun(TemplateArena& arena, Variables variables) : arena_(arena), scopes_{std::move(variables)} {}
  /// The text of the template. Throws TemplateFault.
  std::string text_of(const TemplateBody& body);

 private:
  enum class Flow : std::uint8_t { go_on, stop_loop, next_turn };
  Flow run(const TemplateBody& body, std::string& out);
  Flow run_node(const TemplateNode& node, std::string& out);
  Flow run_choice(const TemplateNode& node, std::string& out);
  Flow run_loop(const TemplateNode& node, std::string& out);
  TemplateList items_of_loop(const TemplateNode& node);
  void run_set(const TemplateNode& node);
  void bind_targets(const TemplateNode& node, const TemplateValue& item);

  TemplateValue eval(const TemplateExpr& expr);
  TemplateValue eval_or_undefined(const TemplateExprPtr& expr) { return expr == nullptr ? TemplateValue::undefined("") : eval(*expr); }
  TemplateValue eval_call(const TemplateExpr& call);
  TemplateValue eval_list(const TemplateExpr& expr);
  TemplateValue eval_dict(const TemplateExpr& expr);
  TemplateValue call_macro(const TemplateNode& macro, const TemplateArguments& arguments);
  TemplateArguments arguments_of(const TemplateExpr& call);
  [[nodiscard]] TemplateValue look_up(std::string_view name) const;
  void assign(std::string_view name, const TemplateValue& value);

  TemplateArena& arena_;
  std::vector<Variables> scopes_;  // from the outermost
  int macro_depth_ = 0;
};

}  // namespace moebius::model
