// SPDX-License-Identifier: Apache-2.0
#include "model/template_run.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace moebius::model {
namespace {

using Value = TemplateValue;
using Node = TemplateNode;
using Expr = TemplateExpr;
constexpr int max_macro_depth = 20;  // of calls within calls

/// What a loop knows about itself.
Value loop_value(const TemplateList& items, std::size_t idx, TemplateArena& arena) {
  const auto i = static_cast<std::int64_t>(idx), size = static_cast<std::int64_t>(items.size());
  TemplateDict loop;
  loop.set("index", Value::integer(i + 1));
  loop.set("index0", Value::integer(i));
  loop.set("revindex", Value::integer(size - i));
  loop.set("revindex0", Value::integer(size - i - 1));
  loop.set("first", Value::boolean(i == 0));
  loop.set("last", Value::boolean(i + 1 == size));
  loop.set("length", Value::integer(size));
  loop.set("previtem", i == 0 ? Value::undefined("previtem") : items[idx - 1]);
  loop.set("nextitem", i + 1 == size ? Value::undefined("nextitem") : items[idx + 1]);
  return arena.dict(std::move(loop), Value::Kind::name_space);
}

}  // namespace

std::string TemplateRun::text_of(const TemplateBody& body) {
  std::string out;
  run(body, out);
  return out;
}

TemplateRun::Flow TemplateRun::run(const TemplateBody& body, std::string& out) {
  for (const auto& node : body) {
    if (const Flow flow = run_node(*node, out); flow != Flow::go_on) return flow;
  }
  return Flow::go_on;
}

TemplateRun::Flow TemplateRun::run_node(const Node& node, std::string& out) {
  switch (node.kind) {
    case Node::Kind::text: out += node.text; break;
    case Node::Kind::output: out += to_text(eval(*node.exprs[0])); break;
    case Node::Kind::choice: return run_choice(node, out);
    case Node::Kind::loop: return run_loop(node, out);
    case Node::Kind::set: run_set(node); break;
    case Node::Kind::set_block: {
      std::string text;
      const Flow flow = run(node.bodies[0], text);
      assign(node.names[0], arena_.string(std::move(text)));
      return flow;
    }
    case Node::Kind::macro: assign(node.text, {.kind = Value::Kind::macro, .macro = &node}); break;
    case Node::Kind::loop_break: return Flow::stop_loop;
    case Node::Kind::loop_continue: return Flow::next_turn;
  }
  if (out.size() > TemplateArena::max_bytes) template_failed("it makes more text than fits into a gigabyte");
  return Flow::go_on;
}

TemplateRun::Flow TemplateRun::run_choice(const Node& node, std::string& out) {
  for (std::size_t i = 0; i < node.bodies.size(); ++i) {
    if (i >= node.exprs.size() || is_true(eval(*node.exprs[i]))) return run(node.bodies[i], out);
  }
  return Flow::go_on;
}

TemplateList TemplateRun::items_of_loop(const Node& node) {
  TemplateList items = items_of(eval(*node.exprs[0]));
  if (node.exprs[1] == nullptr) return items;
  TemplateList kept;
  for (const Value& item : items) {
    scopes_.emplace_back();
    bind_targets(node, item);
    if (is_true(eval(*node.exprs[1]))) kept.push_back(item);
    scopes_.pop_back();
  }
  return kept;
}

TemplateRun::Flow TemplateRun::run_loop(const Node& node, std::string& out) {
  const TemplateList items = items_of_loop(node);
  if (items.empty()) return node.bodies.size() > 1 ? run(node.bodies[1], out) : Flow::go_on;
  for (std::size_t i = 0; i < items.size(); ++i) {
    scopes_.emplace_back();
    assign("loop", loop_value(items, i, arena_));
    bind_targets(node, items[i]);
    const Flow flow = run(node.bodies[0], out);
    scopes_.pop_back();
    if (flow == Flow::stop_loop) break;
  }
  return Flow::go_on;
}

void TemplateRun::bind_targets(const Node& node, const Value& item) {
  if (node.names.size() == 1) return assign(node.names[0], item);
  const TemplateList parts = items_of(item);
  if (parts.size() != node.names.size()) template_failed(fmt::format("a loop cannot unpack {} values", parts.size()));
  for (std::size_t i = 0; i < parts.size(); ++i) assign(node.names[i], parts[i]);
}

void TemplateRun::run_set(const Node& node) {
  const Value value = eval(*node.exprs[0]);
  if (node.text.empty()) return assign(node.names[0], value);
  const Value target = look_up(node.names[0]);
  if (!target.is(Value::Kind::name_space)) template_failed("cannot assign attribute on non-namespace object");
  target.dict->set(node.text, value);
}

Value TemplateRun::look_up(std::string_view name) const {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    const auto found = std::ranges::find(*scope, name, &std::pair<std::string_view, Value>::first);
    if (found != scope->end()) return found->second;
  }
  if (is_known_function(name)) return {.kind = Value::Kind::builtin, .text = name};
  return Value::undefined(name);
}

