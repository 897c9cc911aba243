//! A program with every operation that makes values replaced by its bounded form. Syntax trees of minijinja cannot be
//! changed in place, hence each is built anew.

use minijinja::machinery::ast::{self, BinOpKind, CallArg, Expr, Spanned, Stmt};
use minijinja::{Error, ErrorKind, Value};

use super::bounded::{ADD, ARGUMENT_OF, CONCATENATE, MULTIPLY, WEIGH};

/// Nesting beyond this is a mistake or an attack.
const DEPTH: usize = 200;

/// The expression, bounded; what it looks up is added to `names`.
pub fn expression<'a>(expression: &Expr<'a>, names: &mut Vec<String>) -> Result<Expr<'a>, Error> {
    Builder { names, depth: 0 }.expression(expression)
}

/// The template, bounded.
pub fn program<'a>(template: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
    Builder { names: &mut Vec::new(), depth: 0 }.statement(template)
}

struct Builder<'n> {
    names: &'n mut Vec<String>,
    depth: usize,
}

/// `value | name(args)`
fn filter<'a>(name: &'static str, value: Expr<'a>, args: Vec<CallArg<'a>>) -> Expr<'a> {
    let span = value.span();
    Expr::Filter(Spanned::new(ast::Filter { name, expr: Some(value), args }, span))
}

