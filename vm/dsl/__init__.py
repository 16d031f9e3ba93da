"""The Python DSL: kernels traced from ordinary functions."""
