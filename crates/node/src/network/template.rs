//! A template of a CNI configuration, in the part of Go's template language that containerd's users write: `{{.PodCIDR}}`,
//! `{{.PodCIDRRanges}}`, `{{.Routes}}`, `{{range $i, $r := .PodCIDRRanges}}…{{else}}…{{end}}`, `{{if $i}}…{{end}}`, `{{$r}}`, `{{.}}`,
//! comments, and `{{-`, `-}}` against white space. Anything else is an error that names it.

use std::fmt;

/// What a template can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    /// `.PodCIDR`: the first range.
    pub pod_cidr: String,
    /// `.PodCIDRRanges`: all ranges.
    pub pod_cidr_ranges: Vec<String>,
    /// `.Routes`: a default route of each family.
    pub routes: Vec<String>,
}

/// Why a template cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

type Result<T> = std::result::Result<T, TemplateError>;

/// The most blocks within each other.
const DEEPEST: usize = 16;
/// The most bytes of what is rendered.
const LARGEST: usize = 1 << 20;

/// Renders a template.
///
/// # Errors
/// If it has something else in it than this module knows, or renders to more than a configuration can be.
pub fn render(template: &str, values: &Values) -> Result<String> {
    let pieces = lex(template)?;
    let mut parser = Parser { pieces: pieces.into_iter(), depth: 0 };
    let (nodes, Until::Template) = parser.block()? else {
        return Err(error("{{end}} or {{else}} without a beginning"));
    };
    let mut renderer = Renderer { values, variables: Vec::new(), out: String::new() };
    renderer.nodes(&nodes, &Value::Root)?;
    Ok(renderer.out)
}

fn error(what: impl fmt::Display) -> TemplateError {
    TemplateError(what.to_string())
}

enum Piece {
    Text(String),
    Action(String),
}

/// Splits a template into text and actions, without comments and trimmed white space.
fn lex(template: &str) -> Result<Vec<Piece>> {
    let (mut pieces, mut rest, mut trim) = (Vec::new(), template, false);
    loop {
        let (text, after) = rest.split_once("{{").map_or((rest, None), |(text, after)| (text, Some(after)));
        let text = if trim { text.trim_start() } else { text };
        let before =
            after.and_then(|after| after.strip_prefix('-')).filter(|after| after.starts_with(char::is_whitespace));
        pieces.push(Piece::Text(if before.is_some() { text.trim_end() } else { text }.to_owned()));
        let Some(after) = before.map(str::trim_start).or(after) else { return Ok(pieces) };
        let (action, left) = match after.strip_prefix("/*") {
            Some(comment) => {
                let (_, left) = comment.split_once("*/").ok_or_else(|| error("a comment is not closed"))?;
                let (between, left) = left.split_once("}}").ok_or_else(|| error("a comment is not closed"))?;
                (between, left)
            }
            None => after.split_once("}}").ok_or_else(|| error("{{ without }}"))?,
        };
        let trimmed = action.strip_suffix('-').filter(|action| action.ends_with(char::is_whitespace));
        trim = trimmed.is_some();
        let action = trimmed.unwrap_or(action).trim();
        match (after.starts_with("/*"), action) {
            (true, "") => {}
            (true, _) => return Err(error("a comment stands alone in its braces")),
            (false, action) => pieces.push(Piece::Action(action.to_owned())),
        }
        rest = left;
    }
}

enum Node {
    Text(String),
    Print(Expression),
    Range { variables: Vec<String>, list: Expression, body: Vec<Node>, otherwise: Vec<Node> },
    If { condition: Expression, body: Vec<Node>, otherwise: Vec<Node> },
}

enum Expression {
    Dot,
    Variable(String),
    PodCidr,
    PodCidrRanges,
    Routes,
}

#[derive(PartialEq, Eq)]
enum Until {
    Template,
    Else,
    End,
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
}

impl Parser {
    /// Up to what ends the block, which is told.
    fn block(&mut self) -> Result<(Vec<Node>, Until)> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let action = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(action) => action,
            };
            match action
                .split_once(char::is_whitespace)
                .map_or((action.as_str(), ""), |(word, rest)| (word, rest.trim()))
            {
                ("end", "") => return Ok((nodes, Until::End)),
                ("else", "") => return Ok((nodes, Until::Else)),
                ("if", condition) => {
                    let condition = expression(condition)?;
                    let (body, otherwise) = self.bodies("if")?;
                    nodes.push(Node::If { condition, body, otherwise });
                }
                ("range", clause) => {
                    let (variables, list) = range_clause(clause)?;
                    let (body, otherwise) = self.bodies("range")?;
                    nodes.push(Node::Range { variables, list, body, otherwise });
                }
                _ => nodes.push(Node::Print(expression(&action)?)),
            }
        }
        Ok((nodes, Until::Template))
    }

    fn bodies(&mut self, kind: &str) -> Result<(Vec<Node>, Vec<Node>)> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(error(format!("more than {DEEPEST} blocks within each other")));
        }
        let unclosed = || error(format!("{{{{{kind}}}}} without {{{{end}}}}"));
        let both = match self.block()? {
            (body, Until::End) => (body, Vec::new()),
            (body, Until::Else) => match self.block()? {
                (otherwise, Until::End) => (body, otherwise),
                _ => return Err(unclosed()),
            },
            (_, Until::Template) => return Err(unclosed()),
        };
        self.depth -= 1;
        Ok(both)
    }
}

