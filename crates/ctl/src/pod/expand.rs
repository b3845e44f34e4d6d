//! `$(NAME)` in commands, arguments and variables, as Kubernetes defines it: `$$` is a dollar sign, and a reference to
//! a variable that does not exist stays as it is.

/// Replaces the references in `text` by what `lookup` knows.
pub(super) fn expand<'a>(text: &'a str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, dollar) = rest.split_at(at);
        out.push_str(before);
        let (replacement, after) = one(dollar, &lookup);
        out.push_str(replacement);
        rest = after;
    }
    out + rest
}

/// What stands for the dollar sign `text` begins with, and what follows it.
fn one<'t>(text: &'t str, lookup: &impl Fn(&str) -> Option<&'t str>) -> (&'t str, &'t str) {
    if let Some(after) = text.strip_prefix("$$") {
        return ("$", after);
    }
    let reference = text.strip_prefix("$(").and_then(|inner| inner.split_once(')'));
    match reference {
        Some((name, after)) => {
            let whole = &text[..text.len() - after.len()];
            (lookup(name).unwrap_or(whole), after)
        }
        None => text.split_at(1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_a(text: &str) -> String {
        expand(text, |name| (name == "A").then_some("[$(A)]"))
    }

    #[test]
    fn references_are_replaced_once() {
        for (text, expected) in [
            ("x$(A)y", "x[$(A)]y"),
            ("$(B)$(A)", "$(B)[$(A)]"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$[$(A)]"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("$()", "$()"),
            ("é$(A)é", "é[$(A)]é"),
        ] {
            assert_eq!(with_a(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_without_dollars_stays(text in "[^$]*") {
            prop_assert_eq!(with_a(&text), text);
        }

        #[test]
        fn no_text_panics(text in "[$()Aé]{0,40}") {
            with_a(&text);
        }
    }
}
