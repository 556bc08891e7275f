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
pub(crate) const FAMILIES: [Family; 6] = [
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
    Family {
        name: "remote",
        feature: "remote",
        compiled: cfg!(feature = "remote"),
        needs: "`scgs serve` on another machine, and its token in SCGS_REMOTE_TOKEN",
    },
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
        #[cfg(feature = "remote")]
        ("remote", Some(url)) if url.starts_with("ws://") => remote(name, url),
        _ => bail!(
            "device `{name}`: `{family}` takes no such index; write flex, tch, tch:cuda:N, wgpu, vulkan, cuda:N or \
             remote:ws://HOST:PORT"
        ),
    }
}

/// The first device of a server. The token is read here, so that no command line and no file of a run has it.
#[cfg(feature = "remote")]
fn remote(name: &str, url: &str) -> anyhow::Result<Device> {
    use burn::remote::{ConnectError, RemoteHost};
    let token = token()?.unwrap_or_default();
    let host = RemoteHost::websocket(url).with_credential(token);
    Device::remote_options(&host).init().map_err(|error| match error {
        ConnectError::Unauthorized => anyhow::anyhow!(
            "device `{name}`: the server refuses the token; {TOKEN} must be the one that `scgs serve` was started with"
        ),
        other => anyhow::anyhow!("device `{name}`: {other}; `scgs serve --listen ADDRESS:PORT` must run there"),
    })
}

/// The variable with the secret that client and server share.
#[cfg(feature = "remote")]
pub(crate) const TOKEN: &str = "SCGS_REMOTE_TOKEN";

/// The token, where one is set.
#[cfg(feature = "remote")]
pub(crate) fn token() -> anyhow::Result<Option<String>> {
    match std::env::var(TOKEN) {
        Ok(token) if token.is_empty() => Ok(None),
        Ok(token) => Ok(Some(token)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{TOKEN} is not UTF-8"),
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
