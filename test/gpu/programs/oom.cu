// Takes memory of the GPU until there is none left, and fails as programs do then.
int main() {
  for (size_t total = 0;; total += 1) {
    void *memory;
    CHECK(cudaMalloc(&memory, (size_t)1 << 30));
    printf("%zu GiB\n", total + 1);
  }
}
