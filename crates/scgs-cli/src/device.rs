//! Names of devices, which of them this build has, and the one place where a device is opened.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::{Arc, Mutex, PoisonError},
};

use burn::tensor::{Device, Tensor};

/// A family of devices.
pub(crate) struct Family {
    /// The name before the first colon.
    pub name: &'static str,
    /// The Cargo feature of `scgs-cli` that compiles it in.
    pub feature: &'static str,
    /// Whether this build has it.
    pub compiled: bool,
    /// What the machine must have.
    pub needs: &'static str,
    /// How to get that.
    pub install: &'static str,
}

/// Every family.
pub(crate) static FAMILIES: [Family; 6] = [
    Family {
        name: "flex",
        feature: "flex",
        compiled: cfg!(feature = "flex"),
        needs: "nothing: a pure-Rust CPU device",
        install: "nothing to install",
    },
    Family {
        name: "tch",
        feature: "tch",
        compiled: cfg!(feature = "tch"),
        needs: "libtorch 2.9 (LIBTORCH when building); for tch:cuda:N one with CUDA, and an NVIDIA driver",
        install: "`cargo xtask setup tch` makes one for the CPU",
    },
    Family {
        name: "wgpu",
        feature: "wgpu",
        compiled: cfg!(feature = "wgpu"),
        needs: "a graphics driver for Vulkan, Metal or DX12",
        install: "the driver of your GPU, or `cargo xtask setup wgpu` for Mesa's software renderer",
    },
    Family {
        name: "vulkan",
        feature: "vulkan",
        compiled: cfg!(feature = "vulkan"),
        needs: "a Vulkan driver that takes SPIR-V (Mesa 22's software renderer crashes on it)",
        install: "the Vulkan driver of your GPU",
    },
    Family {
        name: "cuda",
        feature: "cuda",
        compiled: cfg!(feature = "cuda"),
        needs: "an NVIDIA driver and CUDA's run-time compiler (libcuda, libnvrtc)",
        install: "NVIDIA's driver and the CUDA toolkit",
    },
    Family {
        name: "remote",
        feature: "remote",
        compiled: cfg!(feature = "remote"),
        needs: "a device that `scgs serve` lends, and its token in SCGS_REMOTE_TOKEN",
        install: "a build with the feature `remote` there too",
    },
];

/// Why a device cannot be used. Every message names the device and the next step.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum DeviceError {
    #[error("unknown device `{name}`; known are {known} (with an index for a GPU, such as cuda:0)")]
    Unknown { name: String, known: String },
    #[error(
        "device `{name}` is not compiled in: build with `cargo build --release -p scgs-cli --features {feature}`; it needs {needs}"
    )]
    NotCompiled { name: String, feature: &'static str, needs: &'static str },
    #[error(
        "device `{name}`: `{family}` takes no such index; write flex, tch, tch:cuda:N, wgpu, vulkan, cuda:N (N from 0) or remote:ws://HOST:PORT"
    )]
    Index { name: String, family: &'static str },
    #[error("device `{name}` is compiled in but does not work here ({reason}); it needs {needs}: install {install}")]
    Absent { name: String, reason: String, needs: &'static str, install: &'static str },
    #[cfg(feature = "remote")]
    #[error(
        "device `{name}`: the server refuses the token; {TOKEN} must be the one that `scgs serve` was started with"
    )]
    Refused { name: String },
    #[cfg(feature = "remote")]
    #[error("device `{name}`: {reason}; `scgs serve --listen ADDRESS:PORT` must run there")]
    Unreachable { name: String, reason: String },
    #[cfg(feature = "remote")]
    #[error("{TOKEN} is not UTF-8")]
    Token,
}

/// The family of a device's name.
fn family(name: &str) -> Result<&'static Family, DeviceError> {
    let start = name.split(':').next().unwrap_or(name);
    FAMILIES.iter().find(|family| family.name == start).ok_or_else(|| DeviceError::Unknown {
        name: name.to_owned(),
        known: FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", "),
    })
}

