;; Tries what no module may do. Each export returns what came of it.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $sock_accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "etc/passwd")

  ;; How many of the descriptors from 3 to 63, where folders would be, let a file be opened.
  (func (export "files") (result i32) (local $fd i32) (local $opened i32)
    (local.set $fd (i32.const 3))
    (loop $next
      (local.set $opened (i32.add (local.get $opened) (i32.eqz
        (call $path_open (local.get $fd) (i32.const 0) (i32.const 64) (i32.const 10) (i32.const 0)
          (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 0)))))
      (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $fd) (i32.const 64))))
    (local.get $opened))

  ;; How many of the same accept a connection.
  (func (export "sockets") (result i32) (local $fd i32) (local $opened i32)
    (local.set $fd (i32.const 3))
    (loop $next
      (local.set $opened (i32.add (local.get $opened) (i32.eqz
        (call $sock_accept (local.get $fd) (i32.const 0) (i32.const 0)))))
      (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $fd) (i32.const 64))))
    (local.get $opened))

  ;; How many variables there are.
  (func (export "variables") (result i32)
    (drop (call $environ_sizes_get (i32.const 0) (i32.const 4)))
    (i32.load (i32.const 0)))

  ;; How many pages of memory it gets, one by one.
  (func (export "pages") (result i32)
    (loop $more
      (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (memory.size))

  ;; Computes for ever.
  (func (export "spin") (loop $again (br $again))))