/// `.List`, `$item := .List` or `$index, $item := .List`.
fn range_clause(clause: &str) -> Result<(Vec<String>, Expression)> {
    let Some((names, list)) = clause.split_once(":=") else { return Ok((Vec::new(), expression(clause)?)) };
    let variables = names.split(',').map(|name| variable(name.trim())).collect::<Result<Vec<_>>>()?;
    match variables.len() {
        1 | 2 => Ok((variables, expression(list.trim())?)),
        _ => Err(error(format!("{{{{range {clause}}}}}: a range has one variable or two"))),
    }
}

fn variable(name: &str) -> Result<String> {
    let plain = |c: char| c.is_alphanumeric() || c == '_';
    match name.strip_prefix('$') {
        Some(rest) if !rest.is_empty() && rest.chars().all(plain) => Ok(name.to_owned()),
        _ => Err(error(format!("{name:?} is not a variable"))),
    }
}

fn expression(text: &str) -> Result<Expression> {
    match text {
        "." => Ok(Expression::Dot),
        ".PodCIDR" | "$.PodCIDR" => Ok(Expression::PodCidr),
        ".PodCIDRRanges" | "$.PodCIDRRanges" => Ok(Expression::PodCidrRanges),
        ".Routes" | "$.Routes" => Ok(Expression::Routes),
        _ if text.starts_with('$') => variable(text).map(Expression::Variable),
        _ => Err(error(format!("{{{{{text}}}}}: only PodCIDR, PodCIDRRanges, Routes, range and if are known here"))),
    }
}

#[derive(Clone)]
enum Value<'a> {
    /// What the dot is outside of every range.
    Root,
    Text(&'a str),
    Number(usize),
    List(&'a [String]),
}

impl Value<'_> {
    /// As Go has it: what is empty or 0 does not count.
    fn counts(&self) -> bool {
        match self {
            Self::Root => true,
            Self::Text(text) => !text.is_empty(),
            Self::Number(number) => *number != 0,
            Self::List(list) => !list.is_empty(),
        }
    }
}

struct Renderer<'a> {
    values: &'a Values,
    variables: Vec<(&'a str, Value<'a>)>,
    out: String,
}

impl<'a> Renderer<'a> {
    fn nodes(&mut self, nodes: &'a [Node], dot: &Value<'a>) -> Result<()> {
        nodes.iter().try_for_each(|node| self.node(node, dot))
    }

    fn node(&mut self, node: &'a Node, dot: &Value<'a>) -> Result<()> {
        match node {
            Node::Text(text) => self.print(text),
            Node::Print(expression) => match self.value(expression, dot)? {
                Value::Text(text) => self.print(text),
                Value::Number(number) => self.print(&number.to_string()),
                Value::List(list) => self.print(&format!("[{}]", list.join(" "))),
                Value::Root => Err(error("{{.}} outside of a range")),
            },
            Node::If { condition, body, otherwise } => match self.value(condition, dot)?.counts() {
                true => self.nodes(body, dot),
                false => self.nodes(otherwise, dot),
            },
            Node::Range { variables, list, body, otherwise } => match self.value(list, dot)? {
                Value::List([]) => self.nodes(otherwise, dot),
                Value::List(list) => self.range(variables, list, body),
                _ => Err(error("a range needs a list: PodCIDRRanges or Routes")),
            },
        }
    }

    fn range(&mut self, variables: &'a [String], list: &'a [String], body: &'a [Node]) -> Result<()> {
        let outside = self.variables.len();
        for (index, item) in list.iter().enumerate() {
            match variables {
                [both, value] => {
                    self.variables.extend([(both.as_str(), Value::Number(index)), (value, Value::Text(item))])
                }
                [value] => self.variables.push((value, Value::Text(item))),
                _ => {}
            }
            self.nodes(body, &Value::Text(item))?;
            self.variables.truncate(outside);
        }
        Ok(())
    }