/// Constants have been weighed by being written.
fn weighed(value: Expr<'_>) -> Expr<'_> {
    if matches!(value, Expr::Const(_)) { value } else { filter(WEIGH, value, Vec::new()) }
}

impl Builder<'_> {
    fn expression<'a>(&mut self, expr: &Expr<'a>) -> Result<Expr<'a>, Error> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Error::new(ErrorKind::SyntaxError, format!("nested more than {DEPTH} levels deep")));
        }
        let built = self.node(expr)?;
        self.depth -= 1;
        Ok(built)
    }

    fn node<'a>(&mut self, expr: &Expr<'a>) -> Result<Expr<'a>, Error> {
        let span = expr.span();
        if let Some(name) = path(expr) {
            self.names.push(name);
        }
        Ok(match expr {
            Expr::Var(var) => Expr::Var(Spanned::new(ast::Var { id: var.id }, span)),
            Expr::Const(constant) => Expr::Const(Spanned::new(ast::Const { value: constant.value.clone() }, span)),
            Expr::Slice(slice) => Expr::Slice(Spanned::new(
                ast::Slice {
                    expr: weighed(self.expression(&slice.expr)?),
                    start: self.optional(&slice.start)?,
                    stop: self.optional(&slice.stop)?,
                    step: self.optional(&slice.step)?,
                },
                span,
            )),
            Expr::UnaryOp(unary) => {
                let not = matches!(unary.op, ast::UnaryOpKind::Not);
                let op = if not { ast::UnaryOpKind::Not } else { ast::UnaryOpKind::Neg };
                Expr::UnaryOp(Spanned::new(ast::UnaryOp { op, expr: self.expression(&unary.expr)? }, span))
            }
            Expr::BinOp(binary) => match bounded(binary.op) {
                Some(name) => self.chain(name, binary)?,
                None => {
                    let compares = !matches!(binary.op, BinOpKind::ScAnd | BinOpKind::ScOr);
                    let operand = |value| if compares { weighed(value) } else { value };
                    let left = operand(self.expression(&binary.left)?);
                    let right = operand(self.expression(&binary.right)?);
                    Expr::BinOp(Spanned::new(ast::BinOp { op: binary.op, left, right }, span))
                }
            },
            Expr::Compare(compare) => {
                let ops = compare.ops.iter().map(|op| {
                    let expr = weighed(self.expression(&op.expr)?);
                    Ok(ast::CompareOp { op: op.op, expr })
                });
                let ops = ops.collect::<Result<_, Error>>()?;
                let expr = weighed(self.expression(&compare.expr)?);
                Expr::Compare(Spanned::new(ast::Compare { expr, ops }, span))
            }
            Expr::IfExpr(choice) => Expr::IfExpr(Spanned::new(
                ast::IfExpr {
                    test_expr: self.expression(&choice.test_expr)?,
                    true_expr: self.expression(&choice.true_expr)?,
                    false_expr: self.optional(&choice.false_expr)?,
                },
                span,
            )),
            Expr::Filter(filter) => self.filter(filter, span)?,
            Expr::Test(test) => Expr::Test(Spanned::new(
                ast::Test {
                    name: test.name,
                    expr: self.expression(&test.expr)?,
                    args: self.arguments(&test.args, ARGUMENT_OF)?,
                },
                span,
            )),
            Expr::GetAttr(get) => {
                // The whole path was noted.
                let before = self.names.len();
                let inner = self.expression(&get.expr)?;
                if path(expr).is_some() {
                    self.names.truncate(before);
                }
                Expr::GetAttr(Spanned::new(ast::GetAttr { expr: inner, name: get.name }, span))
            }
            Expr::GetItem(get) => {
                let (expr, subscript_expr) = (self.expression(&get.expr)?, self.expression(&get.subscript_expr)?);
                Expr::GetItem(Spanned::new(ast::GetItem { expr, subscript_expr }, span))
            }
            Expr::Call(call) => Expr::Call(self.call(call)?),
            Expr::List(list) => {
                weighed(Expr::List(Spanned::new(ast::List { items: self.expressions(&list.items)? }, span)))
            }
            Expr::Tuple(tuple) => {
                weighed(Expr::Tuple(Spanned::new(ast::Tuple { items: self.expressions(&tuple.items)? }, span)))
            }
            Expr::Map(map) => {
                let (keys, values) = (self.expressions(&map.keys)?, self.expressions(&map.values)?);
                weighed(Expr::Map(Spanned::new(ast::Map { keys, values }, span)))
            }
        })
    }

    /// `a + b + c` as one call: long sums do not nest.
    fn chain<'a>(&mut self, name: &'static str, last: &Spanned<ast::BinOp<'a>>) -> Result<Expr<'a>, Error> {
        let mut operands = vec![&last.right];
        let mut first = &last.left;
        // Products are taken two by two: each may repeat what came before.
        while let Expr::BinOp(binary) = first
            && bounded(binary.op) == Some(name)
            && name != MULTIPLY
        {
            operands.push(&binary.right);
            first = &binary.left;
        }
        let first = self.expression(first)?;
        let rest = operands.into_iter().rev().map(|operand| self.expression(operand).map(CallArg::Pos));
        Ok(filter(name, first, rest.collect::<Result<_, Error>>()?))
    }

    fn filter<'a>(&mut self, filter: &ast::Filter<'a>, span: minijinja::machinery::Span) -> Result<Expr<'a>, Error> {
        // These look at the sizes of their arguments themselves, or only hand them on.
        let own = matches!(filter.name, "default" | "d" | "replace" | "join");
        let args = self.arguments(&filter.args, if own { WEIGH } else { ARGUMENT_OF })?;
        let expr = self.optional(&filter.expr)?.map(weighed);
        Ok(Expr::Filter(Spanned::new(ast::Filter { name: filter.name, expr, args }, span)))
    }

    fn call<'a>(&mut self, call: &Spanned<ast::Call<'a>>) -> Result<Spanned<ast::Call<'a>>, Error> {
        let (expr, args) = (self.expression(&call.expr)?, self.arguments(&call.args, WEIGH)?);
        Ok(Spanned::new(ast::Call { expr, args }, call.span()))
    }

    fn arguments<'a>(&mut self, args: &[CallArg<'a>], look: &'static str) -> Result<Vec<CallArg<'a>>, Error> {
        let mut looked = |expr: &Expr<'a>| Ok::<_, Error>(filter(look, self.expression(expr)?, Vec::new()));
        let argument = |arg: &CallArg<'a>| {
            Ok(match arg {
                CallArg::Pos(expr) => CallArg::Pos(looked(expr)?),
                CallArg::Kwarg(name, expr) => CallArg::Kwarg(name, looked(expr)?),
                CallArg::PosSplat(expr) => CallArg::PosSplat(looked(expr)?),
                CallArg::KwargSplat(expr) => CallArg::KwargSplat(looked(expr)?),
            })
        };
        args.iter().map(argument).collect()
    }

    fn optional<'a>(&mut self, expr: &Option<Expr<'a>>) -> Result<Option<Expr<'a>>, Error> {
        expr.as_ref().map(|expr| self.expression(expr)).transpose()
    }

    fn expressions<'a>(&mut self, all: &[Expr<'a>]) -> Result<Vec<Expr<'a>>, Error> {
        all.iter().map(|expr| self.expression(expr)).collect()
    }

    fn statements<'a>(&mut self, all: &[Stmt<'a>]) -> Result<Vec<Stmt<'a>>, Error> {
        all.iter().map(|statement| self.statement(statement)).collect()
    }

    fn statement<'a>(&mut self, statement: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
        Ok(match statement {
            Stmt::Template(node) => {
                Stmt::Template(Spanned::new(ast::Template { children: self.statements(&node.children)? }, node.span()))
            }
            Stmt::EmitExpr(node) => {
                Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr: self.expression(&node.expr)? }, node.span()))
            }
            // Printed as a value is, so that it counts.
            Stmt::EmitRaw(node) => {
                let value = Value::from_safe_string(node.raw.to_owned());
                let expr = Expr::Const(Spanned::new(ast::Const { value }, node.span()));
                Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr }, node.span()))
            }
            Stmt::ForLoop(node) => Stmt::ForLoop(Spanned::new(
                ast::ForLoop {
                    target: target(&node.target)?,
                    iter: self.expression(&node.iter)?,
                    filter_expr: self.optional(&node.filter_expr)?,
                    recursive: node.recursive,
                    body: self.statements(&node.body)?,
                    else_body: self.statements(&node.else_body)?,
                },
                node.span(),
            )),
            Stmt::IfCond(node) => Stmt::IfCond(Spanned::new(
                ast::IfCond {
                    expr: self.expression(&node.expr)?,
                    true_body: self.statements(&node.true_body)?,
                    false_body: self.statements(&node.false_body)?,
                },
                node.span(),
            )),
            Stmt::WithBlock(node) => {
                let assignments = node.assignments.iter();
                let assignments = assignments.map(|(name, value)| Ok((target(name)?, self.expression(value)?)));
                let assignments = assignments.collect::<Result<_, Error>>()?;
                let body = self.statements(&node.body)?;
                Stmt::WithBlock(Spanned::new(ast::WithBlock { assignments, body }, node.span()))
            }
            Stmt::Set(node) => {
                let (target, expr) = (target(&node.target)?, self.expression(&node.expr)?);
                Stmt::Set(Spanned::new(ast::Set { target, expr }, node.span()))
            }
            Stmt::SetBlock(node) => Stmt::SetBlock(Spanned::new(
                ast::SetBlock {
                    target: target(&node.target)?,
                    filter: self.optional(&node.filter)?,
                    body: self.statements(&node.body)?,
                },
                node.span(),
            )),
            Stmt::AutoEscape(node) => {
                let (enabled, body) = (self.expression(&node.enabled)?, self.statements(&node.body)?);
                Stmt::AutoEscape(Spanned::new(ast::AutoEscape { enabled, body }, node.span()))
            }
            Stmt::FilterBlock(node) => {
                let (filter, body) = (self.expression(&node.filter)?, self.statements(&node.body)?);
                Stmt::FilterBlock(Spanned::new(ast::FilterBlock { filter, body }, node.span()))
            }
            Stmt::Macro(node) => Stmt::Macro(self.define(node)?),
            Stmt::CallBlock(node) => {
                let (call, macro_decl) = (self.call(&node.call)?, self.define(&node.macro_decl)?);
                Stmt::CallBlock(Spanned::new(ast::CallBlock { call, macro_decl }, node.span()))
            }
            Stmt::Do(node) => Stmt::Do(Spanned::new(ast::Do { call: self.call(&node.call)? }, node.span())),
            Stmt::Block(node) => {
                let body = self.statements(&node.body)?;
                Stmt::Block(Spanned::new(ast::Block { name: node.name, required: node.required, body }, node.span()))
            }
            // There are no other templates: these fail at their place.
            Stmt::Import(node) => {
                let (expr, name) = (self.expression(&node.expr)?, target(&node.name)?);
                Stmt::Import(Spanned::new(ast::Import { expr, name }, node.span()))
            }
            Stmt::FromImport(node) => {
                let expr = self.expression(&node.expr)?;
                Stmt::FromImport(Spanned::new(ast::FromImport { expr, names: Vec::new() }, node.span()))
            }
            Stmt::Extends(node) => {
                Stmt::Extends(Spanned::new(ast::Extends { name: self.expression(&node.name)? }, node.span()))
            }
            Stmt::Include(node) => {
                let (name, ignore_missing) = (self.expression(&node.name)?, node.ignore_missing);
                Stmt::Include(Spanned::new(ast::Include { name, ignore_missing }, node.span()))
            }
        })
    }

    fn define<'a>(&mut self, node: &Spanned<ast::Macro<'a>>) -> Result<Spanned<ast::Macro<'a>>, Error> {
        let args = node.args.iter().map(target).collect::<Result<_, _>>()?;
        let (defaults, body) = (self.expressions(&node.defaults)?, self.statements(&node.body)?);
        Ok(Spanned::new(ast::Macro { name: node.name, args, defaults, body }, node.span()))
    }
}

