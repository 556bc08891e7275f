//! Lets a build with libtorch find it again at run time, without LD_LIBRARY_PATH.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let has = |name: &str| std::env::var_os(name).is_some();
    // Windows has no such thing: its DLLs lie beside the program or on PATH.
    if has("CARGO_FEATURE_TCH")
        && has("CARGO_CFG_UNIX")
        && let Ok(libtorch) = std::env::var("LIBTORCH")
    {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{libtorch}/lib");
    }
}
