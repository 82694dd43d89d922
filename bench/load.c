/* A load generator for echo servers: so many connections, each with one message under way. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

#define SIZE 64
#define MAX_LANES 1024

static int left[MAX_LANES];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

/* load udp|tcp PORT LANES SECONDS: prints round trips a second. */
int main(int argc, char **argv) {
  if (argc != 5) return 2;
  int is_udp = strcmp(argv[1], "udp") == 0;
  int lanes = atoi(argv[3]);
  double seconds = atof(argv[4]);
  if (lanes < 1 || lanes > MAX_LANES) return 2;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  char message[SIZE] = "message";
  int set = epoll_create1(0);
  int *fds = malloc(lanes * sizeof *fds);
  for (int i = 0; i < lanes; i++) {
    fds[i] = socket(AF_INET, is_udp ? SOCK_DGRAM : SOCK_STREAM, 0);
    if (connect(fds[i], (struct sockaddr *)&to, sizeof to) != 0) return perror("connect"), 1;
    int on = 1;
    if (!is_udp) setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
    epoll_ctl(set, EPOLL_CTL_ADD, fds[i], &e);
  }
  double start = now();
  for (int i = 0; i < lanes; i++) {
    left[i] = SIZE;
    if (send(fds[i], message, SIZE, 0) != SIZE) return perror("send"), 1;
  }
  long trips = 0;
  while (now() - start < seconds) {
    struct epoll_event events[256];
    int n = epoll_wait(set, events, 256, 1000);
    if (n == 0) return fprintf(stderr, "no answer\n"), 1;
    for (int i = 0; i < n; i++) {
      int lane = events[i].data.u32;
      char buffer[SIZE];
      ssize_t got = recv(fds[lane], buffer, SIZE, MSG_DONTWAIT);
      if (got <= 0) continue;
      left[lane] -= got;
      if (left[lane] > 0) continue;
      left[lane] = SIZE;
      trips++;
      if (send(fds[lane], message, SIZE, 0) != SIZE) return perror("send"), 1;
    }
  }
  printf("%f\n", trips / (now() - start));
  return 0;
}
