//! Gives functions of QuickJS a frame in memory, by which its limit of the stack can be kept (`js/frame.h`).

/// Functions that recurse without asking whether the stack is full: how their names begin.
const RECURSING: [&str; 7] = [
    "js_parse_",
    "re_parse_",
    "js_create_function",
    "js_proxy_",
    "js_stringify",
    "json_parse",
    "internalize_json",
];

/// The source with such a frame at the beginning of each of these functions, and how many got one.
pub(crate) fn framed(source: &str) -> (String, usize) {
    let (mut framed, mut count, mut is_awaited) = (String::with_capacity(source.len() + 4096), 0, false);
    for line in source.lines() {
        // A definition's body begins in the first column; a declaration ends with a semicolon before.
        is_awaited |= begins_one(line);
        is_awaited &= line.starts_with('{') || !line.trim_end_matches(' ').ends_with(';');
        framed.push_str(line);
        framed.push('\n');
        if is_awaited && line.trim_end_matches(' ') == "{" {
            framed.push_str("    AK_FRAME();\n");
            count += 1;
            is_awaited = false;
        }
    }
    (framed, count)
}

/// Whether a declaration or definition of such a function begins in this line.
fn begins_one(line: &str) -> bool {
    let is_declaration = ["static", "int", "JS"].iter().any(|word| line.starts_with(word));
    is_declaration && RECURSING.iter().any(|name| names(line, name))
}

/// Whether a function is named in it whose name begins so.
fn names(line: &str, prefix: &str) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let rest = line[at + prefix.len()..]
            .trim_start_matches(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        line[..at].ends_with([' ', '*']) && rest.starts_with('(')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_of_recursing_functions_get_a_frame_and_nothing_else_does() {
        let source = "\
static int js_parse_expr(JSParseState *s);
static __exception int js_parse_unary(JSParseState *s,
                                      int flags)
{
    return js_parse_expr(s);
}
static int js_strange(void)
{
}
JSValue JS_Call(int js_parse_flags)
{
}
";
        let (framed, count) = framed(source);
        assert_eq!(count, 1);
        let expected = source.replace("int flags)\n{\n", "int flags)\n{\n    AK_FRAME();\n");
        assert_eq!(framed, expected);
    }
}
