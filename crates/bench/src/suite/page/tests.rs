use super::*;

fn replaced_in(text: &str) -> Option<String> {
    replaced(text, "new\n")
}

#[test]
fn only_what_is_marked_is_replaced() {
    let text = format!("before\n{BEGIN}\nold\n{END}\nafter {END}\n");
    assert_eq!(replaced_in(&text), Some(format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter {END}\n")));
    assert_eq!(replaced_in("no mark"), None);
    assert_eq!(replaced_in(&format!("{BEGIN} and no end")), None);
}
