// Holds memory of the GPU for some seconds and keeps it a little busy: hold MIB SECONDS.
#include <chrono>
#include <thread>

__global__ void touch(unsigned char *bytes, size_t count, unsigned char value) {
  size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
  if (i < count) {
    bytes[i] = value;
  }
}

static long long nowMs() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

int main(int argc, char **argv) {
  size_t bytes = (size_t)(argc > 1 ? atoll(argv[1]) : 256) << 20;
  long long seconds = argc > 2 ? atoll(argv[2]) : 5;
  unsigned char *memory;
  CHECK(cudaMalloc(&memory, bytes));
  long long started = nowMs();
  printf("holding %zu MiB for %lld s\n", bytes >> 20, seconds);
  fflush(stdout);
  int rounds = 0;
  for (; nowMs() < started + seconds * 1000; rounds++) {
    touch<<<(bytes + 255) / 256, 256>>>(memory, bytes, rounds);
    CHECK(cudaDeviceSynchronize());
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  printf("{\"started_ms\": %lld, \"ended_ms\": %lld, \"rounds\": %d}\n", started, nowMs(), rounds);
}
