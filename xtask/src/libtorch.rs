//! `cargo xtask setup tch`: a libtorch for the CPU, cut out of PyTorch's published wheel.
//!
//! For 64-bit Linux the package index has PyTorch with CUDA only: 900 MB, which ask for 3 GB more. What burn-tch links are
//! two libraries of it; with the headers 490 MB are left.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use xshell::{Shell, cmd};

/// The version that the `tch` crate of burn binds.
const VERSION: &str = "2.9.0";

/// Packages with the sha256 of the one file that is meant.
const PACKAGES: [(&str, &str); 3] = [
    ("torch==2.9.0", "51de31219c97c51cf4bf2be94d622e3deb5dcc526c6dc00e97c17eaec0fc1d67"),
    // libtorch_cpu.so is linked to these two and calls them only where there is a GPU.
    ("nvidia-cuda-cupti-cu12==12.8.90", "ea0cb07ebda26bb9b29ba82cda34849e73c166c18162d3913575b0c9db9a6182"),
    ("nvidia-cuda-runtime-cu12==12.8.90", "adade8dcbd0edf427b7204d480d6066d33902cab2a4707dcfc48a2d0fd44ab90"),
];

/// Libraries that are kept, by their names.
const LIBRARIES: [&str; 5] = ["libc10.so", "libtorch_cpu.so", "libgomp.so.1", "libcupti.so.12", "libcudart.so.12"];

/// Where the headers lie in the wheel.
const INCLUDE: &str = "torch/include/";

/// Where it is kept, for every clone: below the user's cache.
fn folder() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = match cache {
        Some(cache) => cache,
        None => Path::new(&std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache"),
    };
    Ok(cache.join("scgs").join(format!("libtorch-{VERSION}")))
}

/// Whether a folder is one that was finished: the stub is made last.
fn is_whole(folder: &Path) -> bool {
    folder.join("lib/libtorch.so").is_file()
}

/// What a build and a run with the feature `tch` need in their environment: what the caller has set, or what
/// `cargo xtask setup tch` made.
///
/// # Errors
/// When there is no libtorch.
pub(crate) fn environment() -> anyhow::Result<Vec<(&'static str, OsString)>> {
    let libtorch = match std::env::var_os("LIBTORCH") {
        Some(given) => PathBuf::from(given),
        None => {
            let folder = folder()?;
            ensure!(
                is_whole(&folder),
                "the feature tch needs a libtorch: `cargo xtask setup tch` makes one, or name yours in LIBTORCH"
            );
            folder
        }
    };
    let mut libraries = libtorch.join("lib").into_os_string();
    if let Some(before) = std::env::var_os("LD_LIBRARY_PATH").filter(|before| !before.is_empty()) {
        libraries.push(":");
        libraries.push(before);
    }
    // A thread that waits actively takes the processor from everybody else.
    Ok(vec![
        ("LIBTORCH", libtorch.into_os_string()),
        ("LD_LIBRARY_PATH", libraries),
        ("OMP_WAIT_POLICY", "PASSIVE".into()),
    ])
}

/// Downloads and unpacks where that has not been done, and says how to go on.
///
/// # Errors
/// On other systems, without Python's pip or a C compiler, and when a download fails.
pub(crate) fn install(shell: &Shell) -> anyhow::Result<()> {
    let folder = folder()?;
    if is_whole(&folder) {
        println!("libtorch {VERSION} is in {}", folder.display());
    } else {
        ensure!(
            cfg!(all(target_os = "linux", target_arch = "x86_64")),
            "only made for Linux on x86-64; elsewhere get libtorch {VERSION} from its publisher and name it in LIBTORCH"
        );
        let parent = folder.parent().context("the folder has a parent")?;
        fs_err::create_dir_all(parent)?;
        // Beside its final place, so that it appears there whole or not at all.
        let work = tempdir(parent)?;
        make(shell, &work).inspect_err(|_| drop(fs_err::remove_dir_all(&work)))?;
        fs_err::remove_dir_all(work.join("wheels"))?;
        if folder.exists() {
            fs_err::remove_dir_all(&folder)?;
        }
        fs_err::rename(&work, &folder)?;
        println!("libtorch {VERSION} for the CPU is now in {}", folder.display());
    }
    let folder = folder.display();
    println!("To use it:\n  export LIBTORCH='{folder}' LD_LIBRARY_PATH='{folder}/lib' OMP_WAIT_POLICY=PASSIVE");
    println!("  cargo build --release -p scgs-cli --features tch");
    Ok(())
}

fn tempdir(parent: &Path) -> anyhow::Result<PathBuf> {
    let work = parent.join(format!("libtorch-{VERSION}.part-{}", std::process::id()));
    fs_err::create_dir_all(&work)?;
    Ok(work)
}

