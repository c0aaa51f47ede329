// Ends the program with what CUDA says, in the words that frameworks use.
#include <cstdio>
#include <cstdlib>

#define CHECK(call)                                                        \
  do {                                                                     \
    cudaError_t error = (call);                                            \
    if (error != cudaSuccess) {                                            \
      fprintf(stderr, "CUDA error: %s (%s)\n", cudaGetErrorString(error), #call); \
      exit(1);                                                             \
    }                                                                      \
  } while (0)
