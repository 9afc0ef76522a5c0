/* Tells whether anybody was here before, once for each "look", and leaves something each time: in the machine's files, and in
   memory that nobody has written to yet. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned char memory[8 << 20];

static const char *file(const char *path) {
  int made = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
  if (made < 0) return access(path, F_OK) ? "refused" : "old";
  return write(made, "left", 4) == 4 ? "new" : "refused";
}

static const char *bytes(void) {
  int is_old = 0;
  for (size_t at = 0; at < sizeof memory; at += 512) is_old |= memory[at];
  memset(memory, 0xa5, sizeof memory);
  return is_old ? "old" : "new";
}

int main(int count, char **words) {
  for (int at = 1; at < count; at++) {
    if (!strcmp(words[at], "look")) printf("%s %s %s\n", file("/tmp/left"), file("/left"), bytes());
    if (!strcmp(words[at], "complain")) fputs("mine\n", stderr);
    if (!strcmp(words[at], "crash")) return *(volatile int *)0;
    if (*words[at] >= '0' && *words[at] <= '9') return atoi(words[at]);
  }
  return 0;
}
