// Adds two vectors on the GPU, checks every element, and says on which GPU it was.
#include <vector>

__global__ void add(const float *a, const float *b, float *sum, int count) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) {
    sum[i] = a[i] + b[i];
  }
}

int main() {
  const int count = 1 << 20;
  std::vector<float> a(count), b(count), sum(count);
  for (int i = 0; i < count; i++) {
    a[i] = i % 1000;
    b[i] = 2 * (i % 1000);
  }
  float *x, *y, *z;
  size_t bytes = count * sizeof(float);
  CHECK(cudaMalloc(&x, bytes));
  CHECK(cudaMalloc(&y, bytes));
  CHECK(cudaMalloc(&z, bytes));
  CHECK(cudaMemcpy(x, a.data(), bytes, cudaMemcpyHostToDevice));
  CHECK(cudaMemcpy(y, b.data(), bytes, cudaMemcpyHostToDevice));
  add<<<(count + 255) / 256, 256>>>(x, y, z, count);
  CHECK(cudaGetLastError());
  CHECK(cudaMemcpy(sum.data(), z, bytes, cudaMemcpyDeviceToHost));
  int wrong = 0;
  for (int i = 0; i < count; i++) {
    wrong += sum[i] != a[i] + b[i];
  }
  int devices = 0;
  cudaDeviceProp device;
  CHECK(cudaGetDeviceCount(&devices));
  CHECK(cudaGetDeviceProperties(&device, 0));
  printf("{\"elements\": %d, \"wrong\": %d, \"devices\": %d, \"name\": \"%s\"}\n", count, wrong, devices,
         device.name);
  return wrong == 0 ? 0 : 2;
}
