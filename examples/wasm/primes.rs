// Counts primes below a number: a command, and a function that can be called.
//
//   rustc --target wasm32-wasip1 -O -o primes.wasm primes.rs
//   agentkernel run -- primes.wasm 1000
//   agentkernel call primes.wasm 'primes_below(1000)'
//
// rustup target add wasm32-wasip1, or on Debian: apt-get install rustc libstd-rust-dev-wasm32 lld
// and /usr/bin/rustc --target wasm32-wasi -C linker=wasm-ld -O -o primes.wasm primes.rs

#[no_mangle]
pub extern "C" fn primes_below(limit: u32) -> u32 {
    let mut is_composite = vec![false; limit as usize];
    let mut count = 0;
    for number in 2..limit as usize {
        if !is_composite[number] {
            count += 1;
            (number * number..limit as usize).step_by(number).for_each(|multiple| is_composite[multiple] = true);
        }
    }
    count
}

fn main() {
    match std::env::args().nth(1).and_then(|word| word.parse().ok()) {
        Some(limit) => println!("{} primes below {limit}", primes_below(limit)),
        None => {
            eprintln!("usage: primes.wasm NUMBER");
            std::process::exit(2)
        }
    }
}
