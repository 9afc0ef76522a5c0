;; Says its first word: what `echo` is to programs, for a module.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $words (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (local $begin i32)
    (local $end i32)
    ;; Pointers to the words from 64 on, the words themselves from 1024 on.
    (drop (call $words (i32.const 64) (i32.const 1024)))
    (local.set $begin (i32.load (i32.const 68)))
    (local.set $end (local.get $begin))
    (block $found
      (loop $next
        (br_if $found (i32.eqz (i32.load8_u (local.get $end))))
        (local.set $end (i32.add (local.get $end) (i32.const 1)))
        (br $next)))
    (i32.store8 (local.get $end) (i32.const 10))
    (i32.store (i32.const 0) (local.get $begin))
    (i32.store (i32.const 4) (i32.sub (i32.add (local.get $end) (i32.const 1)) (local.get $begin)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
