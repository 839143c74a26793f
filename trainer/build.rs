//! Makes the binary and the tests find libtorch where they were linked with it.

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    if let Ok(folder) = std::env::var("LIBTORCH")
        && let Ok(library) = std::path::Path::new(&folder).join("lib").canonicalize()
    {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", library.display());
    }
}