void TemplateRun::assign(std::string_view name, const Value& value) {
  Variables& scope = scopes_.back();
  const auto found = std::ranges::find(scope, name, &std::pair<std::string_view, Value>::first);
  if (found == scope.end()) {
    scope.emplace_back(name, value);
  } else {
    found->second = value;
  }
}

Value TemplateRun::eval(const Expr& expr) {
  const auto arg = [&](std::size_t i) { return eval(*expr.args[i]); };
  switch (expr.kind) {
    case Expr::Kind::constant: return expr.value;
    case Expr::Kind::name: return look_up(expr.text);
    case Expr::Kind::list: return eval_list(expr);
    case Expr::Kind::dict: return eval_dict(expr);
    case Expr::Kind::attribute: return attribute_of(arg(0), expr.text);
    case Expr::Kind::subscript: return element_of(arg(0), arg(1));
    case Expr::Kind::slice:
      return slice_of(arg(0), eval_or_undefined(expr.args[1]), eval_or_undefined(expr.args[2]), eval_or_undefined(expr.args[3]), arena_);
    case Expr::Kind::call: return eval_call(expr);
    case Expr::Kind::filter: {
      const Value value = arg(0);
      return apply_filter(expr.text, value, arguments_of(expr), arena_);
    }
    case Expr::Kind::test: {
      const Value value = arg(0);
      return Value::boolean(apply_test(expr.text, value, arguments_of(expr)));
    }
    case Expr::Kind::logical_not: return Value::boolean(!is_true(arg(0)));
    case Expr::Kind::negate: return binary("-", Value::integer(0), arg(0), arena_);
    case Expr::Kind::binary: {
      const Value left = arg(0);
      return binary(expr.text, left, arg(1), arena_);
    }
    case Expr::Kind::compare: {
      const Value left = arg(0);
      return Value::boolean(compare(expr.text, left, arg(1)));
    }
    case Expr::Kind::logical_and: {
      const Value left = arg(0);
      return is_true(left) ? arg(1) : left;
    }
    case Expr::Kind::logical_or: {
      const Value left = arg(0);
      return is_true(left) ? left : arg(1);
    }
    case Expr::Kind::conditional: return is_true(arg(1)) ? arg(0) : eval_or_undefined(expr.args[2]);
  }
  return Value::none();
}

Value TemplateRun::eval_list(const Expr& expr) {
  TemplateList values;
  for (const auto& element : expr.args) values.push_back(eval(*element));
  return arena_.list(std::move(values));
}

Value TemplateRun::eval_dict(const Expr& expr) {
  TemplateDict dict;
  for (std::size_t i = 0; i < expr.args.size(); i += 2) {
    const Value key = eval(*expr.args[i]);
    if (!key.is(Value::Kind::string)) template_unsupported("a mapping whose keys are no texts");
    dict.set(key.text, eval(*expr.args[i + 1]));
  }
  return arena_.dict(std::move(dict));
}

TemplateArguments TemplateRun::arguments_of(const Expr& call) {
  TemplateArguments arguments;
  for (std::size_t i = 1; i < call.args.size(); ++i) arguments.positional.push_back(eval(*call.args[i]));
  for (const auto& [name, value] : call.named) arguments.named.emplace_back(name, eval(*value));
  return arguments;
}

Value TemplateRun::eval_call(const Expr& call) {
  const Expr& callee = *call.args[0];
  if (callee.kind == Expr::Kind::attribute) {
    const Value object = eval(*callee.args[0]);
    return call_method(callee.text, object, arguments_of(call), arena_);
  }
  const Value function = eval(callee);
  if (function.is(Value::Kind::macro)) return call_macro(*function.macro, arguments_of(call));
  if (function.is(Value::Kind::builtin)) return call_function(function.text, arguments_of(call), arena_);
  if (function.is(Value::Kind::undefined)) template_failed(fmt::format("'{}' is undefined", function.text));
  template_failed(fmt::format("'{}' object is not callable", type_name(function)));
}

Value TemplateRun::call_macro(const Node& macro, const TemplateArguments& arguments) {
  if (arguments.positional.size() > macro.names.size()) template_failed(fmt::format("macro '{}' takes fewer arguments", macro.text));
  for (const auto& [name, value] : arguments.named) {
    if (std::ranges::find(macro.names, name) == macro.names.end()) template_unsupported(fmt::format("the argument '{}' of a macro", name));
  }
  if (++macro_depth_ > max_macro_depth) template_unsupported("macros that call each other so deep");
  std::vector<Variables> around = {scopes_.front(), {}};
  std::swap(scopes_, around);
  const std::size_t num_required = macro.names.size() - macro.exprs.size();
  for (std::size_t i = 0; i < macro.names.size(); ++i) {
    const Value* given = arguments.find(i, macro.names[i]);
    assign(macro.names[i], given != nullptr ? *given
                           : i >= num_required ? eval(*macro.exprs[i - num_required])
                                               : Value::undefined(macro.names[i]));
  }
  std::string text;
  run(macro.bodies[0], text);
  std::swap(scopes_, around);
  --macro_depth_;
  return arena_.string(std::move(text));
}

}  // namespace moebius::model
