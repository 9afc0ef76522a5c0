use wasmtime::Instance;

use super::*;

/// A module whose initialiser writes a number, takes a page more, and asks for the time.
const COUNTER: &str = r#"(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1 10)
  (global $stack (mut i32) (i32.const 1024))
  (data (i32.const 1024) "data")
  (func (export "initialise")
    (i32.store (i32.const 512) (i32.const 7))
    (i32.store (i32.const 2000) (i32.const 41))
    (drop (memory.grow (i32.const 1)))
    (i32.store8 (i32.const 131071) (i32.const 9))
    (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 3000))))
  (func (export "at") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "pages") (result i32) (memory.size)))"#;

fn of(text: &str) -> Result<Vec<u8>> {
    snapshot(&wat::parse_str(text).expect("valid"), "initialise")
}

fn instance(wasm: &[u8]) -> (Store<()>, Instance) {
    let engine = Engine::default();
    let module = Module::new(&engine, wasm).expect("it is valid");
    let mut linker = Linker::new(&engine);
    linker.define_unknown_imports_as_traps(&module).expect("defined");
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).expect("an instance");
    (store, instance)
}

#[test]
fn what_the_initialiser_left_is_there_from_the_beginning() {
    let (mut store, instance) = instance(&of(COUNTER).expect("taken"));
    let at = instance.get_typed_func::<i32, i32>(&mut store, "at").expect("kept");
    let mut read = |place| at.call(&mut store, place).expect("read");
    assert_eq!((read(1024), read(2000), read(131_071)), (i32::from(b'd'), 41, 9));
    assert_eq!(read(512), 0, "what lies below data is stack");
    let pages = instance.get_typed_func::<(), i32>(&mut store, "pages").expect("kept");
    assert_eq!(pages.call(&mut store, ()).expect("asked"), 2);
    assert!(instance.get_func(&mut store, "initialise").is_none(), "it cannot be initialised again");
}

#[test]
fn two_snapshots_are_the_same_and_the_clock_stood_still() {
    let one = of(COUNTER).expect("taken");
    assert_eq!(one, of(COUNTER).expect("taken"));
    // Zeros at either end are no data.
    assert!(one.windows(3).any(|bytes| bytes == &TIME_NS.to_le_bytes()[1..4]));
}

#[test]
fn an_initialiser_can_ask_the_host_for_nothing_else_and_not_go_on_for_ever() {
    let import =
        r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))"#;
    let of_body = |import: &str, body: &str| {
        of(&format!(
            r#"(module {import} (memory (export "memory") 1) (data (i32.const 8) "x")
               (func (export "initialise") {body}))"#
        ))
    };
    let random = of_body(import, "(drop (call $random (i32.const 0) (i32.const 8)))").expect_err("refused");
    assert!(random.contains("random_get"), "{random}");
    let more = of_body("", "(if (i32.eq (memory.grow (i32.const 1024)) (i32.const -1)) (then unreachable))");
    assert!(more.expect_err("refused").contains("unreachable"));
    let endless = of_body("", "(loop (br 0))").expect_err("ended");
    assert!(endless.contains("fuel"), "{endless}");
}

#[test]
fn a_module_with_state_outside_of_its_memory_is_refused() {
    let refused = |fields: &str| {
        of(&format!(r#"(module {fields} (func $f (export "initialise")))"#)).expect_err("refused")
    };
    let memory = r#"(memory (export "memory") 1)"#;
    let data = r#"(data (i32.const 8) "x")"#;
    let variable = "(global (mut i32) (i32.const 0))";
    assert_eq!(refused(memory), "it has no data, and so no place where data begins");
    assert_eq!(refused(""), "it has 0 memories of its own, and not one");
    assert_eq!(
        refused(&format!("{memory}{variable}{variable}{data}")),
        "it has 2 variables outside of its memory"
    );
    let start = refused(&format!("{memory}{data}(start $f)"));
    assert_eq!(start, "it has a start function, which would run again");
    let passive = refused(&format!(r#"{memory}(data "x")"#));
    assert_eq!(passive, "one of its segments has no place in its memory");
}

#[test]
fn pieces_are_what_is_not_zero_and_small_gaps_are_in_them() {
    let mut memory = vec![0; 100];
    for at in [10, 11, 20, 60, 99] {
        memory[at] = 1;
    }
    assert_eq!(pieces(&memory, 0), [10..21, 60..61, 99..100]);
    assert_eq!(pieces(&memory, 11), [11..21, 60..61, 99..100]);
    assert_eq!(pieces(&memory, 100), Vec::<Range<usize>>::new());
}
