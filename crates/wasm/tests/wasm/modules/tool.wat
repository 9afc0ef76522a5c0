;; A command that does what its first argument says, by its first letter:
;;   a: writes its arguments and variables to stdout, as WASI has them
;;   c: copies stdin to stdout
;;   e: writes "err" to stderr
;;   f: fails with exit code 3
;;   g: takes memory until there is no more, then traps
;;   l: loops for ever
;;   n: counts up in memory, and writes the count as a digit
;;   o: writes "x" to stdout for ever
;;   t: traps
;;   x: exits with code 256 + 5
;;   y: exits with code 200
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 64) "err")
  (global $count (mut i32) (i32.const 0))

  ;; Writes length bytes at place to a stream.
  (func $write (param $fd i32) (param $place i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $place))
    (i32.store (i32.const 4) (local.get $length))
    (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
    (if (i32.ne (i32.load (i32.const 8)) (local.get $length)) (then unreachable)))

  ;; Where an argument begins.
  (func $argument (param $index i32) (result i32)
    (drop (call $args_sizes (i32.const 16) (i32.const 20)))
    (drop (call $args (i32.const 1024) (i32.const 4096)))
    (i32.load (i32.add (i32.const 1024) (i32.mul (local.get $index) (i32.const 4)))))

  (func $tell
    (drop (call $argument (i32.const 0)))
    (call $write (i32.const 1) (i32.const 4096) (i32.load (i32.const 20)))
    (drop (call $environ_sizes (i32.const 16) (i32.const 20)))
    (drop (call $environ (i32.const 1024) (i32.const 4096)))
    (call $write (i32.const 1) (i32.const 4096) (i32.load (i32.const 20))))

  (func $copy (local $read i32)
    (loop $more
      (i32.store (i32.const 0) (i32.const 65536))
      (i32.store (i32.const 4) (i32.const 65536))
      (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
      (local.set $read (i32.load (i32.const 8)))
      (if (local.get $read) (then
        (call $write (i32.const 1) (i32.const 65536) (local.get $read))
        (br $more)))))

  (func $flood (loop $more
    (call $write (i32.const 1) (i32.const 65536) (i32.const 32768)) (br $more)))

  (func $grow (loop $more
    (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    unreachable)

  (func $is (param $letter i32) (result i32)
    (i32.eq (i32.load8_u (call $argument (i32.const 1))) (local.get $letter)))

  (func (export "_start")
    (if (call $is (i32.const 97)) (then (call $tell)))
    (if (call $is (i32.const 99)) (then (call $copy)))
    (if (call $is (i32.const 101)) (then (call $write (i32.const 2) (i32.const 64) (i32.const 3))))
    (if (call $is (i32.const 102)) (then (call $exit (i32.const 3))))
    (if (call $is (i32.const 103)) (then (call $grow)))
    (if (call $is (i32.const 108)) (then (loop $again (br $again))))
    (if (call $is (i32.const 110)) (then
      (i32.store8 (i32.const 80) (i32.add (i32.const 48) (call $bump)))
      (call $write (i32.const 1) (i32.const 80) (i32.const 1))))
    (if (call $is (i32.const 111)) (then (call $flood)))
    (if (call $is (i32.const 116)) (then unreachable))
    (if (call $is (i32.const 120)) (then (call $exit (i32.const 261))))
    (if (call $is (i32.const 121)) (then (call $exit (i32.const 200)))))

  ;; Counts up in a global and in memory, and returns the smaller.
  (func $bump (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i32.store (i32.const 96) (i32.add (i32.load (i32.const 96)) (i32.const 1)))
    (if (result i32) (i32.lt_u (global.get $count) (i32.load (i32.const 96)))
      (then (global.get $count)) (else (i32.load (i32.const 96))))))
