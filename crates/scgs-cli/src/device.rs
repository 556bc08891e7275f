//! Names of devices, and which of them this build has.

use anyhow::bail;
use burn::tensor::Device;

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
}

/// Every family.
pub(crate) const FAMILIES: [Family; 5] = [
    Family {
        name: "flex",
        feature: "flex",
        compiled: cfg!(feature = "flex"),
        needs: "nothing: a pure-Rust CPU device",
    },
    Family {
        name: "tch",
        feature: "tch",
        compiled: cfg!(feature = "tch"),
        needs: "libtorch (LIBTORCH, LD_LIBRARY_PATH)",
    },
    Family { name: "wgpu", feature: "wgpu", compiled: cfg!(feature = "wgpu"), needs: "a Vulkan, Metal or DX12 driver" },
    Family { name: "vulkan", feature: "vulkan", compiled: cfg!(feature = "vulkan"), needs: "a Vulkan driver" },
    Family { name: "cuda", feature: "cuda", compiled: cfg!(feature = "cuda"), needs: "an NVIDIA driver and CUDA" },
];

/// Opens a device by name.
pub(crate) fn open(name: &str) -> anyhow::Result<Device> {
    let (family, rest) = name.split_once(':').map_or((name, None), |(f, r)| (f, Some(r)));
    let Some(known) = FAMILIES.iter().find(|f| f.name == family) else {
        let names: Vec<_> = FAMILIES.iter().map(|f| f.name).collect();
        bail!("unknown device `{name}`; known are {} (with an index for a GPU, such as cuda:0)", names.join(", "));
    };
    if !known.compiled {
        bail!(
            "device `{name}` is not compiled in: build with `cargo build --release -p scgs-cli --features {}`; it needs {}",
            known.feature,
            known.needs
        );
    }
    match (family, rest) {
        #[cfg(feature = "flex")]
        ("flex", None) => Ok(Device::flex()),
        #[cfg(feature = "tch")]
        #[expect(deprecated, reason = "burn-tch is deprecated upstream, and this is its one match arm")]
        ("tch", None) => Ok(Device::libtorch()),
        #[cfg(feature = "tch")]
        #[expect(deprecated, reason = "burn-tch is deprecated upstream, and this is its one match arm")]
        ("tch", Some(gpu)) if gpu.starts_with("cuda:") => Ok(Device::libtorch_cuda(index(name, &gpu[5..])?)),
        #[cfg(feature = "wgpu")]
        ("wgpu", None) => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "vulkan")]
        ("vulkan", None) => Ok(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        ("cuda", gpu) => Ok(Device::cuda(index(name, gpu.unwrap_or("0"))?)),
        _ => bail!(
            "device `{name}`: `{family}` takes no such index; write flex, tch, tch:cuda:N, wgpu, vulkan or cuda:N"
        ),
    }
}

#[cfg(any(feature = "tch", feature = "cuda"))]
fn index(name: &str, text: &str) -> anyhow::Result<usize> {
    use anyhow::Context as _;
    text.parse().with_context(|| format!("device `{name}`: `{text}` is not the number of a GPU"))
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
}
