// Writes to memory that is not there: the driver stops the program and writes XID 31 or 13 into the kernel's log.
__global__ void stray(int *nowhere) { nowhere[threadIdx.x] = 1; }

int main() {
  stray<<<1, 32>>>((int *)0x10);
  CHECK(cudaGetLastError());
  CHECK(cudaDeviceSynchronize());
  printf("nothing happened\n");
}
