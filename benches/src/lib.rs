//! Holds the benchmarks beside it; `cargo bench --profile release --workspace --bench layers -- conv2d` runs some.