/// What is assigned to: a name, or names in a tuple or list.
fn target<'a>(expr: &Expr<'a>) -> Result<Expr<'a>, Error> {
    let all = |items: &[Expr<'a>]| items.iter().map(target).collect::<Result<Vec<_>, Error>>();
    Ok(match expr {
        Expr::Var(var) => Expr::Var(Spanned::new(ast::Var { id: var.id }, var.span())),
        Expr::Tuple(tuple) => Expr::Tuple(Spanned::new(ast::Tuple { items: all(&tuple.items)? }, tuple.span())),
        Expr::List(list) => Expr::List(Spanned::new(ast::List { items: all(&list.items)? }, list.span())),
        _ => return Err(Error::new(ErrorKind::SyntaxError, "only names can be assigned to")),
    })
}

fn bounded(op: BinOpKind) -> Option<&'static str> {
    match op {
        BinOpKind::Add => Some(ADD),
        BinOpKind::Mul => Some(MULTIPLY),
        BinOpKind::Concat => Some(CONCATENATE),
        _ => None,
    }
}

/// `a.b.c`, when the expression is such a path.
fn path(expr: &Expr<'_>) -> Option<String> {
    match expr {
        Expr::Var(var) => Some(var.id.to_owned()),
        Expr::GetAttr(get) => Some(format!("{}.{}", path(&get.expr)?, get.name)),
        _ => None,
    }
}
