/* What programs do, one thing at a time: each is run in a machine, and what it says is the table of what works there. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int said(const char *what, long result) {
  printf("%s: %s\n", what, result < 0 ? strerror(errno) : "works");
  return result < 0;
}

static void *thread(void *seen) {
  *(int *)seen = 1;
  return 0;
}

static int threads(void) {
  int seen = 0;
  pthread_t one;
  errno = pthread_create(&one, 0, thread, &seen);
  if (errno) return said("thread", -1);
  pthread_join(one, 0);
  return said("thread", seen ? 0 : -1);
}

static int vforks(char *self) {
  pid_t child = vfork();
  if (child == 0) {
    execl(self, self, "exit", "41", (char *)0);
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return said("vfork", WEXITSTATUS(status) == 41 ? 0 : -1);
}

static int memory(long most) {
  long had = 0;
  for (; had < most; had++) {
    char *piece = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (piece == MAP_FAILED) break;
    memset(piece, 1, 1 << 20);
  }
  printf("%ld\n", had);
  return 0;
}

static int output(long count) {
  static char bytes[4096];
  memset(bytes, 'x', sizeof bytes);
  while (count > 0) {
    long some = write(1, bytes, count < 4096 ? count : 4096);
    if (some < 0) return 1;
    count -= some;
  }
  return 0;
}

int main(int count, char **words) {
  const char *what = count > 1 ? words[1] : "";
  long number = count > 2 ? atol(words[2]) : 0;
  if (!strcmp(what, "exit")) return (int)number;
  if (!strcmp(what, "signal")) return raise((int)number);
  if (!strcmp(what, "crash")) return *(volatile int *)0;
  if (!strcmp(what, "spin")) for (;;);
  if (!strcmp(what, "pause")) return pause();
  if (!strcmp(what, "memory")) return memory(number);
  if (!strcmp(what, "output")) return output(number);
  if (!strcmp(what, "thread")) return threads();
  if (!strcmp(what, "vfork")) return vforks(words[0]);
  if (!strcmp(what, "fork")) {
    pid_t child = fork();
    if (child == 0) _exit(0);
    return said("fork", child);
  }
  if (!strcmp(what, "socket")) return said("socket", socket(AF_INET, SOCK_STREAM, 0));
  if (!strcmp(what, "socketpair")) {
    int pair[2];
    return said("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  }
  if (!strcmp(what, "write")) return said("write", open(words[2], O_CREAT | O_EXCL | O_WRONLY, 0600));
  if (!strcmp(what, "calls")) return said("calls", open("/dev/hlcall", O_RDWR));
  return 99;
}
