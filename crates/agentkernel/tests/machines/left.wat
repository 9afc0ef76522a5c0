;; Counts in a global, in a word of memory that has data, and in a page that it asks for: 3 for whoever is the first.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (global $calls (mut i32) (i32.const 0))
  (data (i32.const 0) "\20\00\00\00\02\00\00\00") (data (i32.const 32) "0\n")
  (data (i32.const 48) "\40\00\00\00\05\00\00\00") (data (i32.const 64) "mine\n")
  (func $count (export "count") (result i32)
    (if (i32.eq (memory.size) (i32.const 1)) (then (drop (memory.grow (i32.const 1)))))
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i32.store (i32.const 1024) (i32.add (i32.load (i32.const 1024)) (i32.const 1)))
    (i32.store (i32.const 65536) (i32.add (i32.load (i32.const 65536)) (i32.const 1)))
    (i32.add (global.get $calls) (i32.add (i32.load (i32.const 1024)) (i32.load (i32.const 65536)))))
  ;; What is counted within one instance stays in it.
  (func (export "count_twice") (result i32) (drop (call $count)) (call $count))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  ;; Says its count, complains, and ends with 7.
  (func (export "_start")
    (i32.store8 (i32.const 32) (i32.add (i32.const 48) (call $count)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 40)))
    (drop (call $write (i32.const 2) (i32.const 48) (i32.const 1) (i32.const 40)))
    (call $exit (i32.const 7))))