fn make(shell: &Shell, work: &Path) -> anyhow::Result<()> {
    let (wheels, lib) = (work.join("wheels"), work.join("lib"));
    fs_err::create_dir_all(&wheels)?;
    fs_err::create_dir_all(&lib)?;
    let requirements = wheels.join("requirements.txt");
    fs_err::write(&requirements, requirements_text())?;
    // Named exactly, so that it is the same file whatever Python asks for it.
    let target = ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", "--abi=cp311", "--abi=none"];
    let platforms = ["--platform=manylinux_2_28_x86_64", "--platform=manylinux_2_17_x86_64"];
    cmd!(shell, "python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes")
        .args(target)
        .args(platforms)
        .arg("--dest")
        .arg(&wheels)
        .arg("--requirement")
        .arg(&requirements)
        .run()
        .context("pip cannot download PyTorch's wheel, about 900 MB (Debian: python3-pip)")?;
    for entry in fs_err::read_dir(&wheels)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            unpack(&path, work)?;
        }
    }
    for library in LIBRARIES {
        ensure!(lib.join(library).is_file(), "the wheels hold no {library}: another version than {VERSION}?");
    }
    // The wheel's libtorch.so is linked to the CUDA part; an empty one that leads to the CPU part takes its place.
    let source = work.join("wheels/stub.c");
    fs_err::write(&source, "int stub_torch;\n")?;
    let stub = lib.join("libtorch.so");
    cmd!(shell, "cc -shared -fPIC {source} -o {stub} -Wl,-soname,libtorch.so -Wl,--no-as-needed -L{lib} -ltorch_cpu")
        .args(["-Wl,-rpath,$ORIGIN", "-Wl,--allow-shlib-undefined"])
        .run()
        .context("a C compiler (`cc`) is needed to link libtorch.so")
}

fn requirements_text() -> String {
    PACKAGES.iter().map(|(package, sha256)| format!("{package} --hash=sha256:{sha256}\n")).collect()
}

/// Writes the libraries and headers of a wheel below `folder`.
fn unpack(wheel: &Path, folder: &Path) -> anyhow::Result<()> {
    let mut archive = zip::ZipArchive::new(fs_err::File::open(wheel)?)?;
    for i in 0..archive.len() {
        let mut file = archive.by_index(i)?;
        let Some(path) = kept(&file.name()?).filter(|_| file.is_file()) else { continue };
        let to = folder.join(path);
        fs_err::create_dir_all(to.parent().context("a file has a folder")?)?;
        io::copy(&mut file, &mut fs_err::File::create(to)?)?;
    }
    Ok(())
}

/// Where a file of a wheel goes, if it is kept.
fn kept(name: &str) -> Option<PathBuf> {
    let file = Path::new(name).file_name()?.to_str()?;
    if LIBRARIES.contains(&file) {
        return Some(Path::new("lib").join(file));
    }
    let header = name.strip_prefix(INCLUDE)?;
    // A wheel that would write elsewhere is not PyTorch's.
    let inside = Path::new(header).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    inside.then(|| Path::new("include").join(header))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{is_whole, kept, requirements_text};

    #[test]
    fn libraries_and_headers_are_kept_and_nothing_else() {
        let place = |name: &str| kept(name).map(|path: PathBuf| path.display().to_string());
        assert_eq!(place("torch/lib/libtorch_cpu.so").as_deref(), Some("lib/libtorch_cpu.so"));
        assert_eq!(place("nvidia/cuda_cupti/lib/libcupti.so.12").as_deref(), Some("lib/libcupti.so.12"));
        assert_eq!(place("torch/include/ATen/ATen.h").as_deref(), Some("include/ATen/ATen.h"));
        for name in
            ["torch/lib/libtorch_cuda.so", "torch/__init__.py", "torch/include/../../evil.h", "torch/lib/libtorch.so"]
        {
            assert_eq!(place(name), None, "{name}");
        }
    }

    #[test]
    fn a_folder_counts_when_the_last_file_is_there() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(folder.path().join("lib")).unwrap();
        assert!(!is_whole(folder.path()));
        fs_err::write(folder.path().join("lib/libtorch.so"), "").unwrap();
        assert!(is_whole(folder.path()));
        assert!(!is_whole(Path::new("/nowhere")));
    }

    #[test]
    fn every_package_has_its_hash() {
        let text = requirements_text();
        assert_eq!(text.lines().count(), 3);
        assert!(
            text.lines().all(|line| line.contains("==") && line.split("sha256:").nth(1).is_some_and(|h| h.len() == 64))
        );
    }
}
