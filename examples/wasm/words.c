// Counts lines and bytes of its input, and says what a module sees of the outside.
//
//   clang --target=wasm32-wasi -O2 -o words.wasm words.c
//   printf 'a\nb\n' | agentkernel run -i -e NAME=value -- words.wasm one two
//
// On Debian: apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int main(int argc, char **argv) {
    static char line[4096];
    size_t lines = 0, bytes = 0;
    while (fgets(line, sizeof line, stdin)) {
        lines++;
        bytes += strlen(line);
    }
    printf("%zu lines, %zu bytes\n", lines, bytes);
    for (int i = 1; i < argc; i++) printf("word %d: %s\n", i, argv[i]);

    const char *name = getenv("NAME");
    printf("NAME is %s, HOME is %s\n", name ? name : "not set", getenv("HOME") ? "set" : "not set");
    printf("/etc/passwd %s\n", fopen("/etc/passwd", "r") ? "can be read" : "is not there");
    printf("the time %s\n", time(NULL) > 1700000000 ? "is told" : "is not told");
    fprintf(stderr, "done\n");
    return lines == 2 ? 0 : 3;
}

// agentkernel call words.wasm 'fib(30)'
__attribute__((export_name("fib"))) int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
