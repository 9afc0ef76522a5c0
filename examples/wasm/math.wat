;; Functions to be called. A module may be text, as this one is.
;;
;;   agentkernel call math.wat 'add(40, 2)'
;;   agentkernel call math.wat 'hypotenuse(3, 4)'
(module
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "hypotenuse") (param f64 f64) (result f64)
    (f64.sqrt (f64.add
      (f64.mul (local.get 0) (local.get 0))
      (f64.mul (local.get 1) (local.get 1))))))