    fn value(&self, expression: &'a Expression, dot: &Value<'a>) -> Result<Value<'a>> {
        Ok(match expression {
            Expression::Dot => dot.clone(),
            Expression::PodCidr => Value::Text(&self.values.pod_cidr),
            Expression::PodCidrRanges => Value::List(&self.values.pod_cidr_ranges),
            Expression::Routes => Value::List(&self.values.routes),
            Expression::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.map(|(_, value)| value.clone()).ok_or_else(|| error(format!("there is no variable {name}")))?
            }
        })
    }

    fn print(&mut self, text: &str) -> Result<()> {
        self.out.push_str(text);
        match self.out.len() > LARGEST {
            true => Err(error(format!("it renders to more than {LARGEST} bytes"))),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn values() -> Values {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
        Values {
            pod_cidr: "10.1.0.0/24".to_owned(),
            pod_cidr_ranges: texts(&["10.1.0.0/24", "fd00::/64"]),
            routes: texts(&["0.0.0.0/0", "::/0"]),
        }
    }

    #[test]
    fn a_template_as_containerd_documents_it_is_rendered() {
        let template = r#"{
  "cniVersion": "1.0.0", "name": "net", {{/* the node's }} ranges */ -}}
  "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "subnet": "{{.PodCIDR}}",
    "ranges": [{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}],
    "routes": [{{range $i, $route := .Routes}}{{if $i}}, {{else}} {{end}}{"dst": "{{$route}}"}{{end}}]}}]
}"#;
        let rendered = render(template, &values()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&rendered).unwrap();
        let ipam = &json["plugins"][0]["ipam"];
        assert_eq!(ipam["subnet"], "10.1.0.0/24");
        assert_eq!(ipam["ranges"][1][0]["subnet"], "fd00::/64");
        assert_eq!((&ipam["routes"][0]["dst"], &ipam["routes"][1]["dst"]), (&"0.0.0.0/0".into(), &"::/0".into()));
    }

    #[test]
    fn go_and_this_agree_on_the_small_print() {
        for (template, expected) in [
            ("a {{- .PodCIDR -}} \n b", "a10.1.0.0/24b"),
            ("{{ .PodCIDRRanges }}", "[10.1.0.0/24 fd00::/64]"),
            ("{{range .Routes}}<{{.}}>{{end}}", "<0.0.0.0/0><::/0>"),
            ("{{range $r := .Routes}}{{$r}};{{$.PodCIDR}} {{end}}", "0.0.0.0/0;10.1.0.0/24 ::/0;10.1.0.0/24 "),
            ("{{if .Routes}}yes{{else}}no{{end}}", "yes"),
            ("{{range $i, $r := .Routes}}{{range $i, $x := $.PodCIDRRanges}}{{$i}}{{end}}{{$i}} {{end}}", "010 011 "),
            ("no action", "no action"),
            ("", ""),
        ] {
            assert_eq!(render(template, &values()).unwrap(), expected, "{template}");
        }
        let none = Values { pod_cidr_ranges: Vec::new(), ..values() };
        assert_eq!(render("{{range .PodCIDRRanges}}x{{else}}none{{end}}", &none).unwrap(), "none");
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (template, word) in [
            ("{{.Hostname}}", ".Hostname"),
            ("{{printf \"%s\" .PodCIDR}}", "printf"),
            ("{{.PodCIDR", "without }}"),
            ("{{range .Routes}}", "{{range}} without {{end}}"),
            ("{{if .Routes}}{{else}}{{else}}{{end}}", "{{if}} without {{end}}"),
            ("{{end}}", "without a beginning"),
            ("{{range .PodCIDR}}{{end}}", "needs a list"),
            ("{{$x}}", "no variable $x"),
            ("{{.}}", "outside of a range"),
            ("{{range $a, $b, $c := .Routes}}{{end}}", "one variable or two"),
            ("{{/* never closed", "comment"),
            ("{{}}", "{{}}"),
        ] {
            let error = render(template, &values()).unwrap_err().to_string();
            assert!(error.contains(word), "{template}: {error}");
        }
        assert!(render(&"{{if .Routes}}".repeat(1000), &values()).is_err());
        let bomb = "{{range .Routes}}".repeat(16) + &"x".repeat(100) + &"{{end}}".repeat(16);
        assert!(render(&bomb, &values()).unwrap_err().to_string().contains("more than"));
    }

    proptest! {
        #[test]
        fn no_template_makes_it_panic(template in "(\\{\\{|\\}\\}|-| |/\\*|\\*/|range|if|else|end|\\$i|\\$|\\.|:=|,|\\.Routes|\\.PodCIDR|é){0,30}") {
            let _ = render(&template, &values());
        }
    }
}