/// The family of a device's name, where this build has it; the device need not be there.
///
/// # Errors
/// [`DeviceError::Unknown`] and [`DeviceError::NotCompiled`].
pub(crate) fn compiled(name: &str) -> Result<&'static Family, DeviceError> {
    let family = family(name)?;
    if family.compiled {
        return Ok(family);
    }
    Err(DeviceError::NotCompiled { name: name.to_owned(), feature: family.feature, needs: family.needs })
}

/// Whether two names mean devices of one kind, which round alike: they differ in the index, or in the server that lends them.
pub(crate) fn same_kind(one: &str, other: &str) -> bool {
    let kind = |name: &str| match name.strip_prefix("remote:") {
        Some(_) => "remote".to_owned(),
        None => name.trim_end_matches(|c: char| c.is_ascii_digit() || c == ':').to_owned(),
    };
    kind(one) == kind(other)
}

/// Opens a device by name, and lets it compute something: whoever has the device can use it.
///
/// # Errors
/// [`DeviceError`]: unknown, not compiled in, or not there.
pub(crate) fn open(name: &str) -> Result<Device, DeviceError> {
    let family = compiled(name)?;
    let index = name.split_once(':').map(|(_, index)| index);
    let absent =
        |reason| DeviceError::Absent { name: name.to_owned(), reason, needs: family.needs, install: family.install };
    // The constructors of burn do not look whether the device is there; the first computation does.
    let make: Option<Box<dyn FnOnce() -> Device>> = match (family.name, index) {
        #[cfg(feature = "flex")]
        ("flex", None) => return Ok(Device::flex()),
        #[cfg(feature = "tch")]
        ("tch", index) => torch(index),
        #[cfg(feature = "wgpu")]
        ("wgpu", None) => Some(Box::new(|| Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))),
        #[cfg(feature = "vulkan")]
        ("vulkan", None) => Some(Box::new(|| Device::vulkan(burn::tensor::DeviceKind::DefaultDevice))),
        #[cfg(feature = "cuda")]
        ("cuda", index) => cuda(index.unwrap_or("0")),
        #[cfg(feature = "remote")]
        ("remote", Some(url)) if url.starts_with("ws://") => {
            let device = remote(name, url)?;
            Some(Box::new(move || device))
        }
        _ => None,
    };
    let make = make.ok_or_else(|| DeviceError::Index { name: name.to_owned(), family: family.name })?;
    attempt(move || {
        let device = make();
        computes(&device).then_some(device)
    })
    .and_then(|device| device.ok_or_else(|| "it computes wrong numbers".to_owned()))
    .map_err(absent)
}

/// Opens several devices by name.
///
/// # Errors
/// As [`open`], for the first that cannot be used.
pub(crate) fn open_all(names: &[String]) -> Result<Vec<Device>, DeviceError> {
    names.iter().map(|name| open(name)).collect()
}

/// libtorch on the CPU or an NVIDIA GPU; `None` for an index that means nothing.
#[cfg(feature = "tch")]
#[expect(deprecated, reason = "burn-tch is deprecated upstream, and this is the one place that names it")]
fn torch(index: Option<&str>) -> Option<Box<dyn FnOnce() -> Device>> {
    match index {
        None => Some(Box::new(Device::libtorch)),
        Some(gpu) => {
            let number: usize = gpu.strip_prefix("cuda:")?.parse().ok()?;
            Some(Box::new(move || Device::libtorch_cuda(number)))
        }
    }
}

/// The variable with the secret that client and server share.
#[cfg(feature = "remote")]
pub(crate) const TOKEN: &str = "SCGS_REMOTE_TOKEN";

