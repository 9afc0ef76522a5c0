//! The scanner over small pieces of source.

use super::*;

fn code(text: &str) -> String {
    code_lines(text).join("\n")
}

fn found(text: &str) -> Vec<(String, usize, usize)> {
    let lines = without_tests(code_lines(text));
    functions(&lines).into_iter().map(|one| (one.name, one.line, one.lines)).collect()
}

#[test]
fn comments_and_literals_are_blanked_and_lines_kept() {
    assert_eq!(code("a(); // b {").trim_end(), "a();");
    assert_eq!(code("/* a /* b */ c */ d").trim(), "d");
    assert_eq!(code(r#"f("a\"{", '{', '\'', b'\n');"#).split_whitespace().collect::<String>(), "f(,,,b);");
    assert_eq!(code("r#\"a \"b\" }\n}\"# x"), "          \n    x");
    assert_eq!(code_lines("a\n/*\n*/\nb").len(), 4);
}

#[test]
fn lifetimes_raw_names_and_words_that_end_in_r_stay_code() {
    assert_eq!(code("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
    assert_eq!(code("let r#type = var;"), "let r#type = var;");
    assert_eq!(code("for(x)"), "for(x)");
}

#[test]
fn an_unclosed_literal_ends_with_the_file() {
    assert_eq!(code("a \"b").trim_end(), "a");
    assert_eq!(code("a r#\"b").trim_end(), "a");
    assert_eq!(code("a /* b").trim_end(), "a");
}

#[test]
fn functions_are_counted_from_their_header_to_their_brace() {
    let text = "pub(crate) async fn a(\n    x: u8,\n) -> u8\nwhere\n    u8: Copy,\n{\n    if x > 1 {\n        2\n    \
                } else {\n        3\n    }\n}\n\nunsafe extern \"C\" fn b() {}\n";
    assert_eq!(found(text), [("a".into(), 1, 12), ("b".into(), 14, 1)]);
}

#[test]
fn a_brace_in_a_string_does_not_end_a_function() {
    let text = "fn a() {\n    b(\n        \"\n}\n\",\n    );\n}\n";
    assert_eq!(found(text), [("a".into(), 1, 7)]);
}

#[test]
fn methods_and_nested_functions_count_and_declarations_do_not() {
    let text = "trait A {\n    fn a(&self);\n    fn b(\n        &self,\n    ) -> u8;\n    fn c<T>(&self) {\n        \
                fn d() {\n            e();\n        }\n    }\n}\ntype F = fn(u8) -> u8;\n";
    assert_eq!(found(text), [("c".into(), 6, 5), ("d".into(), 7, 3)]);
}

#[test]
fn test_items_are_blanked_and_what_follows_them_is_not() {
    let text = "#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;\nfn a() {}\n#[cfg(test)]\nmod more {\n    fn b() {\n    \
                }\n}\nenum E {\n    #[cfg(test)]\n    Fake,\n    Real,\n}\nfn c() {}\n";
    assert_eq!(found(text), [("a".into(), 4, 1), ("c".into(), 15, 1)]);
    assert!(without_tests(code_lines(text)).join("\n").contains("Real"));
}

#[test]
fn a_file_is_a_test_by_its_place() {
    assert!(is_test_file(Path::new("crates/a/tests/b.rs")));
    assert!(is_test_file(Path::new("crates/a/src/b/tests.rs")));
    assert!(!is_test_file(Path::new("crates/a/src/b.rs")));
}