/// The token, where one is set. It comes from the environment alone, so that no command line and no file of a run has it.
#[cfg(feature = "remote")]
pub(crate) fn token() -> Result<Option<String>, DeviceError> {
    match std::env::var(TOKEN) {
        Ok(token) => Ok(Some(token).filter(|token| !token.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(DeviceError::Token),
    }
}

/// The first device of a server.
#[cfg(feature = "remote")]
fn remote(name: &str, url: &str) -> Result<Device, DeviceError> {
    use burn::remote::{ConnectError, RemoteHost};
    let host = RemoteHost::websocket(url).with_credential(token()?.unwrap_or_default());
    let name = name.to_owned();
    Device::remote_options(&host).init().map_err(|error| match error {
        ConnectError::Unauthorized => DeviceError::Refused { name },
        other => DeviceError::Unreachable { name, reason: other.to_string() },
    })
}

/// An NVIDIA GPU through CubeCL; `None` for an index that means nothing.
#[cfg(feature = "cuda")]
fn cuda(index: &str) -> Option<Box<dyn FnOnce() -> Device>> {
    let number: usize = index.parse().ok()?;
    Some(Box::new(move || Device::cuda(number)))
}

/// Whether a small product is right.
fn computes(device: &Device) -> bool {
    let a = Tensor::<2>::from_data([[1.0, 2.0], [3.0, 4.0]], device);
    a.clone().matmul(a).sum().into_scalar::<f32>() == 54.0
}

/// What `work` returns, or what it said when it panicked.
///
/// The crates below burn panic when a driver is missing, some of them on a thread of their own. This is the one place
/// where that is caught, before anything else has been started; a panic in later work stays a panic.
pub(crate) fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let said = Arc::new(Mutex::new(None::<String>));
    let listener = Arc::clone(&said);
    let before = take_hook();
    set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or("it gave no reason").to_owned();
        // The first panic is the cause; others follow from it.
        let mut said = listener.lock().unwrap_or_else(PoisonError::into_inner);
        said.get_or_insert(text);
    }));
    let result = catch_unwind(AssertUnwindSafe(work));
    set_hook(before);
    result.map_err(|_| {
        let said = said.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Some messages have a backtrace below their first line.
        said.and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_else(|| "it gave no reason".to_owned())
    })
}

/// What the device is called by its driver, where it says.
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "cuda"))]
pub(crate) fn hardware(device: &Device) -> Option<String> {
    device.identity().map(|identity| identity.name)
}

/// No device of this build says.
#[cfg(not(any(feature = "wgpu", feature = "vulkan", feature = "cuda")))]
pub(crate) fn hardware(_: &Device) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_feature_or_the_known_devices() {
        assert!(open("flex").is_ok());
        let message = open("gpu").unwrap_err().to_string();
        assert!(message.contains("unknown device `gpu`") && message.contains("wgpu"), "{message}");
        for family in FAMILIES.iter().filter(|f| !f.compiled) {
            let message = open(family.name).unwrap_err().to_string();
            assert!(message.contains(&format!("--features {}", family.feature)), "{message}");
        }
        assert!(open("flex:1").unwrap_err().to_string().contains("takes no such index"));
    }

    #[cfg(feature = "tch")]
    #[test]
    fn libtorch_takes_the_number_of_a_gpu_and_nothing_else() {
        for name in ["tch:0", "tch:cuda", "tch:cuda:x", "tch:cuda:-1"] {
            assert_eq!(open(name).unwrap_err(), DeviceError::Index { name: name.into(), family: "tch" });
        }
    }

    #[test]
    fn a_panic_becomes_its_first_line() {
        let failed = attempt(|| -> usize { panic!("no adapter\nat frame 7") });
        assert_eq!(failed, Err("no adapter".to_owned()));
        assert_eq!(attempt(|| 3), Ok(3));
    }

    #[test]
    fn a_device_that_is_not_there_says_what_to_install() {
        let error = DeviceError::Absent {
            name: "wgpu".into(),
            reason: "no adapter".into(),
            needs: FAMILIES[2].needs,
            install: FAMILIES[2].install,
        };
        let message = error.to_string();
        assert!(message.contains("no adapter") && message.contains("cargo xtask setup wgpu"), "{message}");
    }
}
